#include "api/notify/alertmanager.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/diagnosis.h"
#include "api/notify/notify.h"
#include "api/notify/template.h"
#include "api/notify/text.h"
#include "base/memory.h"

/* No limits of its own are known; what passes through it ends in a mail or a chat. */
enum {
	LABEL_CHARACTERS = 255,
	TEXT_CHARACTERS = 900,
	TEXT_BYTES = 4096, /* UTF-8 included */
};

/* One of an empty value is as good as none. */
static void label(struct json *json, const char *key, const char *value)
{
	char safe[TEXT_BYTES];

	if (text_safe(safe, sizeof(safe), value, LABEL_CHARACTERS))
		json_member(json, key, safe);
}

static void text(struct json *json, const char *key, const char *value)
{
	char safe[TEXT_BYTES];

	if (text_safe(safe, sizeof(safe), value, TEXT_CHARACTERS))
		json_member(json, key, safe);
}

static void put_labels(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	const struct alert_subject *subject = &alert->subject;
	const char *slash = strchr(subject->server, '/');
	char name[ALERT_NAME_MAX], port[8];

	json_member_object(json, "labels");
	json_member(json, "alertname",
		    text_safe(name, sizeof(name), alert->monitor, LABEL_CHARACTERS) ? name
										    : "millrace");
	json_member(json, "severity", alert_severity_name(alert->severity));
	label(json, "incident", alert->key);
	label(json, "client", subject->client);
	label(json, "server", subject->server);
	if (slash) {
		snprintf(name, sizeof(name), "%.*s", (int)(slash - subject->server),
			 subject->server);
		label(json, "namespace", name);
	}
	if (subject->port) {
		snprintf(port, sizeof(port), "%u", subject->port);
		label(json, "port", port);
	}
	label(json, "metric", alert->metric);
	if (notice->test)
		json_member(json, "test", "true");
	json_object_end(json);
}

static void put_suspects(struct json *json, const struct alert *alert)
{
	char words[TEXT_BYTES], one[ALERT_NAME_MAX + 128];
	size_t length = 0;

	words[0] = '\0';
	for (uint32_t i = 0; i < alert->suspects_count; i++) {
		body_suspect(one, sizeof(one), &alert->suspects[i]);
		length += (size_t)snprintf(words + length, sizeof(words) - length, "%s%s",
					   i ? "; " : "", one);
	}
	text(json, "suspects", words);
}

static void put_annotations(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char words[DIAGNOSIS_TEXT_MAX], value[128], own[2 * TEXT_BYTES];

	json_member_object(json, "annotations");
	if (body_title(own, sizeof(own), TEXT_CHARACTERS, notice, false))
		json_member(json, "summary", own);
	else
		text(json, "summary", alert->summary);
	if (template_fill(own, sizeof(own), sizeof(own) - 1, notice->receiver->text, notice, false))
		json_member(json, "description", own);
	if (notice->test)
		json_member(json, "test", BODY_TEST);
	text_value(value, sizeof(value), alert->value, alert->unit);
	text(json, "value", value);
	text_value(value, sizeof(value), alert->threshold, alert->unit);
	text(json, "threshold", value);
	snprintf(value, sizeof(value), "%.1f %%", alert->completeness * 100);
	text(json, "completeness", value);
	put_suspects(json, alert);
	if (alert->diagnosis.kind) {
		diagnosis_text(&alert->diagnosis, words);
		text(json, "diagnosis", words);
	}
	json_object_end(json);
}

static uint64_t started_ns(const struct alert *alert)
{
	return alert->reopened_ns ? alert->reopened_ns : alert->started_ns;
}

struct item *item_new(const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	char at[40], url[1200];
	struct json json;
	struct item *item;
	const char *bytes;
	size_t labels, length;

	json_init(&json);
	json_object_begin(&json);
	put_labels(&json, notice);
	json_text(&json, &labels);
	put_annotations(&json, notice);
	text_time(at, sizeof(at), started_ns(alert));
	json_member(&json, "startsAt", at);
	if (notice->external_url) {
		body_link(url, sizeof(url), alert, notice->external_url);
		json_member(&json, "generatorURL", url);
	}
	json_object_end(&json);
	bytes = json_text(&json, &length);
	item = memory_zeroed(1, sizeof(*item) + length);
	item->labels_length = labels;
	item->length = length - 1; /* without the } */
	memcpy(item->text, bytes, item->length);
	json_done(&json);
	return item;
}

void item_put(struct json *json, const struct item *item, uint64_t ends_ns)
{
	char *whole = memory_resize(NULL, item->length + 64, 1), at[40];
	int length;

	text_time(at, sizeof(at), ends_ns);
	memcpy(whole, item->text, item->length);
	length = snprintf(whole + item->length, 64, ",\"endsAt\":\"%s\"}", at);
	json_raw(json, whole, item->length + (size_t)length);
	free(whole);
}

static bool same_labels(const struct item *a, const struct item *b)
{
	return a->labels_length == b->labels_length &&
	       memcmp(a->text, b->text, a->labels_length) == 0;
}

/* Not before it began, which Alertmanager refuses, nor in what is future by its clock. */
static uint64_t over_ns(const struct notice *notice, uint64_t ended_ns)
{
	uint64_t began = started_ns(notice->alert);
	uint64_t ends = ended_ns && ended_ns < notice->now_ns ? ended_ns : notice->now_ns;

	return ends > began ? ends : began;
}

void body_alertmanager(struct json *json, const struct notice *notice)
{
	const struct alert *alert = notice->alert;
	struct item *item = item_new(notice);

	json_array_begin(json);
	if (alert->state == ALERT_RESOLVED) {
		item_put(json, notice->item ? notice->item : item,
			 over_ns(notice, alert->ended_ns));
	} else {
		if (notice->item && !same_labels(notice->item, item))
			item_put(json, notice->item, over_ns(notice, 0));
		item_put(json, item, notice->now_ns + notice->receiver->resolve_after_ns);
	}
	json_array_end(json);
	free(item);
}
