#include "rules/record.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/patterns.h"
#include "millrace/v1/rules.pb-c.h"
#include "rules/bounded.h"

/* What a reader of the first version would take for another monitor has the second. */
enum { VERSION_FIRST = 1, VERSION = 2, UNPACK_BYTES_MAX = 64 << 10 };

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

/* The repeated field of each filter, by the names in monitor_filters. */
static const ProtobufCFieldDescriptor *filter_field(size_t filter)
{
	return protobuf_c_message_descriptor_get_field_by_name(
		&millrace__v1__monitor_rule__descriptor, monitor_filters[filter].name);
}

static size_t *filter_count(Millrace__V1__MonitorRule *rule, size_t filter)
{
	return (size_t *)((char *)rule + filter_field(filter)->quantifier_offset);
}

static char ***filter_texts(Millrace__V1__MonitorRule *rule, size_t filter)
{
	return (char ***)((char *)rule + filter_field(filter)->offset);
}

static bool take_filter(Millrace__V1__MonitorRule *from, struct monitor *to, size_t filter)
{
	char *patterns = (char *)to + monitor_filters[filter].offset;
	char **texts = *filter_texts(from, filter);

	for (size_t i = 0; i < *filter_count(from, filter); i++) {
		/* The first version has an empty one for all. */
		if (*texts[i] && !patterns_add(patterns, monitor_filters[filter].size, texts[i]))
			return false;
	}
	return true;
}

static bool take_filters(Millrace__V1__MonitorRule *from, struct monitor *to)
{
	for (size_t i = 0; i < MONITOR_FILTERS; i++) {
		if (!take_filter(from, to, i))
			return false;
	}
	return true;
}

/* METRICS: none, or all; above it: no such. */
static uint32_t take_metric(const char *name)
{
	uint32_t metric = metric_by_name(name);

	return *name && metric == METRICS ? METRICS + 1 : metric;
}

static bool take_monitor(Millrace__V1__MonitorRule *from, struct monitor *to)
{
	if (!from)
		return false;
	to->kind = (uint32_t)from->kind;
	to->metric = take_metric(from->metric);
	to->comparison = from->below ? COMPARE_BELOW : COMPARE_ABOVE;
	to->threshold = from->threshold + 0.0; /* no -0 */
	to->clear = from->clear + 0.0;
	to->window_ns = from->window_ns;
	to->clear_ns = from->clear_after_ns;
	to->minimum = from->minimum;
	to->severity =
		from->own_severity ? (uint32_t)MONITOR_SEVERITY_OWN : (uint32_t)from->severity;
	to->objective = from->objective + 0.0;
	to->sensitivity = from->sensitivity + 0.0;
	to->silent = from->silent;
	to->absent_ns = from->absent_ns;
	to->learn_ns = from->learn_ns;
	to->per_server = from->per_server;
	to->port = (uint16_t)from->port;
	to->protocol = (uint8_t)from->protocol;
	return from->port <= UINT16_MAX && from->protocol <= UINT8_MAX &&
	       bounded_text(to->name, sizeof(to->name), from->name) && take_filters(from, to);
}

static bool take(const Millrace__V1__Rule *from, struct rule *to, char *why)
{
	if (from->version < VERSION_FIRST || from->version > VERSION)
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

/* No filter has more: a pattern and its end take two bytes. */
enum { PATTERNS_MAX = (2 * MONITOR_NAMES_MAX + 6 * MONITOR_PARTS_MAX) / 2 };

/* The patterns of all filters, each with its end, and who points to them. */
struct patterns_told {
	char bytes[2 * MONITOR_NAMES_MAX + 6 * MONITOR_PARTS_MAX];
	char *texts[PATTERNS_MAX];
	size_t used, count;
};

/* Whether a reader of the first version would not understand it. */
static bool put_filter(const struct monitor *from, Millrace__V1__MonitorRule *to, size_t filter,
		       struct patterns_told *told)
{
	const char *patterns = (const char *)from + monitor_filters[filter].offset;
	char **texts = &told->texts[told->count];
	size_t count = patterns_split(patterns, &told->bytes[told->used], texts);

	*filter_count(to, filter) = count;
	*filter_texts(to, filter) = texts;
	told->used += strlen(patterns) + 1;
	told->count += count;
	return count > 1 || (count == 1 && *texts[0] == '!');
}

/* Likewise, of the fields that it does not know. */
static bool put_kind(const struct monitor *from, Millrace__V1__MonitorRule *to)
{
	to->kind = (Millrace__V1__MonitorKind)from->kind;
	to->protocol = from->protocol;
	to->objective = from->objective;
	to->sensitivity = from->sensitivity;
	to->silent = from->silent;
	to->own_severity = from->severity == MONITOR_SEVERITY_OWN;
	to->absent_ns = from->absent_ns;
	to->learn_ns = from->learn_ns;
	return from->kind != MONITOR_THRESHOLD || from->protocol || monitor_has_parts(from) ||
	       from->client_namespace[0] || from->server_namespace[0];
}

size_t rule_write(const struct rule *rule, const uint8_t *key, uint8_t *bytes)
{
	const struct monitor *from = &rule->monitor;
	Millrace__V1__MonitorRule monitor = MILLRACE__V1__MONITOR_RULE__INIT;
	Millrace__V1__Rule message = MILLRACE__V1__RULE__INIT;
	struct patterns_told told;
	bool second = put_kind(from, &monitor);

	told.used = told.count = 0;
	for (size_t i = 0; i < MONITOR_FILTERS; i++)
		second |= put_filter(from, &monitor, i, &told);
	monitor.name = (char *)from->name;
	monitor.metric = (char *)(from->metric < METRICS ? metric_name(from->metric) : "");
	monitor.below = from->comparison == COMPARE_BELOW;
	monitor.threshold = from->threshold;
	monitor.clear = from->clear;
	monitor.window_ns = from->window_ns;
	monitor.clear_after_ns = from->clear_ns;
	monitor.minimum = from->minimum;
	monitor.severity = (Millrace__V1__Severity)(monitor.own_severity ? 0 : from->severity);
	monitor.per_server = from->per_server;
	monitor.port = from->port;
	message.id = (char *)rule->id;
	message.version = second ? VERSION : VERSION_FIRST;
	message.issued_ns = rule->issued_ns;
	message.withdrawn = rule->withdrawn;
	message.author = (char *)rule->author;
	message.monitor = &monitor;
	return bounded_write(&message.base, key, bytes, RULE_BYTES_MAX);
}
