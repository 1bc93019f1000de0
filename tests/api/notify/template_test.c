/* What whoever sets up a receiver may write, and what comes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "api/notify/body.h"
#include "api/notify/notify.h"
#include "api/notify/template.h"

static const struct receiver receiver = {.name = "team"};

static struct alert plain(void)
{
	return (struct alert){.key = "ABC",
			      .sequence = 1,
			      .severity = ALERT_CRITICAL,
			      .monitor = "errors",
			      .subject = {"shop/web", "shop/cart", 8080, 6},
			      .metric = "failure_ratio",
			      .unit = "ratio",
			      .value = 0.25,
			      .threshold = 0.05,
			      .started_ns = 1767323045678000000,
			      .episodes = 3,
			      .summary = "shop/web to shop/cart: 25 % fail",
			      .diagnosis = {DIAGNOSIS_NO_LISTENER, false, 25, 100, 0},
			      .suspects_count = 1,
			      .suspects = {{SUSPECT_SERVER_VERSION, 0.92, 3, "cart:2.1"}}};
}

static const char *filled(const struct alert *alert, const char *template, bool mrkdwn)
{
	static char out[4096];
	const struct notice notice = {
		.alert = alert, .receiver = &receiver, .external_url = "https://millrace.example/"};

	size_t length = template_fill(out, sizeof(out), 4000, template, &notice, mrkdwn);

	assert_int_equal(length, strlen(out));
	return out;
}

static void each_field_has_its_value(void **state)
{
	static const char *const values[][2] = {
		{"{{ stage }}", "Firing"},
		{"{{ state }}", "firing"},
		{"{{ severity }}", "critical"},
		{"{{ monitor }}", "errors"},
		{"{{ summary }}", "shop/web to shop/cart: 25 % fail"},
		{"{{ client }}", "shop/web"},
		{"{{ server }}", "shop/cart"},
		{"{{ port }}", "8080"},
		{"{{ namespace }}", "shop"},
		{"{{ metric }}", "failure_ratio"},
		{"{{ value }}", "25 %"},
		{"{{ threshold }}", "5 %"},
		{"{{ suspect }}", "server version cart:2.1: 92 % of the change"},
		{"{{ diagnosis }}", "likely nobody listens: 25 of 100 attempts were refused"},
		{"{{ episodes }}", "3"},
		{"{{ started }}", "2026-01-02T03:04:05.678Z"},
		{"{{ key }}", "ABC"},
		{"{{ url }}", "https://millrace.example/api/v1/alerts?key=ABC"},
		{"{{stage}}: {{  server  }}:{{port}}!\nnext", "Firing: shop/cart:8080!\nnext"},
		{"no field, { and }}", "no field, { and }}"},
		{"", ""},
	};
	struct alert alert = plain();

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		assert_null(template_check(values[i][0]));
		assert_string_equal(filled(&alert, values[i][0], false), values[i][1]);
	}
	alert.subject = (struct alert_subject){.server = "db"};
	alert.suspects_count = 0;
	alert.diagnosis.kind = DIAGNOSIS_NONE;
	assert_string_equal(filled(&alert,
				   "{{client}}|{{port}}|{{namespace}}|{{suspect}}|{{diagnosis}}",
				   false),
			    "all clients||||");
}

static void nothing_but_blanks_is_nothing(void **state)
{
	struct alert alert = plain();

	(void)state;
	alert.subject.port = 0;
	alert.suspects_count = 0;
	assert_string_equal(filled(&alert, " {{ port }}\n\t{{ suspect }} ", false), "");
	assert_string_equal(filled(&alert, " {{ port }}\n.", false), " \n.");
}

/* A link leads where it is to, whatever a monitor or a pod is called. */
static void in_a_links_address_fields_are_escaped_as_one(void **state)
{
	struct alert alert = plain();

	(void)state;
	snprintf(alert.monitor, sizeof(alert.monitor), "cart refuses|here> \"%%\xc3\xa4");
	assert_string_equal(filled(&alert,
				   "<https://run/{{ monitor }}|what {{ monitor }}> {{ monitor }}",
				   true),
			    "<https://run/cart%20refuses%7Chere%3E%20%22%25%C3%A4|what cart "
			    "refuses|here&gt; \"%\xc3\xa4> "
			    "cart refuses|here&gt; \"%\xc3\xa4");
	assert_string_equal(filled(&alert, "<{{ url }}|details>", true),
			    "<https://millrace.example/api/v1/alerts?key=ABC|details>");
	assert_string_equal(filled(&alert, "<http://run/{{ monitor }}", false),
			    "<http://run/cart refuses|here> \"%\xc3\xa4");
	assert_string_equal(filled(&alert, "1 % <{{ threshold }} <http://a {{ value }}", true),
			    "1 % <5 % <http://a 25 %");
}

static void an_unknown_field_is_refused_with_those_there_are(void **state)
{
	static const char *const wrong[][2] = {{"{{ sevrity }}", "there is no field \"sevrity\""},
					       {"a {{ server }} {{}}", "there is no field \"\""},
					       {"{{ server | upper }}", "\"server | upper\""},
					       {"{{ server", "a {{ has no }}"},
					       {"{{ {{ server }}", "no field \"{{ server\""}};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		const char *why = template_check(wrong[i][0]);

		assert_non_null(why);
		assert_non_null(strstr(why, wrong[i][1]));
		assert_non_null(strstr(why, "there are stage, state, severity"));
		assert_non_null(strstr(why, ", url"));
	}
}

static void what_fields_bring_is_made_safe_and_what_was_written_stays(void **state)
{
	struct alert alert = plain();

	(void)state;
	snprintf(alert.subject.server, sizeof(alert.subject.server),
		 "<!channel>\x01 {{ key }} @here&");
	assert_string_equal(filled(&alert, "<!here> *{{ server }}*", true),
			    "<!here> *&lt;!channel&gt; {{ key }} here&amp;*");
	assert_string_equal(filled(&alert, "{{ server }}", false), "<!channel> {{ key }} @here&");
}

static void it_is_cut_at_its_bound(void **state)
{
	const struct notice notice = {.alert = &(struct alert){.summary = "0123456789"},
				      .receiver = &receiver};
	char out[24];

	(void)state;
	template_fill(out, sizeof(out), 5, "{{ summary }} more", &notice, false);
	assert_string_equal(out, "0123\xe2\x80\xa6");
	template_fill(out, sizeof(out), 4, "\xc3\xa4\xc3\xb6\xc3\xbc{{ summary }}", &notice, false);
	assert_string_equal(out, "\xc3\xa4\xc3\xb6\xc3\xbc\xe2\x80\xa6");
	template_fill(out, sizeof(out), 3, "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f", &notice, false);
	assert_string_equal(out, "\xc3\xa4\xc3\xb6\xc3\xbc");
	/* 23 bytes: eleven and a half of these. */
	template_fill(out, sizeof(out), 99,
		      "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
		      "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4",
		      &notice, false);
	assert_int_equal(strlen(out), 22);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_field_has_its_value),
		cmocka_unit_test(an_unknown_field_is_refused_with_those_there_are),
		cmocka_unit_test(nothing_but_blanks_is_nothing),
		cmocka_unit_test(in_a_links_address_fields_are_escaped_as_one),
		cmocka_unit_test(what_fields_bring_is_made_safe_and_what_was_written_stays),
		cmocka_unit_test(it_is_cut_at_its_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
