#include "daemon/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/table.h"
#include "daemon/encode.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/range.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "metadata/census.h"
#include "rules/rulebook.h"

/* A record as it was read. */
struct held {
	uint64_t key; /* hash of the topic's key, which is the record's id */
	uint64_t until_ns;
	uint64_t due_ns; /* uv_hrtime */
	uint8_t *bytes;
	uint32_t length;
	bool rule, configured; /* configured: not of the topic */
	uint8_t pad[2];
};

struct way {
	struct output_report report; /* first: it is how the batch is told of */
	struct relay *relay;
	struct table held; /* by key */
	bool busy;
};

/* Each topic is read by itself, so that one that is not there yet holds up nothing of the other. */
struct reader {
	struct relay *relay;
	const char *topics[2]; /* one, and the end */
	struct tail *tail;
	bool read_all; /* what the topic had at the start */
};

struct pile {
	struct encoded *items;
	size_t count, max;
};

struct relay {
	struct relay_options options;
	struct relay_stats stats;
	struct encoder *encoder;
	struct reader metadata_reader, rules_reader;
	bool leads;
	uv_timer_t timer;
	struct way *ways;	     /* by partition */
	uint32_t next;		     /* whose turn it is first */
	struct pile metadata, rules; /* of a batch */
};

static struct way *way_of(const struct relay *relay, uint64_t key)
{
	return &relay->ways[hash_owner(key, relay->options.tasks)];
}

static uint64_t real_ns(void)
{
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	return (uint64_t)real.tv_sec * NS_PER_S + (uint64_t)real.tv_nsec;
}

/* Nobody believes its beginning any more, whenever that was told last. */
static bool is_over(uint64_t until_ns, uint64_t now_ns)
{
	const uint64_t believed_ns = CENSUS_KEEP_NS + RELAY_PERIOD_S * NS_PER_S;

	return until_ns < UINT64_MAX - believed_ns && until_ns + believed_ns < now_ns;
}

/* --- what the topic says --- */

static uint64_t *known_of(struct relay *relay, const struct held *held)
{
	return held->rule ? &relay->stats.rules : &relay->stats.records;
}

static void forget(struct relay *relay, struct way *way, struct held *held)
{
	*known_of(relay, held) -= 1;
	free(held->bytes);
	table_remove(&way->held, held);
}

static void drop(struct relay *relay, uint64_t key)
{
	struct way *way = way_of(relay, key);
	struct held *held = table_find(&way->held, &key);

	if (held)
		forget(relay, way, held);
}

static bool has_room(const struct relay *relay, bool rule)
{
	return rule ? relay->stats.rules < 2 * relay->options.rules_max
		    : relay->stats.records < relay->options.records_max;
}

/* NULL: there is no room. */
static struct held *keep(struct relay *relay, uint64_t key, const uint8_t *bytes, size_t length,
			 bool rule)
{
	struct way *way = way_of(relay, key);
	struct held *held = table_find(&way->held, &key);

	if (!held && !has_room(relay, rule)) {
		relay->stats.refused++;
		return NULL;
	}
	if (!held) {
		held = table_put(&way->held, &key);
		held->rule = rule;
		*known_of(relay, held) += 1;
	}
	held->bytes = memory_resize(held->bytes, length, 1);
	memcpy(held->bytes, bytes, length);
	held->length = (uint32_t)length;
	held->until_ns = UINT64_MAX;
	held->due_ns = 0;
	return held;
}

static void keep_record(struct relay *relay, uint64_t key, const struct tail_record *record,
			bool rule, uint64_t until_ns)
{
	struct held *held;

	if (is_over(until_ns, real_ns()))
		drop(relay, key);
	else if ((held = keep(relay, key, record->value, record->length, rule)))
		held->until_ns = until_ns;
}

static void on_metadata(struct relay *relay, uint64_t key, const struct tail_record *record)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct fact fact;
	enum record_reason reason =
		record_read(record->value, record->length, NULL, 0, &fact, addresses);

	if (reason == RECORD_GOOD && fact.id != key)
		reason = RECORD_ID;
	relay->stats.read[reason]++;
	/* What takes a record's place and is no good leaves nothing to tell. */
	if (reason == RECORD_GOOD && fact.kind != FACT_NONE)
		keep_record(relay, key, record, false, fact.until_ns);
	else
		drop(relay, key);
}

/* What is no good takes no rule's place: nobody but who has the key may end one. */
static void on_rule(struct relay *relay, uint64_t key, const struct tail_record *record)
{
	char why[RULE_WHY_BYTES], sentence[256];
	struct rule rule;

	if (!rule_accept(record->value, record->length, keyring_keys(relay->options.keyring), &rule,
			 why) ||
	    hash_bytes(rule.id, strlen(rule.id)) != key) {
		relay->stats.rules_refused++;
		snprintf(sentence, sizeof(sentence),
			 "a record of " TOPIC_RULES " is passed over: %s",
			 why[0] ? why : "its key is another's");
		relay->options.trouble(relay->options.context, sentence);
		return;
	}
	keep_record(relay, key, record, true,
		    rule.withdrawn ? rule.issued_ns + RULEBOOK_FORGET_NS : UINT64_MAX);
}

static void on_record(void *context, const struct tail_record *record)
{
	const struct reader *reader = context;
	struct relay *relay = reader->relay;
	bool rule = reader == &relay->rules_reader;
	uint64_t key = hash_bytes(record->key, record->key_length);

	if (!record->value && !rule)
		drop(relay, key);
	else if (record->value && rule)
		on_rule(relay, key, record);
	else if (record->value)
		on_metadata(relay, key, record);
}

static void on_trouble(void *context, const char *sentence)
{
	const struct reader *reader = context;

	reader->relay->options.trouble(reader->relay->options.context, sentence);
}

/* --- telling --- */

/* A period, less up to a fourth of it, so that what came at once is spread. */
static uint64_t next_due(const struct held *held, uint64_t now)
{
	const uint64_t period_ns = RELAY_PERIOD_S * NS_PER_S;

	return now + period_ns - hash_mix(held->key ^ now) % (period_ns / 4);
}

static void pile_add(struct pile *pile, const struct held *held)
{
	if (pile->count == pile->max) {
		pile->max = memory_grown(pile->max, pile->count + 1);
		pile->items = memory_resize(pile->items, pile->max, sizeof(*pile->items));
	}
	pile->items[pile->count++] = (struct encoded){held->bytes, held->length};
}

/* The keys have changed since: the former one will not be known for ever. */
static void sign_again(struct relay *relay, const struct held *held)
{
	const struct keys *keys = keyring_keys(relay->options.keyring);
	uint8_t key[SEAL_KEY_BYTES], bytes[RULE_BYTES_MAX];
	struct rule rule;

	if (!keys_count(keys) || keys_pipeline_key(keys, 0, key) < 0)
		return;
	if (!seal_check(key, held->bytes, held->length) &&
	    rule_read(held->bytes, held->length, &rule, NULL)) {
		size_t length = rule_write(&rule, key, bytes);

		outputs_offer(relay->options.outputs, TOPIC_RULES, rule.id, strlen(rule.id),
			      (struct encoded){.bytes = bytes, .length = length});
	}
	explicit_bzero(key, sizeof(key));
}

static const struct reader *reader_of(const struct relay *relay, const struct held *held)
{
	return held->rule ? &relay->rules_reader : &relay->metadata_reader;
}

/* What is due, as far as a batch goes; marked as told. */
static size_t batch_fill(struct relay *relay, struct way *way, uint64_t now, size_t *bytes)
{
	uint64_t real = real_ns();
	size_t count = 0;

	*bytes = 0;
	relay->metadata.count = relay->rules.count = 0;
	for (uint32_t i = 0; i < way->held.count; i++) {
		struct held *held = table_at(&way->held, i);

		while (i < way->held.count && is_over(held->until_ns, real))
			forget(relay, way, held); /* another takes its place */
		if (i == way->held.count)
			break;
		if (held->due_ns > now || !(held->configured || reader_of(relay, held)->read_all))
			continue;
		if (*bytes + held->length > RELAY_BATCH_BYTES && count)
			break;
		pile_add(held->rule ? &relay->rules : &relay->metadata, held);
		count++;
		*bytes += held->length;
		held->due_ns = next_due(held, now);
		if (held->rule)
			sign_again(relay, held);
	}
	return count;
}

static void all_due(struct way *way)
{
	for (uint32_t i = 0; i < way->held.count; i++)
		((struct held *)table_at(&way->held, i))->due_ns = 0;
}

static void on_told(struct output_report *report, int rc)
{
	struct way *way = (struct way *)report;

	way->busy = false;
	if (rc == 0)
		return;
	way->relay->stats.failed++;
	all_due(way);
}

/* Returns how many bytes it handed over. */
static size_t way_tell(struct relay *relay, struct way *way, uint32_t partition, uint64_t now)
{
	size_t bytes, count = way->busy ? 0 : batch_fill(relay, way, now, &bytes);
	const struct keys *keys = keyring_keys(relay->options.keyring);
	uint8_t key[SEAL_KEY_BYTES];

	if (!count)
		return 0;
	bool sealed = keys_count(keys) && keys_pipeline_key(keys, 0, key) == 0;
	const struct encode_told told = {relay->metadata.items, relay->rules.items,
					 relay->metadata.count, relay->rules.count};
	struct encoded value = encode_told(relay->encoder, real_ns(), &told,
					   sealed ? keys_id(keys, 0) : NULL, sealed ? key : NULL);

	explicit_bzero(key, sizeof(key));
	way->busy = outputs_try(relay->options.outputs, TOPIC_EVENTS, (int32_t)partition, NULL, 0,
				value, &way->report);
	if (way->busy)
		relay->stats.told += count;
	else
		all_due(way);
	return bytes;
}

static void on_turn(uv_timer_t *timer)
{
	struct relay *relay = timer->data;
	uint32_t tasks = relay->options.tasks;
	uint64_t now = uv_hrtime();
	size_t bytes = 0;

	for (uint32_t i = 0; i < tasks && bytes < RELAY_TURN_BYTES; i++) {
		uint32_t partition = relay->next++ % tasks;

		bytes += way_tell(relay, &relay->ways[partition], partition, now);
	}
}

/* --- life --- */

struct relay *relay_new(const struct relay_options *options)
{
	struct relay *relay = memory_zeroed(1, sizeof(*relay));

	relay->options = *options;
	relay->encoder = encoder_new();
	relay->ways = memory_zeroed(options->tasks, sizeof(*relay->ways));
	for (uint32_t i = 0; i < options->tasks; i++) {
		relay->ways[i].report.told = on_told;
		relay->ways[i].relay = relay;
		table_init(&relay->ways[i].held, sizeof(uint64_t), sizeof(struct held));
	}
	uv_timer_init(options->loop, &relay->timer);
	relay->timer.data = relay;
	return relay;
}

static void forget_all(struct relay *relay)
{
	for (uint32_t i = 0; i < relay->options.tasks; i++) {
		struct table *held = &relay->ways[i].held;

		for (uint32_t k = 0; k < held->count; k++)
			free(((struct held *)table_at(held, k))->bytes);
		table_clear(held);
	}
	relay->stats.records = relay->stats.rules = 0;
}

/* Nothing of a topic is told before: what is over may stand in it as if it held, with its end
 * behind it. */
static void on_caught_up(void *context)
{
	struct reader *reader = context;

	reader->read_all = true;
}

static void keep_ranges(struct relay *relay)
{
	for (size_t i = 0; i < relay->options.ranges_count; i++) {
		struct address addresses[FACT_ADDRESSES_MAX];
		struct fact fact;
		size_t length;
		uint8_t *bytes = range_pack(&relay->options.ranges[i], real_ns(), &length);
		enum record_reason reason = record_read(bytes, length, NULL, 0, &fact, addresses);
		struct held *held =
			reason == RECORD_GOOD ? keep(relay, fact.id, bytes, length, false) : NULL;

		relay->stats.read[reason]++;
		if (held)
			held->configured = true;
		free(bytes);
	}
}

static void reader_begin(struct relay *relay, struct reader *reader, const char *topic)
{
	char error[256];

	*reader = (struct reader){.relay = relay, .topics = {topic}};
	reader->tail = tail_new(&(struct tail_options){.loop = relay->options.loop,
						       .brokers = relay->options.brokers,
						       .security = relay->options.security,
						       .topics = reader->topics,
						       .context = reader,
						       .record = on_record,
						       .caught_up = on_caught_up,
						       .trouble = on_trouble},
				error, sizeof(error));
	if (!reader->tail)
		relay->options.trouble(relay->options.context, error);
}

static void reader_end(struct reader *reader)
{
	if (reader->tail)
		tail_close(reader->tail);
	reader->tail = NULL;
	reader->read_all = false;
}

void relay_lead(struct relay *relay, bool leads)
{
	if (leads == relay->leads)
		return;
	relay->leads = leads;
	if (leads) {
		keep_ranges(relay);
		uv_timer_start(&relay->timer, on_turn, RELAY_TURN_MS, RELAY_TURN_MS);
		reader_begin(relay, &relay->metadata_reader, TOPIC_METADATA);
		reader_begin(relay, &relay->rules_reader, TOPIC_RULES);
		return;
	}
	uv_timer_stop(&relay->timer);
	reader_end(&relay->metadata_reader);
	reader_end(&relay->rules_reader);
	forget_all(relay);
}

struct relay_stats relay_stats(const struct relay *relay)
{
	return relay->stats;
}

void relay_close(struct relay *relay)
{
	relay_lead(relay, false);
	uv_close((uv_handle_t *)&relay->timer, NULL);
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	forget_all(relay);
	for (uint32_t i = 0; i < relay->options.tasks; i++)
		table_done(&relay->ways[i].held);
	encoder_free(relay->encoder);
	memory_free(relay->metadata.items);
	memory_free(relay->rules.items);
	memory_free(relay->ways);
	memory_free(relay);
}
