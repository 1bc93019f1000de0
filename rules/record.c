#include "rules/record.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/memory.h"
#include "millrace/v1/rules.pb-c.h"
#include "rules/bounded.h"

enum { VERSION = 1, UNPACK_BYTES_MAX = 64 << 10 };

static bool bad(char *why, const char *what)
{
	if (why)
		snprintf(why, RULE_WHY_BYTES, "%s", what);
	return false;
}

void rule_monitor_id(const char *name, char id[RULE_ID_BYTES])
{
	snprintf(id, RULE_ID_BYTES, "monitor/%s", name);
}

/* --- bounds --- */

bool rule_check(const struct rule *rule, char why[RULE_WHY_BYTES])
{
	const char *wrong = monitor_check(&rule->monitor);
	char id[RULE_ID_BYTES];

	rule_monitor_id(rule->monitor.name, id);
	if (strcmp(rule->id, id) != 0)
		return bad(why, "id: it is not that of what the rule says");
	if (!rule->issued_ns || rule->issued_ns > INT64_MAX)
		return bad(why, "issued_ns: no time");
	return !wrong || bad(why, wrong);
}

/* --- bytes to struct --- */

static bool take_monitor(const Millrace__V1__MonitorRule *from, struct monitor *to)
{
	if (!from)
		return false;
	to->metric = metric_by_name(from->metric);
	to->comparison = from->below ? COMPARE_BELOW : COMPARE_ABOVE;
	to->threshold = from->threshold + 0.0; /* no -0 */
	to->clear = from->clear + 0.0;
	to->window_ns = from->window_ns;
	to->clear_ns = from->clear_after_ns;
	to->minimum = from->minimum;
	to->severity = (uint32_t)from->severity;
	to->per_server = from->per_server;
	to->port = (uint16_t)from->port;
	return from->port <= UINT16_MAX && bounded_text(to->name, sizeof(to->name), from->name) &&
	       bounded_text(to->client, sizeof(to->client), from->client) &&
	       bounded_text(to->server, sizeof(to->server), from->server);
}

static bool take(const Millrace__V1__Rule *from, struct rule *to, char *why)
{
	if (from->version != VERSION)
		return bad(why, "its version is not known here");
	to->issued_ns = from->issued_ns;
	to->withdrawn = from->withdrawn;
	if (!bounded_text(to->id, sizeof(to->id), from->id) ||
	    !bounded_text(to->author, sizeof(to->author), from->author) ||
	    !take_monitor(from->monitor, &to->monitor))
		return bad(why, "more of something than is allowed, or no rule");
	return rule_check(to, why);
}

bool rule_read(const uint8_t *bytes, size_t length, struct rule *rule, char why[RULE_WHY_BYTES])
{
	size_t left = UNPACK_BYTES_MAX;
	ProtobufCAllocator allocator = bounded_allocator(&left);
	struct heap *heap;
	Millrace__V1__Rule *message;
	bool good;

	memset(rule, 0, sizeof(*rule));
	if (length > RULE_BYTES_MAX)
		return bad(why, "longer than 4 KiB");
	/* What is unpacked points into the process, so no byte of it may stay in a task's state. */
	heap = memory_use(NULL);
	message = millrace__v1__rule__unpack(&allocator, length, bytes);
	good = message ? take(message, rule, why) : bad(why, "not a Rule message");
	if (message)
		millrace__v1__rule__free_unpacked(message, &allocator);
	memory_use(heap);
	return good;
}

bool rule_accept(const uint8_t *bytes, size_t length, const struct keys *keys, struct rule *rule,
		 char why[RULE_WHY_BYTES])
{
	return keys_sealed(keys, bytes, length) ? rule_read(bytes, length, rule, why)
						: bad(why, "not signed by the pipeline's key");
}

/* --- struct to bytes --- */

size_t rule_write(const struct rule *rule, const uint8_t *key, uint8_t *bytes)
{
	const struct monitor *from = &rule->monitor;
	Millrace__V1__MonitorRule monitor = MILLRACE__V1__MONITOR_RULE__INIT;
	Millrace__V1__Rule message = MILLRACE__V1__RULE__INIT;
	size_t length;

	monitor.name = (char *)from->name;
	monitor.metric = (char *)metric_name(from->metric);
	monitor.below = from->comparison == COMPARE_BELOW;
	monitor.threshold = from->threshold;
	monitor.clear = from->clear;
	monitor.window_ns = from->window_ns;
	monitor.clear_after_ns = from->clear_ns;
	monitor.minimum = from->minimum;
	monitor.severity = (Millrace__V1__Severity)from->severity;
	monitor.per_server = from->per_server;
	monitor.client = (char *)from->client;
	monitor.server = (char *)from->server;
	monitor.port = from->port;
	message.id = (char *)rule->id;
	message.version = VERSION;
	message.issued_ns = rule->issued_ns;
	message.withdrawn = rule->withdrawn;
	message.author = (char *)rule->author;
	message.monitor = &monitor;
	length = millrace__v1__rule__get_packed_size(&message);
	assert(length + SEAL_TRAILER_BYTES <= RULE_BYTES_MAX);
	millrace__v1__rule__pack(&message, bytes);
	if (!key)
		return length;
	seal_sign(key, bytes, length);
	return length + SEAL_TRAILER_BYTES;
}
