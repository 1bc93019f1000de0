#include "api/notify/body.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/diagnosis.h"
#include "api/notify/notify.h"
#include "api/notify/slack.h"
#include "api/notify/template.h"
#include "api/notify/text.h"
#include "api/query/alert_message.h"

/* Slack's limits: header 150 characters, section text 3,000, a field 2,000, fallback text 4,000; a
 * label is cut shorter so that one long name does not bury the rest. PagerDuty's: summary 1,024. */
enum {
	HEADER_CHARACTERS = 149,
	SUMMARY_CHARACTERS = 900,
	LABEL_CHARACTERS = 150,
	MEMBERS_SHOWN = 5,
	TEXT_BYTES = 8192,    /* entities and UTF-8 included */
	SECTION_BYTES = 3000, /* with a NUL: of these a section has room in any case */
	PAGERDUTY_CHARACTERS = 1024,
};

static const char *color_word(const struct alert *alert, bool test)
{
	static const char *const signs[] = {"\xF0\x9F\x94\xB5", "\xF0\x9F\x9F\xA1",
					    "\xF0\x9F\x9F\xA0", "\xF0\x9F\x94\xB4"};

	if (test)
		return "\xF0\x9F\xA7\xAA";
	if (alert->state == ALERT_RESOLVED)
		return "\xE2\x9C\x85";
	return signs[alert->severity <= ALERT_CRITICAL ? alert->severity : ALERT_CRITICAL];
}

static void subject_text(char *out, size_t size, const struct alert_subject *subject)
{
	size_t length = 0;

	if (subject->client[0])
		length = (size_t)snprintf(out, size, "%s \xE2\x86\x92 ", subject->client);
	length += (size_t)snprintf(out + length, size - length, "%s", subject->server);
	if (subject->port)
		snprintf(out + length, size - length, ":%u", subject->port);
}

/* What this message says of its episode. */
const char *body_stage(const struct notice *notice)
{
	const struct alert *alert = notice->alert;

	if (alert->state == ALERT_RESOLVED)
		return "Resolved";
	if (alert->reopened_ns && alert->reopened_ns == alert->pane_end_ns)
		return "Firing again";
	return alert->sequence > 1 && !notice->first ? "Update" : "Firing";
}

static void title_text(char *out, size_t size, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char subject[2 * ALERT_NAME_MAX + 32];

	subject_text(subject, sizeof(subject), &alert->subject);
	snprintf(out, size, "%s %s: %s", notice->test ? "Test of" : body_stage(notice),
		 alert->monitor, subject);
}

void body_suspect(char *out, size_t size, const struct suspect *suspect)
{
	char kind[64];

	snprintf(kind, sizeof(kind), "%s", suspect_kind_name(suspect->kind));
	for (char *byte = kind; *byte; byte++) {
		if (*byte == '_')
			*byte = ' ';
	}
	snprintf(out, size, "%s %s: %.0f %% of the change", kind, suspect->name,
		 suspect->share * 100);
}

void body_link(char *out, size_t size, const struct alert *alert, const char *external_url)
{
	size_t length = strlen(external_url);

	while (length && external_url[length - 1] == '/')
		length--;
	/* A key has base32 letters only: nothing to escape. */
	snprintf(out, size, "%.*s/api/v1/alerts?key=%s", (int)length, external_url, alert->key);
}

bool body_title(char *out, size_t size, size_t characters, const struct notice *notice, bool mrkdwn)
{
	size_t mark = notice->test ? (size_t)snprintf(out, size, "Test: ") : 0;

	return template_fill(out + mark, size - mark, characters - mark, notice->receiver->title,
			     notice, mrkdwn) > 0;
}

/* --- Slack --- */

static void slack_text(struct json *json, const char *type, const char *text)
{
	json_object_begin(json);
	json_key(json, "type");
	json_string(json, type);
	json_key(json, "text");
	json_string(json, text);
	json_object_end(json);
}

static void slack_field(struct json *json, const char *label, const char *value)
{
	char name[TEXT_BYTES / 8], safe[TEXT_BYTES / 8], text[TEXT_BYTES / 2];

	if (!value[0])
		return;
	text_slack(name, sizeof(name), label, LABEL_CHARACTERS);
	text_slack(safe, sizeof(safe), value, LABEL_CHARACTERS);
	snprintf(text, sizeof(text), "*%s*\n%s", name, safe);
	slack_text(json, "mrkdwn", text);
}

static void slack_fields(struct json *json, const struct alert *alert)
{
	char measured[128], compared[128], completeness[32], subject[ALERT_NAME_MAX + 16];

	text_value(measured, sizeof(measured), alert->value, alert->unit);
	text_value(compared, sizeof(compared), alert->threshold, alert->unit);
	snprintf(completeness, sizeof(completeness), "%.1f %%", alert->completeness * 100);
	snprintf(subject, sizeof(subject), alert->subject.port ? "%s:%u" : "%s",
		 alert->subject.server, alert->subject.port);
	json_object_begin(json);
	json_key(json, "type");
	json_string(json, "section");
	json_key(json, "fields");
	json_array_begin(json);
	slack_field(json, "Client", alert->subject.client[0] ? alert->subject.client : "all");
	slack_field(json, "Server", subject);
	slack_field(json, alert->metric[0] ? alert->metric : "Value", measured);
	slack_field(json, "Limit", compared);
	slack_field(json, "Severity", alert_severity_name(alert->severity));
	slack_field(json, "Completeness", completeness);
	json_array_end(json);
	json_object_end(json);
}

static void slack_section(struct json *json, const char *text)
{
	json_object_begin(json);
	json_key(json, "type");
	json_string(json, "section");
	json_key(json, "text");
	slack_text(json, "mrkdwn", text);
	json_object_end(json);
}

static void slack_suspects(struct json *json, const struct alert *alert)
{
	char text[2500] = "*Where*";
	size_t length = strlen(text);

	if (alert->suspects_count == 0 || alert->state == ALERT_RESOLVED)
		return;
	for (uint32_t i = 0; i < alert->suspects_count; i++) {
		char plain[ALERT_NAME_MAX + 128], safe[1024];

		body_suspect(plain, sizeof(plain), &alert->suspects[i]);
		text_slack(safe, sizeof(safe), plain, LABEL_CHARACTERS);
		if (length + strlen(safe) + 8 > sizeof(text))
			break;
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "\n\xE2\x80\xA2 %s", safe);
	}
	slack_section(json, text);
}

static void slack_diagnosis(struct json *json, const struct alert *alert)
{
	char plain[DIAGNOSIS_TEXT_MAX], text[DIAGNOSIS_TEXT_MAX + 16];

	if (!alert->diagnosis.kind || alert->state == ALERT_RESOLVED)
		return;
	/* Numbers and our own words: nothing to escape. */
	diagnosis_text(&alert->diagnosis, plain);
	snprintf(text, sizeof(text), "*Why*\n%s", plain);
	slack_section(json, text);
}

/* "web to api:8080, connect_latency" */
static void member_text(char *text, size_t size, const struct alert_member *member)
{
	const struct alert_subject *subject = &member->subject;

	snprintf(text, size, "%s to %s:%u, %s",
		 subject->client[0] ? subject->client : "all clients", subject->server,
		 subject->port, member->metric);
}

/* What else belongs to the incident: a line each. */
static void slack_members(struct json *json, const struct alert *alert)
{
	char text[2800] = "*Also affected*";
	size_t length = strlen(text);
	uint32_t told = 1;

	if (alert->episodes < 2 || alert->state == ALERT_RESOLVED)
		return;
	for (; told < alert->members_count && told < MEMBERS_SHOWN; told++) {
		char plain[2 * ALERT_NAME_MAX + 128], safe[1024];

		member_text(plain, sizeof(plain), &alert->members[told]);
		text_slack(safe, sizeof(safe), plain, LABEL_CHARACTERS);
		if (length + strlen(safe) + 64 > sizeof(text))
			break;
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "\n\xE2\x80\xA2 %s", safe);
	}
	if (alert->episodes > told)
		snprintf(text + length, sizeof(text) - length, "\n\xE2\x80\xA2 and %u more",
			 alert->episodes - told);
	slack_section(json, text);
}

static void slack_context(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char text[2048], started[40], url[1200];
	int length;

	text_time(started, sizeof(started), alert->started_ns);
	length = snprintf(text, sizeof(text), "since %s, alert `%s`", started, alert->key);
	if (notice->external_url) {
		body_link(url, sizeof(url), alert, notice->external_url);
		snprintf(text + length, sizeof(text) - (size_t)length, ", <%s|details as JSON>",
			 url);
	}
	json_object_begin(json);
	json_key(json, "type");
	json_string(json, "context");
	json_key(json, "elements");
	json_array_begin(json);
	slack_text(json, "mrkdwn", text);
	if (notice->repeat)
		slack_text(json, "plain_text", BODY_REPEAT);
	if (notice->test)
		slack_text(json, "plain_text", BODY_TEST);
	json_array_end(json);
	json_object_end(json);
}

/* What a notification shows, and who cannot show more; all that a reply has. */
static void slack_fallback(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char summary[TEXT_BYTES / 2], fallback[TEXT_BYTES];
	size_t length;

	if (!body_title(fallback, SECTION_BYTES, SECTION_BYTES - 1, notice, true)) {
		text_slack(summary, sizeof(summary), alert->summary, SUMMARY_CHARACTERS);
		snprintf(fallback, sizeof(fallback), "%s: %s",
			 notice->test			  ? "Test"
			 : alert->state == ALERT_RESOLVED ? "Resolved"
							  : alert_severity_name(alert->severity),
			 summary);
	}
	length = strlen(fallback);
	if (notice->reply && notice->repeat)
		snprintf(fallback + length, sizeof(fallback) - length, "\n" BODY_REPEAT);
	json_member(json, "text", fallback);
}

static void slack_message(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char title[3 * ALERT_NAME_MAX], header[TEXT_BYTES / 4], summary[TEXT_BYTES];

	title_text(title, sizeof(title), notice);
	int sign = snprintf(header, sizeof(header), "%s ", color_word(alert, notice->test));

	if (!body_title(header + sign, sizeof(header) - (size_t)sign, HEADER_CHARACTERS - 4, notice,
			false))
		text_safe(header + sign, sizeof(header) - (size_t)sign, title,
			  HEADER_CHARACTERS - 4);
	if (!template_fill(summary, SECTION_BYTES, SECTION_BYTES - 1, notice->receiver->text,
			   notice, true))
		text_slack(summary, sizeof(summary), alert->summary, SUMMARY_CHARACTERS);
	slack_fallback(json, notice);
	json_key(json, "blocks");
	json_array_begin(json);
	json_object_begin(json);
	json_key(json, "type");
	json_string(json, "header");
	json_key(json, "text");
	slack_text(json, "plain_text", header);
	json_object_end(json);
	if (summary[0])
		slack_section(json, summary);
	slack_fields(json, alert);
	slack_suspects(json, alert);
	slack_diagnosis(json, alert);
	slack_members(json, alert);
	slack_context(json, notice);
	json_array_end(json);
}

void body_slack(struct json *json, const struct notice *notice)
{
	json_object_begin(json);
	slack_message(json, notice);
	json_object_end(json);
}

void body_slack_bot(struct json *json, const struct notice *notice)
{
	char channel[SLACK_HANDLE_MAX], time[SLACK_HANDLE_MAX];
	bool known = slack_handle_parts(notice->handle, channel, time);

	json_object_begin(json);
	json_member(json, "channel", known ? channel : notice->receiver->channel);
	if (known)
		json_member(json, notice->reply ? "thread_ts" : "ts", time);
	if (known && notice->reply) {
		slack_fallback(json, notice);
		json_key(json, "reply_broadcast");
		json_bool(json, notice->loud);
	} else {
		slack_message(json, notice);
	}
	json_object_end(json);
}

/* --- PagerDuty --- */

static void member(struct json *json, const char *key, const char *value)
{
	char safe[TEXT_BYTES / 2];

	text_safe(safe, sizeof(safe), value, SUMMARY_CHARACTERS);
	json_key(json, key);
	json_string(json, safe);
}

/* A member that PagerDuty refuses to find empty. */
static void required(struct json *json, const char *key, const char *value, const char *otherwise)
{
	char safe[TEXT_BYTES / 2];

	member(json, key,
	       text_safe(safe, sizeof(safe), value, SUMMARY_CHARACTERS) ? value : otherwise);
}

static void number(struct json *json, const char *key, double value)
{
	json_key(json, key);
	json_double(json, value);
}

static void pagerduty_details(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char text[ALERT_NAME_MAX + 128], own[TEXT_BYTES];

	json_key(json, "custom_details");
	json_object_begin(json);
	if (notice->test)
		json_member(json, "test", BODY_TEST);
	if (template_fill(own, sizeof(own), sizeof(own) - 1, notice->receiver->text, notice, false))
		json_member(json, "text", own);
	member(json, "monitor", alert->monitor);
	member(json, "client", alert->subject.client);
	member(json, "server", alert->subject.server);
	number(json, "port", alert->subject.port);
	member(json, "metric", alert->metric);
	member(json, "unit", alert->unit);
	number(json, "value", alert->value);
	number(json, "threshold", alert->threshold);
	if (alert->score > 0 || alert->usual_high > 0) {
		number(json, "expected", alert->expected);
		number(json, "usual_low", alert->usual_low);
		number(json, "usual_high", alert->usual_high);
		number(json, "score", alert->score);
	}
	number(json, "window_seconds", alert->window_ms / 1000.0);
	number(json, "completeness", alert->completeness);
	json_key(json, "suspects");
	json_array_begin(json);
	for (uint32_t i = 0; i < alert->suspects_count; i++) {
		char safe[1024];

		body_suspect(text, sizeof(text), &alert->suspects[i]);
		text_safe(safe, sizeof(safe), text, LABEL_CHARACTERS);
		json_string(json, safe);
	}
	json_array_end(json);
	if (alert->diagnosis.kind) {
		char words[DIAGNOSIS_TEXT_MAX];

		diagnosis_text(&alert->diagnosis, words);
		member(json, "diagnosis", words);
	}
	number(json, "episodes", alert->episodes);
	json_key(json, "affected");
	json_array_begin(json);
	for (uint32_t i = 0; i < alert->members_count; i++) {
		char plain[2 * ALERT_NAME_MAX + 128], safe[1024];

		member_text(plain, sizeof(plain), &alert->members[i]);
		text_safe(safe, sizeof(safe), plain, 2 * LABEL_CHARACTERS);
		json_string(json, safe);
	}
	json_array_end(json);
	json_object_end(json);
}

static void pagerduty_payload(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char at[40], source[ALERT_NAME_MAX + 16], own[TEXT_BYTES / 2];

	text_time(at, sizeof(at), alert->started_ns);
	snprintf(source, sizeof(source), alert->subject.port ? "%s:%u" : "%s",
		 alert->subject.server, alert->subject.port);
	json_key(json, "payload");
	json_object_begin(json);
	if (body_title(own, sizeof(own), PAGERDUTY_CHARACTERS, notice, false))
		json_member(json, "summary", own);
	else
		required(json, "summary", alert->summary, "Millrace alert");
	required(json, "source", source, "millrace");
	json_key(json, "severity");
	json_string(json, alert_severity_name(alert->severity));
	json_key(json, "timestamp");
	json_string(json, at);
	member(json, "component", alert->subject.server);
	member(json, "group", alert->subject.client[0] ? alert->subject.client : "all clients");
	member(json, "class", alert->monitor);
	pagerduty_details(json, notice);
	json_object_end(json);
}

void body_pagerduty(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	const char *external_url = notice->external_url;
	char url[1200];

	if (external_url)
		body_link(url, sizeof(url), alert, external_url);
	json_object_begin(json);
	json_key(json, "routing_key");
	json_string(json, notice->receiver->routing_key);
	json_key(json, "event_action");
	json_string(json, alert->state == ALERT_RESOLVED ? "resolve" : "trigger");
	json_key(json, "dedup_key");
	json_string(json, alert->key);
	json_key(json, "client");
	json_string(json, "Millrace");
	if (external_url) /* the address alone answers 404 */
		json_member(json, "client_url", url);
	pagerduty_payload(json, notice);
	if (external_url) {
		json_key(json, "links");
		json_array_begin(json);
		json_object_begin(json);
		json_key(json, "href");
		json_string(json, url);
		json_key(json, "text");
		json_string(json, "Details as JSON");
		json_object_end(json);
		json_array_end(json);
	}
	json_object_end(json);
}

void body_webhook(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char at[40], url[1200], own[TEXT_BYTES];

	text_time(at, sizeof(at), alert->pane_end_ns);
	json_object_begin(json);
	json_member(json, "type",
		    alert->state == ALERT_RESOLVED ? "alert.resolved" : "alert.firing");
	json_member(json, "timestamp", at);
	if (notice->external_url) {
		body_link(url, sizeof(url), alert, notice->external_url);
		json_member(json, "url", url);
	}
	if (body_title(own, sizeof(own), sizeof(own) - 1, notice, false))
		json_member(json, "title", own);
	if (template_fill(own, sizeof(own), sizeof(own) - 1, notice->receiver->text, notice, false))
		json_member(json, "text", own);
	if (notice->test) {
		json_key(json, "test");
		json_bool(json, true);
	}
	json_key(json, "data");
	alert_json(json, alert);
	json_object_end(json);
}
