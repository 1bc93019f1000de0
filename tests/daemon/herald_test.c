/* Who tells of a change that all instances see: without Kafka, by what would be written. */
#include "daemon/herald.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "api/history/history.h"
#include "base/clock.h"
#include "daemon/outputs.h"

struct stand {
	struct outputs *outputs;
	struct history *history;
	struct herald *herald;
};

static void on_trouble(void *context, const char *sentence)
{
	(void)context;
	(void)sentence;
}

static int start(void **state)
{
	static struct stand stand;
	const struct outputs_options outputs = {.brokers = "127.0.0.1:1", .trouble = on_trouble};
	const struct history_options history = {.keep_1s_ns = NS_PER_S, .trouble = on_trouble};
	const char *why;
	char error[256];

	stand.outputs = outputs_new(&outputs, error, sizeof(error));
	stand.history = history_new(&history, &why);
	assert_non_null(stand.outputs);
	assert_non_null(stand.history);
	stand.herald = herald_new(&(struct herald_options){.outputs = stand.outputs,
							   .cluster = "here",
							   .learn_ns = NS_PER_S,
							   .gone_ns = NS_PER_S,
							   .edges_max = 10,
							   .history = stand.history});
	*state = &stand;
	return 0;
}

static int stop(void **state)
{
	struct stand *stand = *state;

	outputs_close(stand->outputs, 1);
	herald_free(stand->herald);
	history_free(stand->history);
	return 0;
}

static void see(struct stand *stand, uint64_t number)
{
	struct change_event change = {.kind = CHANGE_RESTARTED, .time_ns = number};

	snprintf(change.workload, sizeof(change.workload), "shop/cart");
	herald_change(stand->herald, &change);
}

static uint64_t told(const struct stand *stand)
{
	return herald_stats(stand->herald).told[CHANGE_RESTARTED];
}

static void who_leads_from_now_on_tells_what_it_saw_before(void **state)
{
	struct stand *stand = *state;

	see(stand, 1);
	assert_int_equal(told(stand), 0);
	herald_lead(stand->herald, true);
	assert_int_equal(told(stand), 1);
	see(stand, 2);
	assert_int_equal(told(stand), 2);
	herald_lead(stand->herald, false);
	herald_lead(stand->herald, true);
	assert_int_equal(told(stand), 2);
	herald_lead(stand->herald, false);
	for (uint64_t i = 0; i < 100; i++)
		see(stand, 3 + i);
	assert_int_equal(told(stand), 2);
	herald_lead(stand->herald, true);
	assert_int_equal(told(stand), 2 + 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(who_leads_from_now_on_tells_what_it_saw_before,
						start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
