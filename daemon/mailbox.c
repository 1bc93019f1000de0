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

/* Turns a list round. */
static struct letter *turned(struct letter *first)
{
	struct letter *last = NULL;

	while (first) {
		struct letter *next = first->next;

		first->next = last;
		last = first;
		first = next;
	}
	return last;
}

/* From newest to oldest. */
static void push(struct mailbox *mailbox, struct letter *newest, struct letter *oldest)
{
	struct letter *before = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);

	do {
		oldest->next = before;
	} while (!atomic_compare_exchange_weak_explicit(
		&mailbox->newest, &before, newest, memory_order_release, memory_order_relaxed));
	if (!before)
		uv_async_send(&mailbox->wake);
}

void mailbox_send(struct mailbox *mailbox, struct letter *letter)
{
	push(mailbox, letter, letter);
}

void mailbox_send_all(struct mailbox *mailbox, struct letter *oldest)
{
	push(mailbox, turned(oldest), oldest);
}

struct letter *mailbox_take(struct mailbox *mailbox)
{
	return turned(atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire));
}

void mailbox_close(struct mailbox *mailbox)
{
	uv_close((uv_handle_t *)&mailbox->wake, NULL);
}
