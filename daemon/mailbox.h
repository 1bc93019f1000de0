/* How a batch goes from one thread to another: many senders, one receiver on a libuv loop. What is
 * sent is handed over whole, and the sender forgets it. Letters of one sender come in its order.
 *
 * A lock-free stack that the receiver takes at once and turns round; the loop is woken only when
 * the box was empty. Sending: any thread. The rest: the receiver's thread. Unbounded by
 * itself: what is under way is bounded by the protocol of its users (task.h, exit.h). */
#pragma once

#include <stdatomic.h>
#include <uv.h>

struct letter {
	struct letter *next;
};

struct mailbox {
	_Atomic(struct letter *) newest;
	uv_async_t wake;
	void (*on_mail)(void *context);
	void *context;
};

/* on_mail is called on the loop after something was sent; it calls mailbox_take. Returns 0 or
 * -errno. */
int mailbox_init(struct mailbox *mailbox, uv_loop_t *loop, void (*on_mail)(void *context),
		 void *context);
void mailbox_send(struct mailbox *mailbox, struct letter *letter);
/* As many as the list has, oldest first: the receiver finds them together. */
void mailbox_send_all(struct mailbox *mailbox, struct letter *oldest);

/* All that has come, oldest first, as a list; NULL if nothing. */
struct letter *mailbox_take(struct mailbox *mailbox);

/* Stops waking; call before the loop is run to its end. Letters still inside stay to be taken. */
void mailbox_close(struct mailbox *mailbox);
