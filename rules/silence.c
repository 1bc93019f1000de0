#include "rules/silence.h"

#include <stdio.h>
#include <string.h>

#include "base/glob.h"
#include "millrace/v1/silences.pb-c.h"
#include "rules/bounded.h"

enum { VERSION = 1, UNPACK_BYTES_MAX = 64 << 10 };

static bool bad(char *why, const char *what)
{
	if (why)
		snprintf(why, SILENCE_WHY_BYTES, "%s", what);
	return false;
}

void silence_key(const struct silence *silence, char key[SILENCE_KEY_BYTES])
{
	snprintf(key, SILENCE_KEY_BYTES, SILENCE_PREFIX "%s", silence->id);
}

/* --- bounds --- */

static bool is_id(const char *id)
{
	size_t length = strlen(id);

	return length && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

bool silence_check(const struct silence *silence, char why[SILENCE_WHY_BYTES])
{
	if (!is_id(silence->id))
		return bad(why, "id: 1 to 64 bytes of a-z, 0-9 and -");
	if (!silence->monitor[0] && !silence->client[0] && !silence->server[0] && !silence->port &&
	    !silence->one_severity)
		return bad(why, "at least one of monitor, client, server, port and severity is "
				"wanted; server: \"*\" is all");
	if (!bounded_is_utf8(silence->monitor) || !bounded_is_utf8(silence->client) ||
	    !bounded_is_utf8(silence->server) || !bounded_is_utf8(silence->created_by) ||
	    !bounded_is_utf8(silence->comment) || !bounded_is_utf8(silence->author))
		return bad(why, "monitor, client, server, author, created_by, comment: UTF-8");
	if (silence->severity > ALERT_CRITICAL)
		return bad(why, "severity: there is none of this number");
	if (!silence->issued_ns || silence->issued_ns > INT64_MAX)
		return bad(why, "issued_ns: no time");
	if (!silence->starts_ns || silence->ends_ns > INT64_MAX ||
	    silence->ends_ns < silence->starts_ns)
		return bad(why, "ends_at: before starts_at, or no time");
	if (silence->ends_ns - silence->starts_ns > SILENCE_LENGTH_MAX)
		return bad(why, "ends_at: at most 366 days after it starts");
	return true;
}

/* --- what it is --- */

enum silence_state silence_state(const struct silence *silence, uint64_t now_ns)
{
	if (silence->ends_ns <= now_ns)
		return SILENCE_EXPIRED;
	return silence->starts_ns <= now_ns ? SILENCE_ACTIVE : SILENCE_PENDING;
}

const char *silence_state_name(uint32_t state)
{
	static const char *const names[] = {"active", "pending", "expired"};

	return state <= SILENCE_EXPIRED ? names[state] : "";
}

static bool matches(const char *pattern, const char *text)
{
	return !pattern[0] || glob_match(pattern, text);
}

bool silence_matches(const struct silence *silence, const struct alert_member *episode)
{
	return (!silence->port || silence->port == episode->subject.port) &&
	       (!silence->one_severity || silence->severity == episode->severity) &&
	       matches(silence->monitor, episode->monitor) &&
	       matches(silence->server, episode->subject.server) &&
	       matches(silence->client, episode->subject.client);
}

/* --- bytes to struct --- */

static bool take_severity(const char *name, struct silence *to)
{
	to->one_severity = name[0] != '\0';
	if (!to->one_severity)
		return true;
	while (to->severity <= ALERT_CRITICAL &&
	       strcmp(alert_severity_name(to->severity), name) != 0)
		to->severity++;
	return to->severity <= ALERT_CRITICAL;
}

static bool take_rule(const Millrace__V1__SilenceRule *from, struct silence *to)
{
	if (!from)
		return false;
	to->port = (uint16_t)from->port;
	to->starts_ns = from->starts_ns;
	to->ends_ns = from->ends_ns;
	return from->port <= UINT16_MAX && take_severity(from->severity, to) &&
	       bounded_text(to->monitor, sizeof(to->monitor), from->monitor) &&
	       bounded_text(to->client, sizeof(to->client), from->client) &&
	       bounded_text(to->server, sizeof(to->server), from->server) &&
	       bounded_text(to->created_by, sizeof(to->created_by), from->created_by) &&
	       bounded_text(to->comment, sizeof(to->comment), from->comment);
}

static bool take(const Millrace__V1__SilenceRecord *from, struct silence *to, char *why)
{
	size_t prefix = sizeof(SILENCE_PREFIX) - 1;

	if (from->version != VERSION)
		return bad(why, "its version is not known here");
	if (strncmp(from->id, SILENCE_PREFIX, prefix) != 0)
		return bad(why, "id: that of a silence begins with " SILENCE_PREFIX);
	to->issued_ns = from->issued_ns;
	if (from->hmac.len == sizeof(to->mac))
		memcpy(to->mac, from->hmac.data, sizeof(to->mac));
	if (!bounded_text(to->id, sizeof(to->id), from->id + prefix) ||
	    !bounded_text(to->author, sizeof(to->author), from->author) ||
	    !take_rule(from->silence, to))
		return bad(why, "more of something than is allowed, or no silence");
	return silence_check(to, why);
}

bool silence_read(const uint8_t *bytes, size_t length, struct silence *silence,
		  char why[SILENCE_WHY_BYTES])
{
	size_t left = UNPACK_BYTES_MAX;
	ProtobufCAllocator allocator = bounded_allocator(&left);
	Millrace__V1__SilenceRecord *message;
	bool good;

	memset(silence, 0, sizeof(*silence));
	if (length > SILENCE_BYTES_MAX)
		return bad(why, "longer than 4 KiB");
	message = millrace__v1__silence_record__unpack(&allocator, length, bytes);
	good = message ? take(message, silence, why) : bad(why, "not a SilenceRecord message");
	if (message)
		millrace__v1__silence_record__free_unpacked(message, &allocator);
	return good;
}

bool silence_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
		    struct silence *silence, char why[SILENCE_WHY_BYTES])
{
	return keys_sealed(keys, bytes, length) ? silence_read(bytes, length, silence, why)
						: bad(why, "not signed by the pipeline's key");
}

/* --- struct to bytes --- */

size_t silence_write(const struct silence *silence, const uint8_t *key, uint8_t *bytes)
{
	Millrace__V1__SilenceRule rule = MILLRACE__V1__SILENCE_RULE__INIT;
	Millrace__V1__SilenceRecord message = MILLRACE__V1__SILENCE_RECORD__INIT;
	char id[SILENCE_KEY_BYTES];

	silence_key(silence, id);
	rule.monitor = (char *)silence->monitor;
	rule.client = (char *)silence->client;
	rule.server = (char *)silence->server;
	rule.port = silence->port;
	if (silence->one_severity)
		rule.severity = (char *)alert_severity_name(silence->severity);
	rule.starts_ns = silence->starts_ns;
	rule.ends_ns = silence->ends_ns;
	rule.created_by = (char *)silence->created_by;
	rule.comment = (char *)silence->comment;
	message.id = id;
	message.version = VERSION;
	message.issued_ns = silence->issued_ns;
	message.author = (char *)silence->author;
	message.silence = &rule;
	return bounded_write(&message.base, key, bytes, SILENCE_BYTES_MAX);
}
