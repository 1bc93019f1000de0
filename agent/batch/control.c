#include "agent/batch/control.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/glob.h"
#include "base/memory.h"
#include "millrace/v1/control.pb-c.h"

enum {
	VERSION = 1,
	SCAN_MIN_MS = 100,
	SCAN_MAX_MS = 15000,
	BATCH_MIN_MS = 10,
	BATCH_MAX_MS = 2000,	      /* the pipeline takes who is not heard for 3 s for dead */
	UNPACK_BYTES_MAX = 256 << 10, /* 16 KiB of empty strings take some 12 bytes each */
};

static bool bad(char *why, const char *what)
{
	if (why)
		snprintf(why, CONTROL_WHY_BYTES, "%s", what);
	return false;
}

/* --- bounds --- */

static bool id_good(const char *id)
{
	size_t length = strlen(id);
	return length && length < CONTROL_ID_BYTES &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static bool within(uint64_t value, uint64_t min, uint64_t max)
{
	return !value || (value >= min && value <= max);
}

bool control_check(const struct control *control, char why[CONTROL_WHY_BYTES])
{
	const struct control_settings *settings = &control->settings;
	if (!id_good(control->id))
		return bad(why, "id: 1 to 64 of a-z, 0-9 and '-' are wanted");
	if (!control->issued_ns || control->expires_ns < control->issued_ns ||
	    control->expires_ns - control->issued_ns > CONTROL_LIFE_MAX_NS)
		return bad(why, "it must expire within 30 days after it was issued");
	if (!within(settings->scan_period_ms, SCAN_MIN_MS, SCAN_MAX_MS))
		return bad(why, "scan period: 0.1 s to 15 s");
	if (!within(settings->batch_interval_ms, BATCH_MIN_MS, BATCH_MAX_MS))
		return bad(why, "batch interval: 0.01 s to 2 s");
	if (!isfinite(settings->cpu_budget) || settings->cpu_budget < 0 || settings->cpu_budget > 1)
		return bad(why, "CPU budget: more than 0 and at most 1 of the node's CPUs");
	return true;
}

/* --- bytes to struct --- */

/* protobuf-c's allocations for one record, all at once. */
struct pool {
	uint8_t *bytes;
	size_t used;
};

static void *pool_take(void *context, size_t size)
{
	struct pool *pool = context;
	size_t wanted = (size + 15) & ~(size_t)15;
	if (size > UNPACK_BYTES_MAX || wanted > UNPACK_BYTES_MAX - pool->used)
		return NULL; /* the record is refused as malformed */
	void *taken = pool->bytes + pool->used;
	pool->used += wanted;
	return taken;
}

static void pool_give(void *context, void *pointer)
{
	(void)context, (void)pointer;
}

static bool take_text(char *out, size_t size, const char *text)
{
	size_t length = strlen(text);
	if (length >= size)
		return false;
	memcpy(out, text, length + 1);
	return true;
}

static bool take_selector(const Millrace__V1__ControlSelector *from, struct control_selector *to)
{
	if (!from)
		return true;
	if (from->n_node > CONTROL_NODES_MAX || from->n_labels > CONTROL_LABELS_MAX)
		return false;
	for (size_t i = 0; i < from->n_node; i++)
		if (!take_text(to->nodes[i], sizeof(to->nodes[i]), from->node[i]))
			return false;
	for (size_t i = 0; i < from->n_labels; i++)
		if (!take_text(to->labels[i].key, sizeof(to->labels[i].key),
			       from->labels[i]->key) ||
		    !take_text(to->labels[i].value, sizeof(to->labels[i].value),
			       from->labels[i]->value))
			return false;
	to->nodes_count = (uint32_t)from->n_node;
	to->labels_count = (uint32_t)from->n_labels;
	return take_text(to->zone, sizeof(to->zone), from->zone) &&
	       take_text(to->region, sizeof(to->region), from->region) &&
	       take_text(to->role, sizeof(to->role), from->role);
}

static bool take_settings(const Millrace__V1__ControlSettings *from, struct control_settings *to)
{
	if (!from)
		return true;
	if (from->n_features > CONTROL_FEATURES_MAX || from->n_scope_cgroups > CONTROL_SCOPE_MAX)
		return false;
	for (size_t i = 0; i < from->n_features; i++) {
		if (!take_text(to->features[i].name, sizeof(to->features[i].name),
			       from->features[i]->name))
			return false;
		to->features[i].on = from->features[i]->on;
	}
	for (size_t i = 0; i < from->n_scope_cgroups; i++)
		if (!take_text(to->scope[i], sizeof(to->scope[i]), from->scope_cgroups[i]))
			return false;
	to->features_count = (uint32_t)from->n_features;
	to->scope_count = (uint32_t)from->n_scope_cgroups;
	to->scan_period_ms = from->scan_period_ms;
	to->batch_interval_ms = from->batch_interval_ms;
	to->cpu_budget =
		from->cpu_budget > 0 || from->cpu_budget < 0 ? from->cpu_budget : 0; /* no -0 */
	to->scoped = from->scoped;
	return true;
}

static bool take(const Millrace__V1__Control *from, struct control *to, char *why)
{
	if (from->version != VERSION)
		return bad(why, "its version is not known to this agent");
	if (!take_text(to->id, sizeof(to->id), from->id) ||
	    !take_text(to->author, sizeof(to->author), from->author) ||
	    !take_selector(from->selector, &to->selector) ||
	    !take_settings(from->settings, &to->settings))
		return bad(why, "more of something than is allowed");
	to->issued_ns = from->issued_ns;
	to->expires_ns = from->expires_ns;
	to->withdrawn = from->withdrawn;
	return control_check(to, why);
}

/* Whether the record ends as one with an HMAC does. */
static bool is_signed(const uint8_t *bytes, size_t length)
{
	return length >= SEAL_TRAILER_BYTES &&
	       memcmp(bytes + length - SEAL_TRAILER_BYTES, "\xfa\x07\x20", 3) == 0;
}

static bool control_read(const uint8_t *bytes, size_t length, struct control *control,
			 char why[CONTROL_WHY_BYTES])
{
	struct pool pool = {.bytes = memory_zeroed(UNPACK_BYTES_MAX, 1)};
	ProtobufCAllocator allocator = {
		.alloc = pool_take, .free = pool_give, .allocator_data = &pool};
	Millrace__V1__Control *message = millrace__v1__control__unpack(&allocator, length, bytes);
	bool good = message ? take(message, control, why) : bad(why, "not a Control message");
	free(pool.bytes);
	return good;
}

enum control_verdict control_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
				    struct control *control, char why[CONTROL_WHY_BYTES])
{
	memset(control, 0, sizeof(*control));
	if (why)
		why[0] = 0;
	if (length > CONTROL_BYTES_MAX) {
		bad(why, "longer than 16 KiB");
		return CONTROL_MALFORMED;
	}
	if (!keys_sealed(keys, bytes, length)) {
		bool with = is_signed(bytes, length);
		bad(why, with ? "not signed by the pipeline's key" : "not signed");
		return with ? CONTROL_FORGED : CONTROL_UNSIGNED;
	}
	return control_read(bytes, length, control, why) ? CONTROL_GOOD : CONTROL_MALFORMED;
}

/* --- struct to bytes --- */

size_t control_write(const struct control *control, const uint8_t *key, uint8_t *bytes)
{
	const struct control_selector *from = &control->selector;
	const struct control_settings *set = &control->settings;
	char *nodes[CONTROL_NODES_MAX], *scope[CONTROL_SCOPE_MAX];
	Millrace__V1__Label labels[CONTROL_LABELS_MAX], *labels_at[CONTROL_LABELS_MAX];
	Millrace__V1__ControlFeature features[CONTROL_FEATURES_MAX],
		*features_at[CONTROL_FEATURES_MAX];
	Millrace__V1__ControlSelector selector = MILLRACE__V1__CONTROL_SELECTOR__INIT;
	Millrace__V1__ControlSettings settings = MILLRACE__V1__CONTROL_SETTINGS__INIT;
	Millrace__V1__Control message = MILLRACE__V1__CONTROL__INIT;
	for (uint32_t i = 0; i < from->nodes_count; i++)
		nodes[i] = (char *)from->nodes[i];
	for (uint32_t i = 0; i < from->labels_count; i++) {
		millrace__v1__label__init(&labels[i]);
		labels[i].key = (char *)from->labels[i].key;
		labels[i].value = (char *)from->labels[i].value;
		labels_at[i] = &labels[i];
	}
	for (uint32_t i = 0; i < set->features_count; i++) {
		millrace__v1__control_feature__init(&features[i]);
		features[i].name = (char *)set->features[i].name;
		features[i].on = set->features[i].on;
		features_at[i] = &features[i];
	}
	for (uint32_t i = 0; i < set->scope_count; i++)
		scope[i] = (char *)set->scope[i];
	selector.n_node = from->nodes_count;
	selector.node = nodes;
	selector.zone = (char *)from->zone;
	selector.region = (char *)from->region;
	selector.role = (char *)from->role;
	selector.n_labels = from->labels_count;
	selector.labels = labels_at;
	settings.scan_period_ms = set->scan_period_ms;
	settings.batch_interval_ms = set->batch_interval_ms;
	settings.n_features = set->features_count;
	settings.features = features_at;
	settings.scoped = set->scoped;
	settings.n_scope_cgroups = set->scope_count;
	settings.scope_cgroups = scope;
	settings.cpu_budget = set->cpu_budget;
	message.id = (char *)control->id;
	message.version = VERSION;
	message.issued_ns = control->issued_ns;
	message.expires_ns = control->expires_ns;
	message.withdrawn = control->withdrawn;
	message.selector = &selector;
	message.settings = &settings;
	message.author = (char *)control->author;
	size_t length = millrace__v1__control__get_packed_size(&message);
	if (length + SEAL_TRAILER_BYTES > CONTROL_BYTES_MAX)
		return 0;
	millrace__v1__control__pack(&message, bytes);
	if (!key)
		return length;
	seal_sign(key, bytes, length);
	return length + SEAL_TRAILER_BYTES;
}

/* --- selection --- */

static bool same(const char *wanted, const char *found)
{
	return !wanted[0] || strcmp(wanted, found ? found : "") == 0;
}

static bool has_label(const struct control_target *target, const struct control_label *label)
{
	for (uint32_t i = 0; i < target->labels_count; i++)
		if (strcmp(target->labels[i].key, label->key) == 0 &&
		    strcmp(target->labels[i].value ? target->labels[i].value : "", label->value) ==
			    0)
			return true;
	return false;
}

bool control_selects(const struct control_selector *selector, const struct control_target *target)
{
	bool named = selector->nodes_count == 0;
	for (uint32_t i = 0; i < selector->nodes_count; i++)
		named = named || glob_match(selector->nodes[i], target->node);
	for (uint32_t i = 0; i < selector->labels_count; i++)
		if (!has_label(target, &selector->labels[i]))
			return false;
	return named && same(selector->zone, target->zone) &&
	       same(selector->region, target->region) && same(selector->role, target->role);
}
