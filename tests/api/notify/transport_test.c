/* Requests to receivers that answer wrongly, late or never, over real sockets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "api/notify/transport.h"
#include "base/clock.h"
#include "tests/api/notify/receiver.h"

enum { TIMEOUT_MS = 400 };

struct fixture {
	struct rig rig;
	struct transport *transport;
	struct answer answer;
	char *body;
	size_t answers, ended;
	size_t wanted;
	bool closed;
};

static void on_answer(void *context, const struct answer *answer)
{
	struct fixture *fixture = context;

	if (!answer) {
		fixture->ended++;
		return;
	}
	free(fixture->body);
	fixture->body = strdup(answer->body);
	fixture->answer = *answer;
	fixture->answers++;
}

static void on_closed(void *context)
{
	((struct fixture *)context)->closed = true;
}

static bool all_answered(void *context)
{
	struct fixture *fixture = context;

	return fixture->answers >= fixture->wanted;
}

static bool has_closed(void *context)
{
	return ((struct fixture *)context)->closed;
}

static void open_transport(struct fixture *fixture, bool allow_http, bool allow_private)
{
	fixture->transport =
		transport_new(&(struct transport_options){.loop = &fixture->rig.loop,
							  .allow_http = allow_http,
							  .allow_private = allow_private,
							  .timeout_ns = TIMEOUT_MS * NS_PER_MS});
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	rig_init(&fixture->rig);
	open_transport(fixture, true, true);
	*state = fixture;
	return 0;
}

static void close_transport(struct fixture *fixture)
{
	fixture->closed = false;
	transport_close(fixture->transport, on_closed, fixture);
	assert_true(rig_until(&fixture->rig, has_closed, fixture));
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	close_transport(fixture);
	rig_done(&fixture->rig);
	free(fixture->body);
	free(fixture);
	return 0;
}

static void post_to(struct fixture *fixture, const char *url)
{
	transport_post(fixture->transport, url, NULL, "{\"a\":1}", 7, on_answer, fixture);
}

static void ask(struct fixture *fixture, struct line line)
{
	char url[64];

	rig_script(&fixture->rig, &line, 1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hook", fixture->rig.port);
	fixture->wanted = fixture->answers + 1;
	post_to(fixture, url);
	assert_true(rig_until(&fixture->rig, all_answered, fixture));
	assert_int_equal(fixture->answers, fixture->wanted);
}

static void the_answer_has_its_status_its_body_and_its_retry_after(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, (struct line){.answer = "HTTP/1.1 429 Slow\r\nretry-AFTER:  17\r\n"
					     "Content-Length: 4\r\n\r\nwait"});
	assert_int_equal(fixture->answer.status, 429);
	assert_string_equal(fixture->answer.retry_after, "17");
	assert_string_equal(fixture->body, "wait");
	assert_true(fixture->answer.answered_ns >= fixture->answer.sent_ns);
	assert_string_equal(fixture->rig.received[0].body, "{\"a\":1}");
	assert_string_equal(fixture->rig.received[0].path, "/hook");
}

static void silence_ends_at_the_timeout_and_the_request_may_have_arrived(void **state)
{
	struct fixture *fixture = *state;
	uint64_t began = uv_hrtime();

	ask(fixture, (struct line){0});
	assert_int_equal(fixture->answer.status, 0);
	assert_true(fixture->answer.may_have_arrived);
	assert_true(fixture->answer.error[0]);
	assert_true(uv_hrtime() - began >= (TIMEOUT_MS - 10) * NS_PER_MS);
}

static void a_refused_connection_is_no_answer_and_nothing_arrived(void **state)
{
	struct fixture *fixture = *state;
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	char url[64];
	int unheard = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: always refuses */

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(unheard, (struct sockaddr *)&address, length), 0);
	getsockname(unheard, (struct sockaddr *)&address, &length);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hook", ntohs(address.sin_port));
	fixture->wanted = 1;
	post_to(fixture, url);
	assert_true(rig_until(&fixture->rig, all_answered, fixture));
	assert_int_equal(fixture->answer.status, 0);
	assert_false(fixture->answer.may_have_arrived);
	assert_null(strstr(fixture->answer.error, "/hook"));
	close(unheard);
}

static void an_answer_that_is_cut_is_none(void **state)
{
	struct fixture *fixture = *state;
	static const struct line cuts[] = {
		{NULL, .hang_up = true},
		{NULL, .reset = true},
		{"HTTP/1.", .hang_up = true},
		{"HTTP/1.1 200 OK\r\nContent-Le", .hang_up = true},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", .hang_up = true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", .hang_up = true},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
		 .hang_up = true},
	};

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		ask(fixture, cuts[i]);
		assert_int_equal(fixture->answer.status, 0);
		assert_true(fixture->answer.may_have_arrived);
		assert_true(fixture->answer.error[0]);
	}
}

static void of_ten_mebibytes_the_status_is_taken_and_64_kib_at_most(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, (struct line){.answer = "HTTP/1.1 503 Off\r\nContent-Length: 10485760\r\n\r\n",
				   .filler = 10485760});
	assert_int_equal(fixture->answer.status, 503);
	assert_in_range(strlen(fixture->body), 1, ANSWER_BYTES_MAX);
	/* And the next request is served as ever. */
	ask(fixture, (struct line){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
	assert_int_equal(fixture->answer.status, 200);
	assert_string_equal(fixture->body, "ok");
}

static void a_redirect_is_an_answer_and_is_not_followed(void **state)
{
	struct fixture *fixture = *state;
	char redirect[128];

	snprintf(redirect, sizeof(redirect),
		 "HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:%d/other\r\n"
		 "Content-Length: 0\r\n\r\n",
		 fixture->rig.port);
	ask(fixture, (struct line){.answer = redirect});
	assert_int_equal(fixture->answer.status, 307);
	rig_run_for(&fixture->rig, 50);
	assert_int_equal(fixture->rig.count, 1);
}

static void endless_headers_end_by_a_bound(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, (struct line){.answer = "HTTP/1.1 200 OK\r\nX: ", .filler = 1 << 20});
	assert_int_equal(fixture->answer.status, 0);
}

static void bytes_that_are_no_http_are_no_answer(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, (struct line){.answer = "SSH-2.0-OpenSSH_9.2\r\n", .hang_up = true});
	assert_int_equal(fixture->answer.status, 0);
}

static void a_kept_connection_that_closed_in_between_costs_no_request(void **state)
{
	struct fixture *fixture = *state;

	ask(fixture, (struct line){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
				   .hang_up = true});
	rig_run_for(&fixture->rig, 20);
	ask(fixture, (struct line){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
	assert_int_equal(fixture->answer.status, 200);
	assert_int_equal(fixture->rig.count, 2);
}

static void what_a_kept_connection_swallowed_may_have_arrived_and_is_not_sent_again(void **state)
{
	struct fixture *fixture = *state;
	static const struct line script[] = {
		{.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{.hang_up = true}, /* it may have acted */
		{.answer = "HTTP/1.1 500 Off\r\nContent-Length: 0\r\n\r\n"},
	};
	char url[64];

	snprintf(url, sizeof(url), "http://127.0.0.1:%d/hook", fixture->rig.port);
	rig_script(&fixture->rig, script, 3);
	for (fixture->wanted = 1; fixture->wanted <= 2; fixture->wanted++) {
		post_to(fixture, url);
		assert_true(rig_until(&fixture->rig, all_answered, fixture));
	}
	assert_int_equal(fixture->answer.status, 0);
	assert_string_equal(fixture->answer.error, "the connection ended without an answer");
	assert_true(fixture->answer.may_have_arrived);
	assert_int_equal(fixture->rig.count, 2);
}

static void connections_are_kept(void **state)
{
	struct fixture *fixture = *state;

	for (int i = 0; i < 5; i++)
		ask(fixture,
		    (struct line){.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
	assert_int_equal(fixture->rig.connections, 1);
}

static void a_private_address_is_not_connected_to_unless_allowed(void **state)
{
	struct fixture *fixture = *state;
	static const char *const hosts[] = {"127.0.0.1",       "0.0.0.0", "localhost",
					    "[::1]",	       "[::]",	  "[::ffff:127.0.0.1]",
					    "169.254.169.254", "10.0.0.1"};
	char url[96];

	close_transport(fixture);
	open_transport(fixture, true, false);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		snprintf(url, sizeof(url), "http://%s:%d/", hosts[i], fixture->rig.port);
		fixture->wanted = fixture->answers + 1;
		post_to(fixture, url);
		assert_true(rig_until(&fixture->rig, all_answered, fixture));
		assert_int_equal(fixture->answer.status, 0);
		assert_false(fixture->answer.may_have_arrived);
		assert_non_null(strstr(fixture->answer.error, "notify.allow_private"));
	}
	assert_int_equal(fixture->rig.connections, 0);
}

static void plain_http_is_not_spoken_unless_allowed(void **state)
{
	struct fixture *fixture = *state;
	char url[64];

	close_transport(fixture);
	open_transport(fixture, false, true);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", fixture->rig.port);
	fixture->wanted = 1;
	post_to(fixture, url);
	assert_true(rig_until(&fixture->rig, all_answered, fixture));
	assert_int_equal(fixture->answer.status, 0);
	assert_int_equal(fixture->rig.connections, 0);
}

static bool one_came(void *context)
{
	return ((struct fixture *)context)->rig.count == 1;
}

static void closing_ends_requests_under_way(void **state)
{
	struct fixture *fixture = *state;
	static const struct line silent = {0};
	char url[64];

	rig_script(&fixture->rig, &silent, 1);
	snprintf(url, sizeof(url), "http://127.0.0.1:%d/", fixture->rig.port);
	post_to(fixture, url);
	assert_true(rig_until(&fixture->rig, one_came, fixture));
	post_to(fixture, url); /* not even begun */
	close_transport(fixture);
	assert_int_equal(fixture->ended, 2);
	assert_int_equal(fixture->answers, 0);
	open_transport(fixture, true, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(the_answer_has_its_status_its_body_and_its_retry_after),
		TEST(silence_ends_at_the_timeout_and_the_request_may_have_arrived),
		TEST(a_refused_connection_is_no_answer_and_nothing_arrived),
		TEST(an_answer_that_is_cut_is_none),
		TEST(of_ten_mebibytes_the_status_is_taken_and_64_kib_at_most),
		TEST(a_redirect_is_an_answer_and_is_not_followed),
		TEST(endless_headers_end_by_a_bound),
		TEST(bytes_that_are_no_http_are_no_answer),
		TEST(a_kept_connection_that_closed_in_between_costs_no_request),
		TEST(what_a_kept_connection_swallowed_may_have_arrived_and_is_not_sent_again),
		TEST(connections_are_kept),
		TEST(a_private_address_is_not_connected_to_unless_allowed),
		TEST(plain_http_is_not_spoken_unless_allowed),
		TEST(closing_ends_requests_under_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
