/* What is sent comes once, in each sender's order, whoever else sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "daemon/mailbox.h"

enum { SENDERS = 4, LETTERS = 20000 };

struct numbered {
	struct letter letter; /* first */
	int sender, number;
};

static struct {
	uv_loop_t loop;
	struct mailbox mailbox;
	struct numbered letters[SENDERS][LETTERS];
	int next[SENDERS];
	int taken;
} post;

static void take(void *context)
{
	struct letter *letter = mailbox_take(&post.mailbox);

	(void)context;
	for (; letter; letter = letter->next) {
		struct numbered *numbered = (struct numbered *)letter;

		assert_int_equal(post.next[numbered->sender]++, numbered->number);
		post.taken++;
	}
	if (post.taken == SENDERS * LETTERS)
		mailbox_close(&post.mailbox);
}

static void send_all(void *context)
{
	int sender = *(int *)context;

	for (int i = 0; i < LETTERS; i++) {
		post.letters[sender][i].sender = sender;
		post.letters[sender][i].number = i;
		mailbox_send(&post.mailbox, &post.letters[sender][i].letter);
	}
}

static void every_letter_comes_once_and_in_its_senders_order(void **state)
{
	uv_thread_t threads[SENDERS];
	int numbers[SENDERS];

	(void)state;
	assert_int_equal(0, uv_loop_init(&post.loop));
	assert_int_equal(0, mailbox_init(&post.mailbox, &post.loop, take, NULL));
	for (int i = 0; i < SENDERS; i++) {
		numbers[i] = i;
		assert_int_equal(0, uv_thread_create(&threads[i], send_all, &numbers[i]));
	}
	uv_run(&post.loop, UV_RUN_DEFAULT);
	for (int i = 0; i < SENDERS; i++)
		uv_thread_join(&threads[i]);
	assert_int_equal(SENDERS * LETTERS, post.taken);
	assert_null(mailbox_take(&post.mailbox));
	assert_int_equal(0, uv_loop_close(&post.loop));
}

static void nothing(void *context)
{
	(void)context;
}

static void letters_left_at_the_close_stay_to_be_taken(void **state)
{
	struct letter first, second;
	struct mailbox mailbox;
	uv_loop_t loop;

	(void)state;
	uv_loop_init(&loop);
	mailbox_init(&mailbox, &loop, nothing, NULL);
	mailbox_send(&mailbox, &first);
	mailbox_close(&mailbox);
	uv_run(&loop, UV_RUN_DEFAULT);
	mailbox_send(&mailbox, &second);
	assert_ptr_equal(&first, mailbox_take(&mailbox));
	assert_ptr_equal(&second, first.next);
	assert_null(second.next);
	assert_int_equal(0, uv_loop_close(&loop));
}

static void count_wakes(void *context)
{
	++*(uint32_t *)context;
}

static void a_list_wakes_its_receiver_once_and_keeps_its_order(void **state)
{
	struct letter letters[5] = {{0}}, *letter;
	uint32_t wakes = 0;
	struct mailbox mailbox;
	uv_loop_t loop;

	(void)state;
	uv_loop_init(&loop);
	mailbox_init(&mailbox, &loop, count_wakes, &wakes);
	mailbox_send(&mailbox, &letters[0]);
	for (int i = 1; i < 4; i++)
		letters[i].next = i < 3 ? &letters[i + 1] : NULL;
	mailbox_send_all(&mailbox, &letters[1]);
	mailbox_send_all(&mailbox, &letters[4]);
	uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(1, wakes);
	letter = mailbox_take(&mailbox);
	for (int i = 0; i < 5; i++, letter = letter->next)
		assert_ptr_equal(&letters[i], letter);
	assert_null(letter);
	mailbox_close(&mailbox);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(0, uv_loop_close(&loop));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_letter_comes_once_and_in_its_senders_order),
		cmocka_unit_test(a_list_wakes_its_receiver_once_and_keeps_its_order),
		cmocka_unit_test(letters_left_at_the_close_stay_to_be_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
