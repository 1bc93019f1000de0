#include "api/notify/heartbeat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/notify/transport.h"
#include "base/clock.h"
#include "base/memory.h"

/* So that the first call comes soon after the pipeline sees, and not a period later. */
enum { ASK_MS = 500 };

struct heartbeat {
	struct heartbeat_options options;
	uv_loop_t *loop;
	char *url;
	struct transport *transport;
	uv_timer_t timer;
	uint64_t next_ms, period_ms;
	bool under_way;
	int parts;
	struct heartbeat_stats stats;
};

static void on_answer(void *context, const struct answer *answer)
{
	struct heartbeat *heartbeat = context;
	char sentence[ANSWER_ERROR_MAX + 32];

	heartbeat->under_way = false;
	if (!answer)
		return;
	if (answer->status >= 200 && answer->status < 300) {
		heartbeat->stats.sent++;
		return;
	}
	heartbeat->stats.failed++;
	if (answer->status)
		snprintf(sentence, sizeof(sentence), "it answered %ld", answer->status);
	else
		snprintf(sentence, sizeof(sentence), "%s", answer->error);
	heartbeat->options.trouble(heartbeat->options.context, "notify.heartbeat", sentence);
}

static void on_timer(uv_timer_t *timer)
{
	static const char body[] = "{\"type\":\"heartbeat\",\"source\":\"millrace\"}";
	struct heartbeat *heartbeat = timer->data;
	uint64_t now = uv_now(heartbeat->loop);

	if (now < heartbeat->next_ms || heartbeat->under_way)
		return;
	if (!heartbeat->options.sees(heartbeat->options.context)) {
		/* A period without: one call would have been due. */
		if (heartbeat->next_ms && now >= heartbeat->next_ms + heartbeat->period_ms) {
			heartbeat->stats.withheld++;
			heartbeat->next_ms = now;
		}
		return;
	}
	heartbeat->next_ms = now + heartbeat->period_ms;
	heartbeat->under_way = true;
	transport_post(heartbeat->transport, heartbeat->url, NULL, body, sizeof(body) - 1,
		       on_answer, heartbeat);
}

struct heartbeat *heartbeat_new(uv_loop_t *loop, const struct heartbeat_options *options)
{
	struct heartbeat *heartbeat = memory_zeroed(1, sizeof(*heartbeat));

	heartbeat->options = *options;
	heartbeat->loop = loop;
	heartbeat->url = strdup(options->url);
	if (!heartbeat->url)
		abort(); /* out of memory */
	heartbeat->period_ms = options->period_ns / NS_PER_MS;
	heartbeat->transport =
		transport_new(&(struct transport_options){.loop = loop,
							  .allow_http = options->allow_http,
							  .allow_private = options->allow_private,
							  .timeout_ns = options->timeout_ns});
	uv_timer_init(loop, &heartbeat->timer);
	heartbeat->timer.data = heartbeat;
	uv_timer_start(&heartbeat->timer, on_timer, ASK_MS, ASK_MS);
	return heartbeat;
}

struct heartbeat_stats heartbeat_stats(const struct heartbeat *heartbeat)
{
	return heartbeat ? heartbeat->stats : (struct heartbeat_stats){0};
}

static void part_closed(struct heartbeat *heartbeat)
{
	if (--heartbeat->parts)
		return;
	free(heartbeat->url);
	free(heartbeat);
}

static void on_transport_closed(void *context)
{
	part_closed(context);
}

static void on_timer_closed(uv_handle_t *timer)
{
	part_closed(timer->data);
}

void heartbeat_close(struct heartbeat *heartbeat)
{
	if (!heartbeat)
		return;
	heartbeat->parts = 2;
	uv_close((uv_handle_t *)&heartbeat->timer, on_timer_closed);
	transport_close(heartbeat->transport, on_transport_closed, heartbeat);
}
