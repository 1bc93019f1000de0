/* Memory from a heap or from the C library, and who finds out which it was. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/memory.h"

enum { NUMBER = 5, WORDS = 1000 };

static void a_thread_takes_from_the_heap_that_it_uses(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint64_t *inside, *outside;

	(void)state;
	assert_null(memory_use(heap));
	inside = memory_zeroed(WORDS, sizeof(*inside));
	assert_ptr_equal(memory_use(NULL), heap);
	outside = memory_zeroed(WORDS, sizeof(*outside));
	assert_ptr_equal(heap_of(inside), heap);
	assert_null(heap_of(outside));
	for (size_t i = 0; i < WORDS; i++)
		assert_true(inside[i] == 0 && outside[i] == 0);
	memory_free(inside);
	free(outside);
	heap_free(heap);
}

static void what_is_resized_stays_where_it_came_from(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	uint64_t *inside, *outside;

	(void)state;
	outside = memory_resize(NULL, 4, sizeof(*outside));
	memory_use(heap);
	inside = memory_resize(NULL, 4, sizeof(*inside));
	outside[3] = 33;
	outside = memory_resize(outside, WORDS, sizeof(*outside));
	assert_null(heap_of(outside));
	memory_use(NULL);
	inside[3] = 44;
	inside = memory_resize(inside, 100 * WORDS, sizeof(*inside));
	assert_ptr_equal(heap_of(inside), heap);
	assert_int_equal(outside[3], 33);
	assert_int_equal(inside[3], 44);
	memory_use(heap);
	memory_free(outside);
	memory_use(NULL);
	memory_free(inside);
	memory_free(NULL);
	assert_int_equal(heap_bytes(heap), 0);
	heap_free(heap);
}

static void nothing_is_a_block_that_may_be_given_back(void **state)
{
	struct heap *heap = heap_new(NUMBER);

	(void)state;
	for (int i = 0; i < 2; i++) {
		void *a = memory_zeroed(0, 8), *b = memory_zeroed(8, 0);
		void *c = memory_resize(NULL, 0, 0);

		assert_non_null(a);
		assert_non_null(b);
		assert_non_null(c);
		c = memory_resize(c, 0, 16);
		assert_non_null(c);
		memory_free(a);
		memory_free(b);
		memory_free(c);
		memory_use(heap);
	}
	memory_use(NULL);
	assert_int_equal(heap_bytes(heap), 0);
	heap_free(heap);
}

static void *other_thread(void *context)
{
	(void)context;
	return memory_zeroed(1, 8);
}

static void a_heap_is_used_by_the_thread_that_said_so(void **state)
{
	struct heap *heap = heap_new(NUMBER);
	pthread_t thread;
	void *memory;

	(void)state;
	memory_use(heap);
	assert_int_equal(pthread_create(&thread, NULL, other_thread, NULL), 0);
	assert_int_equal(pthread_join(thread, &memory), 0);
	assert_null(heap_of(memory));
	memory_use(NULL);
	memory_free(memory);
	heap_free(heap);
}

/* Ends by SIGABRT, with a sentence. */
static void assert_ends(void (*run)(void))
{
	int status, ends[2];
	char text[200] = {0};
	pid_t child;

	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		dup2(ends[1], 2);
		signal(SIGABRT, SIG_DFL);
		run();
		_exit(0);
	}
	close(ends[1]);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	close(ends[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(text, "millrace: out of memory"));
}

static void overflow(void)
{
	memory_zeroed(SIZE_MAX / 2, 3);
}

static void overflow_of_resize(void)
{
	free(memory_resize(NULL, SIZE_MAX / 2, 3));
}

static void heap_is_full(void)
{
	memory_use(heap_new(NUMBER));
	memory_zeroed(2, HEAP_BYTES_MAX);
}

static void heap_cannot_grow(void)
{
	memory_use(heap_new(NUMBER));
	memory_resize(memory_resize(NULL, 10, 10), 2, HEAP_BYTES_MAX);
}

static void running_out_ends_the_process_with_a_sentence(void **state)
{
	(void)state;
	assert_ends(overflow);
	assert_ends(overflow_of_resize);
	assert_ends(heap_is_full);
	assert_ends(heap_cannot_grow);
}

static void capacities_double_and_never_overflow(void **state)
{
	(void)state;
	assert_int_equal(memory_grown(0, 1), 16);
	assert_int_equal(memory_grown(16, 17), 32);
	assert_int_equal(memory_grown(16, 1000), 1024);
	assert_true(memory_grown(SIZE_MAX / 2 + 2, SIZE_MAX) == SIZE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_takes_from_the_heap_that_it_uses),
		cmocka_unit_test(what_is_resized_stays_where_it_came_from),
		cmocka_unit_test(nothing_is_a_block_that_may_be_given_back),
		cmocka_unit_test(a_heap_is_used_by_the_thread_that_said_so),
		cmocka_unit_test(running_out_ends_the_process_with_a_sentence),
		cmocka_unit_test(capacities_double_and_never_overflow),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
