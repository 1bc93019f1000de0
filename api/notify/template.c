#include "api/notify/template.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/diagnosis.h"
#include "api/notify/body.h"
#include "api/notify/text.h"

enum {
	FIELD_BYTES = 1500, /* of a value, before it is made safe */
	ROOM = 8,	    /* that text_safe wants */
};

/* --- fields --- */

static void put_stage(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->test ? "Test" : body_stage(notice));
}

static void put_state(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", alert_state_name(notice->alert->state));
}

static void put_severity(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", alert_severity_name(notice->alert->severity));
}

static void put_monitor(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->alert->monitor);
}

static void put_summary(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->alert->summary);
}

static void put_client(char *out, size_t size, const struct notice *notice)
{
	const char *client = notice->alert->subject.client;

	snprintf(out, size, "%s", client[0] ? client : "all clients");
}

static void put_server(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->alert->subject.server);
}

static void put_port(char *out, size_t size, const struct notice *notice)
{
	if (notice->alert->subject.port)
		snprintf(out, size, "%u", notice->alert->subject.port);
}

static void put_namespace(char *out, size_t size, const struct notice *notice)
{
	const char *server = notice->alert->subject.server, *slash = strchr(server, '/');

	if (slash)
		snprintf(out, size, "%.*s", (int)(slash - server), server);
}

static void put_metric(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->alert->metric);
}

static void put_value(char *out, size_t size, const struct notice *notice)
{
	text_value(out, size, notice->alert->value, notice->alert->unit);
}

static void put_threshold(char *out, size_t size, const struct notice *notice)
{
	text_value(out, size, notice->alert->threshold, notice->alert->unit);
}

static void put_suspect(char *out, size_t size, const struct notice *notice)
{
	if (notice->alert->suspects_count)
		body_suspect(out, size, &notice->alert->suspects[0]);
}

static void put_diagnosis(char *out, size_t size, const struct notice *notice)
{
	char words[DIAGNOSIS_TEXT_MAX];

	if (!notice->alert->diagnosis.kind)
		return;
	diagnosis_text(&notice->alert->diagnosis, words);
	snprintf(out, size, "%s", words);
}

static void put_episodes(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%u", notice->alert->episodes);
}

static void put_started(char *out, size_t size, const struct notice *notice)
{
	text_time(out, size, notice->alert->started_ns);
}

static void put_key(char *out, size_t size, const struct notice *notice)
{
	snprintf(out, size, "%s", notice->alert->key);
}

static void put_url(char *out, size_t size, const struct notice *notice)
{
	if (notice->external_url)
		body_link(out, size, notice->alert, notice->external_url);
}

static const struct field {
	const char *name;
	void (*put)(char *out, size_t size, const struct notice *notice); /* out is empty */
} fields[] = {
	{"stage", put_stage},
	{"state", put_state},
	{"severity", put_severity},
	{"monitor", put_monitor},
	{"summary", put_summary},
	{"client", put_client},
	{"server", put_server},
	{"port", put_port},
	{"namespace", put_namespace},
	{"metric", put_metric},
	{"value", put_value},
	{"threshold", put_threshold},
	{"suspect", put_suspect},
	{"diagnosis", put_diagnosis},
	{"episodes", put_episodes},
	{"started", put_started},
	{"key", put_key},
	{"url", put_url},
};

enum { FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* --- reading --- */

/* What comes next: text up to a field, or a field. */
struct piece {
	const char *at;
	size_t length;
	bool placeholder; /* at, length: what stands between {{ and }}, without spaces */
	bool open;	  /* whose }} is missing */
};

static bool next_piece(const char **rest, struct piece *piece)
{
	const char *begin = *rest, *end;

	*piece = (struct piece){.at = begin};
	if (!*begin)
		return false;
	piece->placeholder = strncmp(begin, "{{", 2) == 0;
	end = strstr(begin, piece->placeholder ? "}}" : "{{");
	if (!piece->placeholder) {
		piece->length = end ? (size_t)(end - begin) : strlen(begin);
		*rest = begin + piece->length;
		return true;
	}
	piece->open = !end;
	*rest = end ? end + 2 : begin + strlen(begin);
	piece->at = begin + 2 + strspn(begin + 2, " ");
	if (!end)
		return true;
	while (end > piece->at && end[-1] == ' ')
		end--;
	piece->length = end > piece->at ? (size_t)(end - piece->at) : 0;
	return true;
}

static const struct field *field_of(const struct piece *piece)
{
	for (size_t i = 0; i < FIELDS; i++) {
		if (strlen(fields[i].name) == piece->length &&
		    strncmp(fields[i].name, piece->at, piece->length) == 0)
			return &fields[i];
	}
	return NULL;
}

const char *template_check(const char *template)
{
	static char why[400];
	struct piece piece;
	size_t length;

	while (next_piece(&template, &piece)) {
		if (!piece.placeholder || (!piece.open && field_of(&piece)))
			continue;
		length = piece.open
				 ? (size_t)snprintf(why, sizeof(why), "a {{ has no }}")
				 : (size_t)snprintf(why, sizeof(why), "there is no field \"%.*s\"",
						    piece.length < 40 ? (int)piece.length : 40,
						    piece.at);
		length += (size_t)snprintf(why + length, sizeof(why) - length, "; there are");
		for (size_t i = 0; i < FIELDS; i++)
			length += (size_t)snprintf(why + length, sizeof(why) - length, "%s %s",
						   i ? "," : "", fields[i].name);
		return why;
	}
	return NULL;
}

/* --- writing --- */

struct writer {
	char *out;
	size_t size, length, characters; /* characters: that are left */
	bool mrkdwn;
	bool in_address; /* of a link: behind its <http, and before its | or > */
};

static size_t characters_of(const char *text, size_t length)
{
	size_t count = 0;

	for (size_t i = 0; i < length; i++)
		count += ((unsigned char)text[i] & 0xc0) != 0x80;
	return count;
}

static bool is_full(const struct writer *writer)
{
	return !writer->characters || writer->size - writer->length < ROOM;
}

static void advance(struct writer *writer, size_t written)
{
	size_t count = characters_of(writer->out + writer->length, written);

	writer->characters -= count < writer->characters ? count : writer->characters;
	writer->length += written;
}

/* What no address may have, or what would end it. What has a meaning there stays: a field may be an
 * address, or a part of one. */
static void escape_address(char *out, size_t size, const char *value)
{
	size_t length = 0;

	out[0] = '\0';
	for (; *value && length + sizeof("%00") <= size; value++) {
		unsigned char byte = (unsigned char)*value;

		length += (size_t)snprintf(
			out + length, size - length,
			byte <= ' ' || byte >= 0x7f || strchr("\"<>\\^`{|}", byte) ||
					(byte == '%' && !isxdigit((unsigned char)value[1]))
				? "%%%02X"
				: "%c",
			byte);
	}
}

static void write_value(struct writer *writer, const char *value)
{
	char *at = writer->out + writer->length, address[3 * FIELD_BYTES];
	size_t left = writer->size - writer->length;

	if (is_full(writer)) {
		writer->characters = 0;
		return;
	}
	if (writer->in_address) {
		escape_address(address, sizeof(address), value);
		value = address;
	}
	advance(writer, writer->mrkdwn ? text_slack(at, left, value, writer->characters)
				       : text_safe(at, left, value, writer->characters));
}

/* As it was written; cut between characters. */
static void write_literal(struct writer *writer, const char *text, size_t length)
{
	size_t most = writer->size - 1 - writer->length, fits = length < most ? length : most;

	while (fits && (characters_of(text, fits) > writer->characters ||
			(fits < length && ((unsigned char)text[fits] & 0xc0) == 0x80)))
		fits--;
	memcpy(writer->out + writer->length, text, fits);
	writer->out[writer->length + fits] = '\0';
	for (size_t i = 0; i < fits && writer->mrkdwn; i++) {
		if (strchr("<|> \n", text[i]))
			writer->in_address = strncmp(text + i, "<http", 5) == 0;
	}
	advance(writer, fits);
	if (fits < length)
		writer->characters = 0;
}

size_t template_fill(char *out, size_t size, size_t characters, const char *template,
		     const struct notice *notice, bool mrkdwn)
{
	struct writer writer = {
		.out = out, .size = size, .characters = characters, .mrkdwn = mrkdwn};
	struct piece piece;

	out[0] = '\0';
	while (template && writer.characters && next_piece(&template, &piece)) {
		const struct field *field = piece.placeholder ? field_of(&piece) : NULL;
		char value[FIELD_BYTES] = "";

		if (field) {
			field->put(value, sizeof(value), notice);
			write_value(&writer, value);
		} else {
			write_literal(&writer, piece.at, piece.length);
		}
	}
	if (strspn(out, " \t\r\n") == writer.length)
		out[writer.length = 0] = '\0'; /* which receivers refuse */
	return writer.length;
}
