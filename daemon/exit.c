#include "daemon/exit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/parcel.h"
#include "daemon/sieve.h"
#include "daemon/topics.h"

/* A record stays below the producer's message.max.bytes (10^6, with key and header): a flow takes
 * about 600 bytes, a row with both sketches up to 3 KiB. With long names or wide sketches they take
 * more, so a record that came out too large is made again of half as many. */
enum { FLOWS_A_RECORD = 1000, ROLLUPS_A_RECORD = 250, RECORD_BYTES_MAX = 950000 };

/* Rows that the service may be behind by before tasks wait for it: 250 MB, more than what 150,000
 * edges and the busiest instances hand over at once at the end of ten seconds. */
enum { ROWS_WAITING_MAX = 500000 };

/* Rows a parcel: the service stores them in some milliseconds, and its other work has its turn. */
enum { ROWS_A_PARCEL = 2000 };

struct exit {
	struct encoder *encoder;
	struct parcels *parcels;
	struct rollup *chosen; /* scratch */
	size_t chosen_max;
	uint64_t pane; /* the newest that rows ended in: long windows began long ago */
	uint64_t flows, rollups, alerts, deadletters; /* next sequence */
	char key[12];				      /* task number as text */
	size_t key_length;
};

struct exits {
	struct exits_options options;
	struct exit *exits;
	struct sieve *sieve;
	_Atomic uint64_t rows_waiting; /* handed to the service, not yet taken */
};

static struct output_number number(const struct exits *exits, uint32_t task, uint64_t *sequence)
{
	return (struct output_number){exits->options.epoch, task, (*sequence)++};
}

static size_t fewer(size_t left, size_t most)
{
	return left < most ? left : most;
}

/* Rows of one kind that go out as records of many. */
struct cargo {
	const char *topic;
	uint64_t *sequence;
	size_t count, most; /* rows in all, in a record */
	struct encoded (*encode)(struct exit *way, const struct output_number *number,
				 const void *rows, size_t from, size_t count,
				 const struct names *names);
};

static void publish(struct exits *exits, uint32_t task, const struct cargo *cargo, const void *rows,
		    const struct names *names)
{
	struct exit *way = &exits->exits[task];

	for (size_t i = 0, some; i < cargo->count; i += some) {
		struct output_number n = number(exits, task, cargo->sequence);
		struct encoded bytes;

		some = fewer(cargo->count - i, cargo->most);
		while ((bytes = cargo->encode(way, &n, rows, i, some, names)).length >
			       RECORD_BYTES_MAX &&
		       some > 1)
			some /= 2;
		outputs_write(exits->options.outputs, cargo->topic, (int32_t)task, way->key,
			      way->key_length, bytes, &n);
	}
}

static struct encoded flows_record(struct exit *way, const struct output_number *number,
				   const void *rows, size_t from, size_t count,
				   const struct names *names)
{
	return encode_flows(way->encoder, number, (const struct flow *)rows + from, count, names);
}

static struct encoded rollups_record(struct exit *way, const struct output_number *number,
				     const void *rows, size_t from, size_t count,
				     const struct names *names)
{
	return encode_rollups(way->encoder, number, (const struct rollup *)rows + from, count,
			      names);
}

static void on_flows(void *context, uint32_t task, const struct flow *flows, size_t count,
		     const struct names *names)
{
	struct exits *exits = context;
	struct cargo cargo = {TOPIC_FLOWS, &exits->exits[task].flows, count, FLOWS_A_RECORD,
			      flows_record};

	publish(exits, task, &cargo, flows, names);
}

static struct rollup *chosen_room(struct exit *way, size_t count)
{
	if (count > way->chosen_max) {
		way->chosen_max = memory_grown(way->chosen_max, count);
		way->chosen = memory_resize(way->chosen, way->chosen_max, sizeof(*way->chosen));
	}
	return way->chosen;
}

static void publish_rollups(struct exits *exits, uint32_t task, const struct rollup *rollups,
			    size_t count, const struct names *names)
{
	struct cargo cargo = {TOPIC_ROLLUPS, &exits->exits[task].rollups, count, ROLLUPS_A_RECORD,
			      rollups_record};

	publish(exits, task, &cargo, rollups, names);
}

static void keep_rollups(struct exits *exits, uint32_t task, const struct rollup *rollups,
			 size_t count, const struct names *names)
{
	struct exit *way = &exits->exits[task];

	for (size_t i = 0, some; i < count; i += some) {
		uint64_t end_ns = rollups[i].window_start_ns + rollups[i].window_ms * NS_PER_MS;

		some = fewer(count - i, ROWS_A_PARCEL);
		if (pane_of(end_ns) > way->pane)
			way->pane = pane_of(end_ns);

		struct parcel *parcel =
			parcels_rollups(way->parcels, rollups + i, some, names, way->pane);

		atomic_fetch_add(&exits->rows_waiting, some);
		mailbox_send(exits->options.service, &parcel->letter);
	}
}

/* Rows of one call are of one length, but for amendments. */
static size_t long_enough(const struct exits *exits, const struct rollup *rollups, size_t count,
			  struct rollup *chosen)
{
	size_t taken = 0;

	for (size_t i = 0; i < count; i++) {
		if (rollups[i].window_ms * NS_PER_MS >= exits->options.finest_ns)
			chosen[taken++] = rollups[i];
	}
	return taken;
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct exits *exits = context;

	if (count == 0)
		return;

	struct rollup *chosen = chosen_room(&exits->exits[task], count);

	if (rollups[0].amendment)
		publish_rollups(exits, task, chosen, long_enough(exits, rollups, count, chosen),
				names);
	else if (rollups[0].window_ms * NS_PER_MS >= exits->options.finest_ns)
		publish_rollups(exits, task, rollups, count, names);
	if (rollups[0].window_ms >= 1000)
		keep_rollups(exits, task, chosen,
			     sieve_choose(exits->sieve, task, rollups, count, chosen), names);
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct exits *exits = context;
	struct exit *way = &exits->exits[task];

	for (size_t i = 0; i < count; i++) {
		struct output_number n = number(exits, task, &way->alerts);

		outputs_write(exits->options.outputs, TOPIC_ALERTS, -1, alerts[i].key,
			      strlen(alerts[i].key), encode_alert(way->encoder, &n, &alerts[i]),
			      &n);
	}
}

static void on_baselines(void *context, uint32_t task, const struct baseline_record *records,
			 size_t count, const struct names *names)
{
	struct exits *exits = context;
	char key[64];

	for (size_t i = 0; i < count; i++) {
		int length = snprintf(key, sizeof(key), "%016llx|%s",
				      (unsigned long long)records[i].edge.id,
				      metric_name(records[i].metric));

		outputs_write(exits->options.outputs, TOPIC_BASELINES, -1, key, (size_t)length,
			      encode_baseline(exits->exits[task].encoder, &records[i], names),
			      NULL);
	}
}

static void on_deadletter(void *context, uint32_t task, const struct mirror_record *record,
			  enum mirror_reason reason, const char *detail, const char *node)
{
	struct exits *exits = context;
	struct exit *way = &exits->exits[task];
	struct output_number n = number(exits, task, &way->deadletters);
	const char *key = node ? node : "";

	outputs_write(
		exits->options.outputs, TOPIC_DEADLETTER, -1, key, strlen(key),
		encode_deadletter(way->encoder, TOPIC_EVENTS, task, record, reason, detail, node),
		&n);
}

void exits_stats(void *context, uint32_t task, const struct task_stats *stats,
		 struct mirror *mirror)
{
	struct exits *exits = context;
	struct parcel *parcel = parcels_stats(exits->exits[task].parcels, stats, mirror);

	mailbox_send(exits->options.service, &parcel->letter);
}

void exits_taken(struct exits *exits, size_t rows)
{
	atomic_fetch_sub(&exits->rows_waiting, rows);
}

uint64_t exits_left_out(const struct exits *exits)
{
	return sieve_left_out(exits->sieve);
}

bool exits_full(const struct exits *exits)
{
	return atomic_load_explicit(&exits->rows_waiting, memory_order_relaxed) > ROWS_WAITING_MAX;
}

struct exits *exits_new(const struct exits_options *options)
{
	struct exits *exits = memory_zeroed(1, sizeof(*exits));

	exits->options = *options;
	exits->sieve = sieve_new(options->tasks, options->history_rows);
	exits->exits = memory_zeroed(options->tasks, sizeof(*exits->exits));
	for (uint32_t i = 0; i < options->tasks; i++) {
		struct exit *way = &exits->exits[i];

		way->encoder = encoder_new();
		way->parcels = parcels_new(i, options->names_max);
		way->key_length = (size_t)snprintf(way->key, sizeof(way->key), "%u", i);
	}
	return exits;
}

void exits_free(struct exits *exits)
{
	for (uint32_t i = 0; i < exits->options.tasks; i++) {
		encoder_free(exits->exits[i].encoder);
		parcels_free(exits->exits[i].parcels);
		free(exits->exits[i].chosen);
	}
	sieve_free(exits->sieve);
	free(exits->exits);
	free(exits);
}

struct task_sinks exits_sinks(struct exits *exits)
{
	return (struct task_sinks){exits,     on_flows,	    on_rollups,
				   on_alerts, on_baselines, on_deadletter};
}
