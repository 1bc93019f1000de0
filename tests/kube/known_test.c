/* The table of what was told, against a plain array of the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "kube/known.h"

static void a_version_is_news_once(void **state)
{
	struct kube_known *known = kube_known_new(8);
	(void)state;
	assert_int_equal(kube_known_put(known, "a", "1", 1), KUBE_NEWS_ADDED);
	assert_int_equal(kube_known_put(known, "a", "1", 1), KUBE_NEWS_SAME);
	assert_int_equal(kube_known_put(known, "a", "2", 1), KUBE_NEWS_CHANGED);
	assert_true(kube_known_drop(known, "a"));
	assert_false(kube_known_drop(known, "a"));
	assert_int_equal(kube_known_put(known, "a", "2", 1), KUBE_NEWS_ADDED);
	kube_known_free(known);
}

static void one_more_than_there_is_room_for_is_refused_until_one_goes(void **state)
{
	struct kube_known *known = kube_known_new(2);
	(void)state;
	kube_known_put(known, "a", "1", 1);
	assert_int_equal(kube_known_put(known, "b", "1", 1), KUBE_NEWS_ADDED);
	assert_int_equal(kube_known_put(known, "c", "1", 1), KUBE_NEWS_FULL);
	assert_int_equal(kube_known_put(known, "b", "2", 1), KUBE_NEWS_CHANGED);
	kube_known_drop(known, "a");
	assert_int_equal(kube_known_put(known, "c", "1", 1), KUBE_NEWS_ADDED);
	assert_int_equal(kube_known_count(known), 2);
	kube_known_free(known);
}

enum { UIDS = 500 };

struct model {
	uint32_t round[UIDS]; /* 0: not known */
	unsigned gone;
};

static void on_gone(void *context, const char *uid)
{
	struct model *model = context;
	model->round[atoi(uid)] = 0;
	model->gone++;
}

static void after_any_sequence_it_knows_what_a_plain_array_knows(void **state)
{
	unsigned seed = 20251122;
	struct kube_known *known = kube_known_new(UIDS);
	static struct model model;
	char uid[16];
	(void)state;
	printf("seed %u\n", seed);
	for (uint32_t round = 1; round < 50; round++) {
		for (int i = 0; i < 400; i++) {
			int at = rand_r(&seed) % UIDS;
			snprintf(uid, sizeof(uid), "%d", at);
			if (rand_r(&seed) % 3) {
				enum kube_news news = kube_known_put(known, uid, "1", round);
				assert_int_equal(news, model.round[at] ? KUBE_NEWS_SAME
								       : KUBE_NEWS_ADDED);
				model.round[at] = round;
			} else {
				assert_int_equal(kube_known_drop(known, uid), model.round[at] != 0);
				model.round[at] = 0;
			}
		}
		unsigned stale = 0, left = 0;
		for (int i = 0; i < UIDS; i++) {
			stale += model.round[i] && model.round[i] != round;
			left += model.round[i] == round;
		}
		model.gone = 0;
		kube_known_sweep(known, round, on_gone, &model);
		assert_int_equal(model.gone, stale);
		assert_int_equal(kube_known_count(known), left);
		for (int i = 0; i < UIDS; i++)
			assert_true(!model.round[i] || model.round[i] == round);
	}
	kube_known_free(known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_version_is_news_once),
		cmocka_unit_test(one_more_than_there_is_room_for_is_refused_until_one_goes),
		cmocka_unit_test(after_any_sequence_it_knows_what_a_plain_array_knows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
