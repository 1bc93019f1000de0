#include "daemon/mailbox.h"

static void woken(uv_async_t *wake)
{
	struct mailbox *mailbox = wake->data;

	mailbox->on_mail(mailbox->context);
}

int mailbox_init(struct mailbox *mailbox, uv_loop_t *loop, void (*on_mail)(void *context),
		 void *context)
{
	atomic_init(&mailbox->newest, NULL);
	mailbox->on_mail = on_mail;
	mailbox->context = context;
	mailbox->wake.data = mailbox;
	return uv_async_init(loop, &mailbox->wake, woken);
}

void mailbox_send(struct mailbox *mailbox, struct letter *letter)
{
	struct letter *newest = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);

	do {
		letter->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(
		&mailbox->newest, &newest, letter, memory_order_release, memory_order_relaxed));
	if (!newest)
		uv_async_send(&mailbox->wake);
}

struct letter *mailbox_take(struct mailbox *mailbox)
{
	struct letter *letter =
		atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire);
	struct letter *oldest = NULL;

	while (letter) {
		struct letter *next = letter->next;

		letter->next = oldest;
		oldest = letter;
		letter = next;
	}
	return oldest;
}

void mailbox_close(struct mailbox *mailbox)
{
	uv_close((uv_handle_t *)&mailbox->wake, NULL);
}
