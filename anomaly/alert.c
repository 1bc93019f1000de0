#include "anomaly/alert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/sha256.h"

/* RFC 4648, section 6, without padding: 32 bytes make 52 characters. */
static void base32(const uint8_t digest[SHA256_BYTES], char text[ALERT_KEY_TEXT])
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	for (unsigned i = 0; i < ALERT_KEY_TEXT - 1; i++) {
		unsigned bit = i * 5, byte = bit / 8;
		unsigned pair = (unsigned)digest[byte] << 8;
		if (byte + 1 < SHA256_BYTES)
			pair |= digest[byte + 1];
		text[i] = alphabet[pair >> (11 - bit % 8) & 31];
	}
	text[ALERT_KEY_TEXT - 1] = '\0';
}

/* Each string with its NUL, so that no two subjects give the same bytes. */
void alert_key(struct alert *alert)
{
	char numbers[64];
	snprintf(numbers, sizeof(numbers), "%u/%u/%" PRIu64, alert->subject.port,
		 alert->subject.protocol, alert->started_ns);
	const char *const words[] = {alert->monitor, alert->subject.client, alert->subject.server,
				     numbers};
	struct sha256 sha256;
	uint8_t digest[SHA256_BYTES];
	sha256_init(&sha256);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		sha256_push(&sha256, words[i], strlen(words[i]) + 1);
	sha256_done(&sha256, digest);
	base32(digest, alert->key);
}

struct alert alert_member(const struct alert *alert, uint32_t number)
{
	const struct alert_member *words = &alert->members[number];
	struct alert member = *alert;
	member.sequence = 1;
	member.subject = words->subject;
	member.severity = words->severity;
	member.started_ns = words->started_ns;
	memcpy(member.monitor, words->monitor, sizeof(member.monitor));
	memcpy(member.metric, words->metric, sizeof(member.metric));
	/* What the incident tells is measured on its cause. */
	member.value = member.threshold = member.score = 0;
	member.expected = member.usual_low = member.usual_high = 0;
	member.window_ms = 0;
	member.unit[0] = member.summary[0] = '\0';
	member.suspects_count = member.episodes = member.members_count = 0;
	member.diagnosis = (struct diagnosis){0};
	alert_key(&member);
	return member;
}

bool alert_same_suspect(const struct alert *a, const struct alert *b)
{
	if (a->suspects_count == 0 || b->suspects_count == 0)
		return a->suspects_count == b->suspects_count;
	return a->suspects[0].kind == b->suspects[0].kind &&
	       strcmp(a->suspects[0].name, b->suspects[0].name) == 0;
}

bool alert_same_diagnosis(const struct alert *a, const struct alert *b)
{
	return a->diagnosis.kind == b->diagnosis.kind &&
	       a->diagnosis.crossing == b->diagnosis.crossing;
}

const char *alert_state_name(uint32_t state)
{
	return state == ALERT_FIRING ? "firing" : "resolved";
}

const char *alert_severity_name(uint32_t severity)
{
	static const char *const names[] = {"info", "warning", "error", "critical"};
	return severity <= ALERT_CRITICAL ? names[severity] : names[ALERT_CRITICAL];
}

const char *suspect_kind_name(uint32_t kind)
{
	static const char *const names[SUSPECT_KINDS] = {
		[SUSPECT_CLIENT_INSTANCE] = "client_instance",
		[SUSPECT_SERVER_INSTANCE] = "server_instance",
		[SUSPECT_CLIENT_VERSION] = "client_version",
		[SUSPECT_SERVER_VERSION] = "server_version",
		[SUSPECT_CLIENT_ZONE] = "client_zone",
		[SUSPECT_SERVER_ZONE] = "server_zone",
		[SUSPECT_CLIENT_NODE] = "client_node",
		[SUSPECT_SERVER_NODE] = "server_node",
		[SUSPECT_ZONE] = "zone",
		[SUSPECT_PATH] = "path",
	};
	return kind < SUSPECT_KINDS ? names[kind] : "unknown";
}

const char *diagnosis_name(uint32_t kind)
{
	static const char *const names[DIAGNOSES] = {
		[DIAGNOSIS_NONE] = "none",
		[DIAGNOSIS_DROPPED] = "dropped",
		[DIAGNOSIS_SERVER_GONE] = "server_gone",
		[DIAGNOSIS_NO_LISTENER] = "no_listener",
		[DIAGNOSIS_NO_ROUTE] = "no_route",
		[DIAGNOSIS_LOSSY_PATH] = "lossy_path",
		[DIAGNOSIS_SLOW_PATH] = "slow_path",
		[DIAGNOSIS_SLOW_SERVER] = "slow_server",
		[DIAGNOSIS_CLIENTS] = "clients",
		[DIAGNOSIS_DNS] = "dns",
	};
	return kind < DIAGNOSES ? names[kind] : "unknown";
}
