#include "fetch/multi.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/memory.h"

struct watch {
	uv_poll_t poll;
	curl_socket_t socket;
	struct multi *multi;
};

struct multi {
	uv_loop_t *loop;
	CURLM *curl;
	multi_done done;
	uv_timer_t timer;
	int handles; /* uv handles not yet closed */
	bool closing;
	void (*closed)(void *context);
	void *closed_context;
};

static void drain(struct multi *multi)
{
	CURLMsg *message;
	int left;

	while (!multi->closing && (message = curl_multi_info_read(multi->curl, &left)) != NULL) {
		char *request;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		multi->done(request, message->data.result);
	}
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct watch *watch = poll->data;
	struct multi *multi = watch->multi;
	int flags = status < 0 ? CURL_CSELECT_ERR
			       : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
					 (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
	int running;

	curl_multi_socket_action(multi->curl, watch->socket, flags, &running);
	drain(multi);
}

static void on_timer(uv_timer_t *timer)
{
	struct multi *multi = timer->data;
	int running;

	curl_multi_socket_action(multi->curl, CURL_SOCKET_TIMEOUT, 0, &running);
	drain(multi);
}

/* curl must not be entered from here: even a due timer waits a millisecond. */
static int set_timer(CURLM *curl, long timeout_ms, void *context)
{
	struct multi *multi = context;

	(void)curl;
	if (multi->closing)
		return 0;
	if (timeout_ms < 0)
		uv_timer_stop(&multi->timer);
	else
		uv_timer_start(&multi->timer, on_timer, timeout_ms > 0 ? (uint64_t)timeout_ms : 1,
			       0);
	return 0;
}

static void maybe_closed(struct multi *multi)
{
	void (*closed)(void *context) = multi->closed;
	void *context = multi->closed_context;

	if (!multi->closing || multi->handles)
		return;
	free(multi);
	closed(context);
}

static void on_watch_closed(uv_handle_t *handle)
{
	struct watch *watch = handle->data;
	struct multi *multi = watch->multi;

	free(watch);
	multi->handles--;
	maybe_closed(multi);
}

static int set_socket(CURL *easy, curl_socket_t socket, int what, void *context,
		      void *socket_context)
{
	struct multi *multi = context;
	struct watch *watch = socket_context;
	int events =
		(what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		if (!watch)
			return 0;
		curl_multi_assign(multi->curl, socket, NULL);
		uv_poll_stop(&watch->poll);
		uv_close((uv_handle_t *)&watch->poll, on_watch_closed);
		return 0;
	}
	if (!watch) {
		watch = memory_zeroed(1, sizeof(*watch));
		watch->socket = socket;
		watch->multi = multi;
		watch->poll.data = watch;
		if (uv_poll_init_socket(multi->loop, &watch->poll, socket)) {
			free(watch);
			return -1;
		}
		multi->handles++;
		curl_multi_assign(multi->curl, socket, watch);
	}
	uv_poll_start(&watch->poll, events, on_event);
	return 0;
}

struct multi *multi_new(uv_loop_t *loop, multi_done done)
{
	struct multi *multi = memory_zeroed(1, sizeof(*multi));

	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi->loop = loop;
	multi->done = done;
	multi->curl = curl_multi_init();
	if (!multi->curl)
		abort(); /* out of memory */
	uv_timer_init(loop, &multi->timer);
	multi->timer.data = multi;
	multi->handles = 1;
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
	return multi;
}

CURLM *multi_curl(struct multi *multi)
{
	return multi->curl;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct multi *multi = handle->data;

	multi->handles--;
	maybe_closed(multi);
}

void multi_close(struct multi *multi, void (*closed)(void *context), void *context)
{
	multi->closing = true;
	multi->closed = closed;
	multi->closed_context = context;
	curl_multi_cleanup(multi->curl);
	uv_close((uv_handle_t *)&multi->timer, on_timer_closed);
}
