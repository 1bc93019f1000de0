#include "daemon/exit.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
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

struct exit {
	struct encoder *encoder;
	struct parcels *parcels;
	struct rollup *chosen; /* scratch */
	size_t chosen_max;
	uint64_t pane; /* the newest that rows ended in: long windows began long ago */
	struct exit_numbers numbers;
	uint64_t now;				 /* the pane that outputs come from */
	struct exit_place places[IMAGE_OUTPUTS]; /* of the newest output of each kind */
	bool differs[IMAGE_OUTPUTS];		 /* and it was said */
	char key[12];				 /* task number as text */
	size_t key_length;
};

struct exits {
	struct exits_options options;
	struct exit *exits;
	struct sieve *sieve;
	_Atomic uint64_t rows_waiting; /* handed to the service, not yet taken */
	_Atomic uint64_t differing;
};

static const char *const topics[IMAGE_OUTPUTS] = {[IMAGE_FLOWS] = TOPIC_FLOWS,
						  [IMAGE_ROLLUPS] = TOPIC_ROLLUPS,
						  [IMAGE_ALERTS] = TOPIC_ALERTS,
						  [IMAGE_DEADLETTERS] = TOPIC_DEADLETTER};

static bool is_behind(const struct exit_place *place, const struct exit_place *other)
{
	return place->pane > other->pane ||
	       (place->pane == other->pane && place->count > other->count);
}

static void tell_difference(struct exits *exits, uint32_t task, enum image_output output,
			    const char *which)
{
	char sentence[320];

	if (exits->exits[task].differs[output])
		return;
	exits->exits[task].differs[output] = true;
	atomic_fetch_add(&exits->differing, 1);
	snprintf(sentence, sizeof(sentence),
		 "partition %" PRIu32 " of topic %s holds something else than what the same log "
		 "gives now: %s",
		 task, topics[output], which);
	exits->options.differs(sentence);
}

/* What an earlier life wrote behind the snapshot is made again, to the same number at the same
 * place. Where it is not, what is written stands, and numbers go on behind it: a new record under a
 * number that is taken would be taken for written. False: it has the place of one that is. */
static bool keep_step(struct exits *exits, uint32_t task, enum image_output output)
{
	struct exit *way = &exits->exits[task];
	struct exit_numbers *numbers = &way->numbers;
	bool passed = is_behind(&way->places[output], &numbers->last[output]);

	if (!numbers->last[output].pane ||
	    passed == (numbers->next[output] >= numbers->written[output]))
		return true;
	tell_difference(exits, task, output,
			passed ? "fewer records come out of the panes that were written"
			       : "more records come out of the panes that were written");
	if (!passed)
		return false;
	numbers->next[output] = numbers->written[output];
	if (numbers->written_digest[output] >= 0)
		numbers->digests[output] = (uint32_t)numbers->written_digest[output];
	return true;
}

/* The next output's number; false: an earlier pipeline told it. */
static bool number(struct exits *exits, uint32_t task, enum image_output output,
		   struct output_number *number)
{
	struct exit *way = &exits->exits[task];
	const struct exit_place *told = &way->numbers.told[output];
	struct exit_place *place = &way->places[output];

	if (place->pane != way->now)
		*place = (struct exit_place){.pane = way->now};
	place->count++;

	bool fresh = is_behind(place, told) && keep_step(exits, task, output);

	*number = (struct output_number){.epoch = exits->options.epoch,
					 .task = task,
					 .sequence = way->numbers.next[output],
					 .pane = place->pane,
					 .place = place->count - 1};
	way->numbers.next[output] += fresh;
	return fresh;
}

/* What an earlier life of the pipeline wrote stands in the topic. */
static bool is_written(const struct exits *exits, enum image_output output,
		       const struct output_number *number)
{
	return number->sequence < exits->exits[number->task].numbers.written[output];
}

/* Kafka holds the digest of all up to the last record that an earlier life wrote. */
static void compare(struct exits *exits, enum image_output output,
		    const struct output_number *number)
{
	const struct exit_numbers *numbers = &exits->exits[number->task].numbers;
	char which[160];

	if (number->sequence + 1 != numbers->written[output] ||
	    numbers->written_digest[output] < 0 ||
	    numbers->written_digest[output] == (int64_t)number->digest)
		return;
	snprintf(which, sizeof(which),
		 "up to record %" PRIu64 ".%" PRIu32 ".%" PRIu64
		 " its digest is %08x, and %08x now",
		 number->epoch, number->task, number->sequence,
		 (unsigned)numbers->written_digest[output], number->digest);
	tell_difference(exits, number->task, output, which);
}

/* An output of the task in its final form: to Kafka, if it is not there. */
static void put(struct exits *exits, enum image_output output, int32_t partition, const char *key,
		size_t key_length, struct encoded value, struct output_number *number)
{
	uint32_t *digest = &exits->exits[number->task].numbers.digests[output];

	*digest = number->digest = crc32c(*digest, value.bytes, value.length);
	if (is_written(exits, output, number))
		compare(exits, output, number);
	else
		outputs_write(exits->options.outputs, topics[output], partition, key, key_length,
			      value, number);
}

static void on_pane(void *context, uint32_t task, uint64_t pane)
{
	struct exits *exits = context;

	exits->exits[task].now = pane;
}

static size_t fewer(size_t left, size_t most)
{
	return left < most ? left : most;
}

/* Rows of one kind that go out as records of many. */
struct cargo {
	enum image_output output;
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
		struct output_number n;
		bool fresh = number(exits, task, cargo->output, &n);
		struct encoded bytes;

		some = fewer(cargo->count - i, cargo->most);
		while ((bytes = cargo->encode(way, &n, rows, i, some, names)).length >
			       RECORD_BYTES_MAX &&
		       some > 1)
			some /= 2;
		if (fresh)
			put(exits, cargo->output, (int32_t)task, way->key, way->key_length, bytes,
			    &n);
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
	struct cargo cargo = {IMAGE_FLOWS, count, FLOWS_A_RECORD, flows_record};

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
	struct cargo cargo = {IMAGE_ROLLUPS, count, ROLLUPS_A_RECORD, rollups_record};

	publish(exits, task, &cargo, rollups, names);
}

static void keep_rollups(struct exits *exits, uint32_t task, const struct rollup *rollups,
			 size_t count, const struct names *names)
{
	struct exit *way = &exits->exits[task];

	for (size_t i = 0, some; i < count; i += some) {
		uint64_t end_ns = rollups[i].window_start_ns + rollups[i].window_ms * NS_PER_MS;

		some = parcels_fit(rollups + i, count - i);
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

/* Whether what comes out of the pane at hand was written by an earlier life. */
static bool makes_again(const struct exit *way, enum image_output output)
{
	const struct exit_numbers *numbers = &way->numbers;

	return numbers->next[output] < numbers->written[output] &&
	       (!numbers->last[output].pane || way->now <= numbers->last[output].pane);
}

static void on_rollups(void *context, uint32_t task, const struct rollup *rollups, size_t count,
		       const struct names *names)
{
	struct exits *exits = context;

	if (count == 0)
		return;

	struct exit *way = &exits->exits[task];
	struct rollup *chosen = chosen_room(way, count);
	/* The history adds amendments up, so they are for it once only. */
	bool again = rollups[0].amendment && makes_again(way, IMAGE_ROLLUPS);

	if (rollups[0].amendment)
		publish_rollups(exits, task, chosen, long_enough(exits, rollups, count, chosen),
				names);
	else if (rollups[0].window_ms * NS_PER_MS >= exits->options.finest_ns)
		publish_rollups(exits, task, rollups, count, names);
	if (rollups[0].window_ms >= 1000 && !again &&
	    way->now > way->numbers.told[IMAGE_ROLLUPS].pane)
		keep_rollups(exits, task, chosen,
			     sieve_choose(exits->sieve, task, rollups, count, chosen), names);
}

static void on_alerts(void *context, uint32_t task, const struct alert *alerts, size_t count)
{
	struct exits *exits = context;
	struct exit *way = &exits->exits[task];

	for (size_t i = 0; i < count; i++) {
		struct output_number n;

		if (number(exits, task, IMAGE_ALERTS, &n))
			put(exits, IMAGE_ALERTS, (int32_t)task, alerts[i].key,
			    strlen(alerts[i].key), encode_alert(way->encoder, &n, &alerts[i]), &n);
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
	struct output_number n;
	const char *key = node ? node : "";

	way->now = pane_of(record->append_ns);
	if (number(exits, task, IMAGE_DEADLETTERS, &n))
		put(exits, IMAGE_DEADLETTERS, -1, key, strlen(key),
		    encode_deadletter(way->encoder, TOPIC_EVENTS, task, record, reason, detail,
				      node),
		    &n);
}

void exits_numbers(const struct exits *exits, uint32_t task, struct image_task *image)
{
	const struct exit_numbers *numbers = &exits->exits[task].numbers;

	memcpy(image->sequences, numbers->next, sizeof(image->sequences));
	memcpy(image->digests, numbers->digests, sizeof(image->digests));
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

uint64_t exits_differing(const struct exits *exits)
{
	return atomic_load_explicit(&exits->differing, memory_order_relaxed);
}

bool exits_full(const struct exits *exits)
{
	return atomic_load_explicit(&exits->rows_waiting, memory_order_relaxed) > ROWS_WAITING_MAX;
}

struct exits *exits_new(const struct exits_options *options)
{
	struct exits *exits = memory_zeroed(1, sizeof(*exits));

	exits->options = *options;
	exits->options.numbers = NULL;
	exits->sieve = sieve_new(options->tasks, options->history_rows);
	exits->exits = memory_zeroed(options->tasks, sizeof(*exits->exits));
	for (uint32_t i = 0; i < options->tasks; i++) {
		struct exit *way = &exits->exits[i];

		way->encoder = encoder_new();
		way->parcels = parcels_new(i, options->names_max);
		way->key_length = (size_t)snprintf(way->key, sizeof(way->key), "%u", i);
		if (options->numbers)
			way->numbers = options->numbers[i];
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
	return (struct task_sinks){exits,	 on_flows,	on_rollups, on_alerts,
				   on_baselines, on_deadletter, on_pane};
}
