#include "daemon/herald.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/history/read.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/outputs.h"
#include "daemon/topics.h"
#include "metadata/record.h"
#include "millrace/v1/metadata.pb-c.h"

/* Of the changes that another is to tell. */
enum { SEEN_MAX = 64 };
#define SEEN_NS (120 * NS_PER_S)

struct seen {
	struct change_event change;
	uint64_t at_ns;
};

struct herald {
	struct herald_options options;
	struct novelty *novelty;
	bool leads;
	struct seen seen[SEEN_MAX]; /* the last, by turns */
	uint64_t seen_count;
	uint64_t begun_ns;
	struct herald_stats stats;
};

/* A record on its way. */
struct parcel {
	struct output_report report; /* first: it is how the record is told of */
	struct herald *herald;
};

/* --- records out --- */

static void on_written(struct output_report *report, int rc)
{
	struct parcel *parcel = (struct parcel *)report;

	parcel->herald->stats.failed += rc != 0;
	free(parcel);
}

static void write_record(struct herald *herald, const Millrace__V1__Metadata *record)
{
	uint8_t bytes[8192];
	struct encoded value = {bytes, millrace__v1__metadata__get_packed_size(record)};
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));

	parcel->report.told = on_written;
	parcel->herald = herald;
	if (value.length > sizeof(bytes)) {
		on_written(&parcel->report, -1);
		return;
	}
	millrace__v1__metadata__pack(record, bytes);
	if (!outputs_try(herald->options.outputs, TOPIC_METADATA, -1, record->id,
			 strlen(record->id), value, &parcel->report))
		on_written(&parcel->report, -1);
}

static char *lent(const char *text)
{
	return (char *)(uintptr_t)text;
}

/* Of all that it says; nothing follows a text's end. */
static uint64_t digest_of(const struct change_event *change)
{
	return hash_bytes(change, offsetof(struct change_event, reason) + sizeof(change->reason));
}

static void tell(struct herald *herald, const struct change_event *change)
{
	Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Change told = MILLRACE__V1__CHANGE__INIT;
	char id[RECORD_ID_MAX + 1], namespace[CHANGE_NAME_BYTES] = "";
	const char *slash = strchr(change->workload, '/');

	if (slash && slash != change->workload)
		snprintf(namespace, sizeof(namespace), "%.*s", (int)(slash - change->workload),
			 change->workload);
	told.kind = (Millrace__V1__ChangeKind)change->kind;
	told.time_ns = record.from_ns = record.until_ns = change->time_ns;
	told.namespace_ = namespace;
	told.workload = lent(namespace[0] ? slash + 1 : change->workload);
	told.node = lent(change->node);
	told.instance = lent(change->instance);
	told.before = lent(change->before);
	told.after = lent(change->after);
	told.reason = lent(change->reason);
	told.pipeline = true;
	snprintf(id, sizeof(id), "%s/change/%016llx/0", herald->options.cluster,
		 (unsigned long long)digest_of(change));
	record.id = id;
	record.version = 1;
	record.cluster = lent(herald->options.cluster);
	record.observed_ns = real_ns();
	record.change = &told;
	herald->stats.told[change->kind]++;
	write_record(herald, &record);
}

void herald_change(struct herald *herald, const struct change_event *change)
{
	if (herald->leads)
		tell(herald, change);
	else
		herald->seen[herald->seen_count++ % SEEN_MAX] = (struct seen){*change, real_ns()};
}

static void on_novelty(void *context, const struct change_event *change)
{
	herald_change(context, change);
}

/* --- what it looks at --- */

void herald_rows(struct herald *herald, const struct rollup *rollups, size_t count)
{
	novelty_push(herald->novelty, rollups, count);
}

void herald_read(struct herald *herald, const uint8_t *bytes, size_t length)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct fact fact;

	if (record_read(bytes, length, NULL, 0, &fact, addresses, NULL) == RECORD_GOOD &&
	    fact.kind == FACT_CHANGE && fact.change == CHANGE_DEPLOYED)
		novelty_learn(herald->novelty, fact.workload, fact.after, fact.from_ns);
}

static void on_edge(void *context, const struct edge *edge)
{
	struct herald *herald = context;

	novelty_remember(herald->novelty, edge, herald->begun_ns);
}

static const char *on_name(void *context, uint64_t id)
{
	const struct herald *herald = context;

	return history_name(herald->options.history, id);
}

void herald_turn(struct herald *herald)
{
	novelty_advance(herald->novelty);
}

/* --- life --- */

struct herald *herald_new(const struct herald_options *options)
{
	struct herald *herald = memory_zeroed(1, sizeof(*herald));

	herald->options = *options;
	herald->novelty = novelty_new(&(struct novelty_options){.learn_ns = options->learn_ns,
								.gone_ns = options->gone_ns,
								.edges_max = options->edges_max,
								.told_max = HERALD_CHANGES_A_MINUTE,
								.name = on_name,
								.told = on_novelty,
								.context = herald});
	herald->begun_ns = real_ns();
	history_known(options->history, 0, UINT64_MAX,
		      &(struct history_visitor){herald, on_edge, NULL, NULL});
	return herald;
}

void herald_free(struct herald *herald)
{
	if (!herald)
		return;
	novelty_free(herald->novelty);
	memory_free(herald);
}

/* What was seen since the former leader died nobody has told; what it has told before is told once
 * more, which changes nothing. */
void herald_lead(struct herald *herald, bool leads)
{
	uint64_t count = herald->seen_count, now = real_ns();

	herald->leads = leads;
	for (uint64_t i = count > SEEN_MAX ? count - SEEN_MAX : 0; leads && i < count; i++) {
		const struct seen *seen = &herald->seen[i % SEEN_MAX];

		if (seen->at_ns + SEEN_NS > now)
			tell(herald, &seen->change);
	}
	if (leads)
		herald->seen_count = 0;
}

struct herald_stats herald_stats(const struct herald *herald)
{
	struct herald_stats stats = herald->stats;

	stats.novelty = novelty_stats(herald->novelty);
	return stats;
}
