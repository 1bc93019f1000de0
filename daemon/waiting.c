#include "daemon/waiting.h"

#include <stdlib.h>

#include "api/http/server.h"
#include "base/clock.h"

enum { LOOK_MS = 500 };

struct waiter *waiting_next(struct waiting *waiting, const struct waiter *after)
{
	size_t at = after ? (size_t)(after - waiting->waiters) + 1 : 0;

	while (at < WAITING_MAX && !waiting->waiters[at].response)
		at++;
	return at < WAITING_MAX ? &waiting->waiters[at] : NULL;
}

void *waiting_end(struct waiter *waiter)
{
	void *what = waiter->what;

	response_on_gone(waiter->response, NULL, NULL);
	*waiter = (struct waiter){0};
	return what;
}

static void on_gone(struct response *response, void *context)
{
	struct waiter *waiter = context;

	(void)response;
	free(waiter->what);
	*waiter = (struct waiter){0};
}

bool waiting_add(struct waiting *waiting, struct response *response, uint64_t issued_ns, void *what)
{
	size_t at = 0;

	while (at < WAITING_MAX && waiting->waiters[at].response)
		at++;
	if (at == WAITING_MAX) {
		free(what);
		response_refuse(response, 503, "too many changes wait for Kafka");
		return false;
	}
	waiting->waiters[at] = (struct waiter){.response = response,
					       .issued_ns = issued_ns,
					       .until_ns = uv_hrtime() + WAITING_S * NS_PER_S,
					       .what = what};
	response_on_gone(response, on_gone, &waiting->waiters[at]);
	return true;
}

static void on_timer(uv_timer_t *timer)
{
	struct waiting *waiting = timer->data;
	uint64_t now = uv_hrtime();
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(waiting, waiter))) {
		struct response *response = waiter->response;

		if (waiter->until_ns > now)
			continue;
		free(waiting_end(waiter));
		response_refuse(response, 504, waiting->late);
	}
}

void waiting_init(struct waiting *waiting, uv_loop_t *loop, const char *late)
{
	*waiting = (struct waiting){.late = late};
	uv_timer_init(loop, &waiting->timer);
	waiting->timer.data = waiting;
	uv_timer_start(&waiting->timer, on_timer, LOOK_MS, LOOK_MS);
}

void waiting_close(struct waiting *waiting)
{
	uv_close((uv_handle_t *)&waiting->timer, NULL);
}

void waiting_done(struct waiting *waiting)
{
	struct waiter *waiter = NULL;

	while ((waiter = waiting_next(waiting, waiter)))
		free(waiter->what);
}
