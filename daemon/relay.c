#include "daemon/relay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/keys.h"
#include "agent/batch/seal.h"
#include "anomaly/cause.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/real.h"
#include "base/table.h"
#include "daemon/encode.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/range.h"
#include "daemon/tail.h"
#include "daemon/topics.h"
#include "metadata/census.h"
#include "millrace/v1/metadata.pb-c.h"
#include "rules/rulebook.h"

enum {
	SWEEP_TURNS = 4,
	TAKEN_BACK_MAX = 1000, /* of a partition, in a sweep */
	/* A watcher takes back what it knows of itself. */
	SPARED_S = 60,
	KEY_SHOWN = 80, /* bytes; a monitor's is shorter */
};

/* A record as it was read. */
struct held {
	uint64_t key; /* hash of the topic's key, which is the record's id */
	uint64_t until_ns, observed_ns;
	uint64_t due_ns; /* uv_hrtime */
	uint64_t watch;	 /* key of what says that its cluster is watched; 0: it is of none */
	uint8_t *bytes;
	uint32_t length;
	uint8_t kind;	       /* enum fact_kind; FACT_NONE: that a cluster is watched, or a rule */
	bool rule, configured; /* configured: not of the topic */
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
	uint64_t watches;
	uint64_t changes_floor_ns, rules_floor_ns; /* what lasted no longer is not kept */
	uint64_t begun_ns;			   /* real time */
	uint64_t unwatched;			   /* as the sweep finds */
	bool told_unwatched;
	uint32_t turns;
};

/* A change that is to be taken back, on its way. */
struct taking {
	struct output_report report; /* first: it is how it is told of */
	struct relay *relay;
};

static struct way *way_of(const struct relay *relay, uint64_t key)
{
	return &relay->ways[hash_owner(key, relay->options.tasks)];
}

static bool has_passed(uint64_t since_ns, uint64_t by_ns, uint64_t now_ns)
{
	return since_ns < UINT64_MAX - by_ns && since_ns + by_ns < now_ns;
}

/* Nobody believes its beginning any more, whenever that was told last. */
static bool is_over(uint64_t until_ns, uint64_t now_ns)
{
	return has_passed(until_ns, CENSUS_KEEP_NS + RELAY_PERIOD_S * NS_PER_S, now_ns);
}

/* --- what the topic says --- */

static uint64_t *count_of(struct relay *relay, uint8_t kind, bool rule)
{
	if (rule)
		return &relay->stats.rules;
	if (kind == FACT_NONE)
		return &relay->watches;
	return kind == FACT_CHANGE ? &relay->stats.changes : &relay->stats.records;
}

static void forget(struct relay *relay, struct way *way, struct held *held)
{
	free(held->bytes);
	--*count_of(relay, held->kind, held->rule);
	if (held->kind == FACT_CHANGE)
		relay->options.changed(relay->options.context, held->key, NULL, 0);
	table_remove(&way->held, held);
}

/* What one topic says ends nothing of the other's, nor what is configured. */
static bool is_others(const struct held *held, bool rule)
{
	return held->rule != rule || held->configured;
}

static void drop_fact(struct relay *relay, uint64_t key)
{
	struct way *way = way_of(relay, key);
	struct held *held = table_find(&way->held, &key);

	if (held && !is_others(held, false))
		forget(relay, way, held);
}

static bool has_room(struct relay *relay, uint8_t kind, bool rule)
{
	uint64_t most = rule		      ? 2ULL * relay->options.rules_max
			: kind == FACT_CHANGE ? relay->options.changes_max
			: kind == FACT_NONE   ? RELAY_WATCHES_MAX
					      : relay->options.records_max;

	return *count_of(relay, kind, rule) < most;
}

static bool is_of(const struct held *held, uint8_t kind, bool rule)
{
	return held->rule == rule && held->kind == kind;
}

static int by_time(const void *a, const void *b)
{
	uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;

	return one < other ? -1 : one > other;
}

/* The time up to which a sixteenth of a kind lasted, at least one; 0: there is none. */
static uint64_t oldest_until(const struct relay *relay, uint8_t kind, bool rule, uint64_t count)
{
	uint64_t *times = memory_zeroed((size_t)count + 1, sizeof(*times)), found = 0, until_ns;

	for (uint32_t i = 0; i < relay->options.tasks; i++) {
		const struct table *table = &relay->ways[i].held;

		for (uint32_t k = 0; k < table->count; k++) {
			const struct held *held = table_at(table, k);

			if (is_of(held, kind, rule) && found < count)
				times[found++] = held->until_ns;
		}
	}
	qsort(times, found, sizeof(*times), by_time);
	until_ns = found ? times[(found - 1) / 16] : 0;
	memory_free(times);
	return until_ns;
}

/* Changes give their places to a later one, withdrawn rules to any other, a sixteenth at once: to
 * look for the oldest costs a look at all. False: what comes is older itself. */
static bool make_room(struct relay *relay, uint8_t kind, bool rule, uint64_t until_ns)
{
	uint64_t oldest_ns;

	if (!rule && kind != FACT_CHANGE)
		return false;
	if (rule ? until_ns <= relay->rules_floor_ns : until_ns <= relay->changes_floor_ns)
		return false;
	oldest_ns = oldest_until(relay, kind, rule, *count_of(relay, kind, rule));
	if (oldest_ns == UINT64_MAX)
		return false; /* all stand */
	*(rule ? &relay->rules_floor_ns : &relay->changes_floor_ns) = oldest_ns;
	if (oldest_ns >= until_ns)
		return false;
	for (uint32_t i = 0; i < relay->options.tasks; i++) {
		struct way *way = &relay->ways[i];

		for (uint32_t k = 0; k < way->held.count; k++) {
			struct held *held = table_at(&way->held, k);

			if (is_of(held, kind, rule) && held->until_ns <= oldest_ns)
				forget(relay, way, table_at(&way->held, k--));
		}
	}
	return true;
}

/* NULL: there is no room, or its place is another's. */
static struct held *keep(struct relay *relay, uint64_t key, const uint8_t *bytes, size_t length,
			 uint8_t kind, bool rule, uint64_t until_ns)
{
	struct way *way = way_of(relay, key);
	struct held *held = table_find(&way->held, &key);

	if (held && is_others(held, rule))
		return NULL;
	if (held && held->kind != kind) {
		forget(relay, way, held);
		held = NULL;
	}
	if (!held && !has_room(relay, kind, rule)) {
		/* Of rules that ended long ago there may be any number. */
		relay->stats.refused += !rule || !is_over(until_ns, real_ns());
		if (!make_room(relay, kind, rule, until_ns))
			return NULL;
	}
	if (!held) {
		held = table_put(&way->held, &key);
		held->kind = kind;
		held->rule = rule;
		++*count_of(relay, kind, rule);
	}
	held->bytes = memory_resize(held->bytes, length, 1);
	memcpy(held->bytes, bytes, length);
	held->length = (uint32_t)length;
	held->until_ns = until_ns;
	held->due_ns = 0;
	return held;
}

static void keep_fact(struct relay *relay, uint64_t key, const struct tail_record *record,
		      const struct fact *fact, uint64_t watch)
{
	struct held *held;

	if (fact->kind != FACT_CHANGE && is_over(fact->until_ns, real_ns())) {
		drop_fact(relay, key);
		return;
	}
	held = keep(relay, key, record->value, record->length, (uint8_t)fact->kind, false,
		    fact->until_ns);
	if (!held)
		return;
	held->observed_ns = fact->observed_ns;
	held->watch = watch;
	if (fact->kind == FACT_CHANGE)
		relay->options.changed(relay->options.context, key, held->bytes, held->length);
}

static void on_metadata(struct relay *relay, uint64_t key, const struct tail_record *record)
{
	struct address addresses[FACT_ADDRESSES_MAX];
	struct fact fact;
	uint64_t watch;
	enum record_reason reason =
		record_read(record->value, record->length, NULL, 0, &fact, addresses, &watch);

	if (reason == RECORD_GOOD && fact.id != key)
		reason = RECORD_ID;
	relay->stats.read[reason]++;
	/* What takes a record's place and is no good leaves nothing to tell. */
	if (reason == RECORD_GOOD)
		keep_fact(relay, key, record, &fact, watch);
	else
		drop_fact(relay, key);
}

static bool is_newer(const struct held *held, const struct rule *than)
{
	struct rule rule;

	return rule_read(held->bytes, held->length, &rule, NULL) &&
	       rule.issued_ns > than->issued_ns;
}

/* To its topic again, whose newest record of an id must be the one that was issued last. */
static void offer(struct relay *relay, const struct rule *rule, const struct held *held)
{
	outputs_offer(relay->options.outputs, TOPIC_RULES, rule->id, strlen(rule->id),
		      (struct encoded){.bytes = held->bytes, .length = held->length});
}

/* What is no good takes no rule's place: nobody but who has the key may end one. So too what stood
 * in the topic and makes no sense by what this build knows. */
static void refuse_rule(struct relay *relay, const struct tail_record *record, const char *why)
{
	const char *key = record->key ? (const char *)record->key : "";
	int shown = record->key_length < KEY_SHOWN ? (int)record->key_length : KEY_SHOWN;
	char sentence[384];

	relay->stats.rules_refused++;
	snprintf(sentence, sizeof(sentence),
		 "the record %.*s of " TOPIC_RULES " is passed over: %s", shown, key,
		 why[0] ? why : "its key is another's");
	relay->options.trouble(relay->options.context, sentence);
}

static void on_rule(struct relay *relay, uint64_t key, const struct tail_record *record)
{
	char why[RULE_WHY_BYTES] = "";
	uint64_t until_ns;
	struct held *held;
	struct rule rule;

	if (!rule_accept(record->value, record->length, keyring_keys(relay->options.keyring), &rule,
			 why) ||
	    hash_bytes(rule.id, strlen(rule.id)) != key) {
		refuse_rule(relay, record, why);
		return;
	}
	relay->options.ruled(relay->options.context, &rule);
	until_ns = rule.withdrawn ? rule.issued_ns + RULEBOOK_FORGET_NS : UINT64_MAX;
	held = table_find(&way_of(relay, key)->held, &key);
	if (held && held->rule && is_newer(held, &rule))
		offer(relay, &rule, held);
	else
		keep(relay, key, record->value, record->length, FACT_NONE, true, until_ns);
}

static void on_record(void *context, const struct tail_record *record)
{
	const struct reader *reader = context;
	struct relay *relay = reader->relay;
	bool rule = reader == &relay->rules_reader;
	uint64_t key = hash_bytes(record->key, record->key_length);

	if (!record->value && !rule)
		drop_fact(relay, key);
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

	if (!keys_signer(keys, key))
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

/* Whether somebody said lately that it is looked at whether it still holds; where that was never
 * said, it may be yet. */
static bool is_watched(const struct relay *relay, const struct held *held, uint64_t real)
{
	const struct held *watch;

	if (!held->watch)
		return true;
	watch = table_find(&way_of(relay, held->watch)->held, &held->watch);
	return !has_passed(watch ? watch->observed_ns : relay->begun_ns, relay->options.keep_ns,
			   real);
}

static bool is_to_tell(const struct relay *relay, const struct held *held, uint64_t real)
{
	if (held->configured)
		return true;
	if (!reader_of(relay, held)->read_all)
		return false;
	if (held->rule)
		return true;
	switch (held->kind) {
	case FACT_NONE:
		return false;
	case FACT_CHANGE:
		return !has_passed(held->until_ns, CAUSE_BEFORE_NS, real);
	default:
		return is_watched(relay, held, real);
	}
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

		if (held->due_ns > now || !is_to_tell(relay, held, real))
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
	bool sealed = keys_signer(keys, key);
	const struct encode_told told = {relay->metadata.items, relay->rules.items,
					 relay->metadata.count, relay->rules.count};
	struct encoded value = encode_told(relay->encoder, real_ns(), &told,
					   sealed ? keys_id(keys, 0) : NULL, sealed ? key : NULL);

	explicit_bzero(key, sizeof(key));
	/* A refusal is told of within the call. */
	way->busy = true;
	if (outputs_try(relay->options.outputs, TOPIC_EVENTS, (int32_t)partition, NULL, 0, value,
			&way->report)) {
		relay->stats.told += way->busy ? count : 0;
	} else {
		way->busy = false;
		all_due(way);
	}
	return bytes;
}

/* --- what is past --- */

static void on_taken(struct output_report *report, int rc)
{
	struct taking *taking = (struct taking *)report;

	taking->relay->stats.failed += rc != 0;
	free(taking);
}

/* Out of the topic, by a record without a value, which comes back from there; if it does not, it is
 * tried again. */
static void take_back(struct relay *relay, struct held *held, uint64_t now)
{
	const struct encoded nothing = {NULL, 0};
	Millrace__V1__Metadata *message =
		millrace__v1__metadata__unpack(NULL, held->length, held->bytes);
	struct taking *taking = memory_zeroed(1, sizeof(*taking));

	taking->report.told = on_taken;
	taking->relay = relay;
	held->due_ns = now + SPARED_S * NS_PER_S;
	if (!message || !outputs_try(relay->options.outputs, TOPIC_METADATA, -1, message->id,
				     strlen(message->id), nothing, &taking->report))
		free(taking);
	millrace__v1__metadata__free_unpacked(message, NULL);
}

static bool is_to_take_back(const struct relay *relay, const struct held *held, uint64_t real,
			    uint64_t now)
{
	return relay->leads && relay->metadata_reader.read_all && held->kind == FACT_CHANGE &&
	       held->due_ns <= now &&
	       has_passed(held->until_ns, relay->options.keep_ns + SPARED_S * NS_PER_S, real);
}

/* Tasks that go on from a snapshot may hold a rule of which they were not told in time that it was
 * withdrawn: nobody led, or that part of the log is lost. So a withdrawal stays until this one has
 * told it, however old it is. */
static bool is_to_forget(const struct way *way, const struct held *held, uint64_t real)
{
	bool told = held->due_ns && !way->busy;

	return held->kind != FACT_CHANGE && is_over(held->until_ns, real) && (!held->rule || told);
}

static void sweep(struct relay *relay, struct way *way, uint64_t now)
{
	uint64_t real = real_ns();
	uint32_t taken = 0;

	for (uint32_t i = 0; i < way->held.count; i++) {
		struct held *held = table_at(&way->held, i);

		relay->unwatched += !is_watched(relay, held, real);
		if (is_to_forget(way, held, real)) {
			forget(relay, way, held); /* another takes its place */
			i--;
		} else if (taken < TAKEN_BACK_MAX && is_to_take_back(relay, held, real, now)) {
			take_back(relay, held, now);
			taken++;
		}
	}
}

/* --- turns --- */

static void tell(struct relay *relay, uint64_t now)
{
	uint32_t tasks = relay->options.tasks;
	size_t bytes = 0;

	for (uint32_t i = 0; i < tasks && bytes < RELAY_TURN_BYTES; i++) {
		uint32_t partition = relay->next++ % tasks;

		bytes += way_tell(relay, &relay->ways[partition], partition, now);
	}
}

/* When it begins, and when it ends. */
static void tell_unwatched(struct relay *relay)
{
	char sentence[256];

	bool any = relay->unwatched != 0;

	relay->stats.unwatched = relay->unwatched;
	if (any == relay->told_unwatched || !relay->leads)
		return;
	relay->told_unwatched = any;
	if (any)
		snprintf(sentence, sizeof(sentence),
			 "%llu pods, nodes and services of " TOPIC_METADATA " are of a cluster "
			 "that nobody has watched for metadata.keep: they are not believed any "
			 "more",
			 (unsigned long long)relay->unwatched);
	else
		snprintf(sentence, sizeof(sentence),
			 "all pods, nodes and services of " TOPIC_METADATA
			 " are of a cluster that is watched");
	relay->options.trouble(relay->options.context, sentence);
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

/* Nothing of a topic is told before: what is over may stand in it as if it held, with its end
 * behind it. */
static void on_caught_up(void *context)
{
	struct reader *reader = context;
	const struct relay *relay = reader->relay;

	reader->read_all = true;
	if (reader == &relay->rules_reader)
		relay->options.rules_read(relay->options.context);
}

static void keep_ranges(struct relay *relay)
{
	for (size_t i = 0; i < relay->options.ranges_count; i++) {
		struct address addresses[FACT_ADDRESSES_MAX];
		struct fact fact;
		size_t length;
		uint8_t *bytes = range_pack(&relay->options.ranges[i], real_ns(), &length);
		enum record_reason reason =
			record_read(bytes, length, NULL, 0, &fact, addresses, NULL);
		struct held *held = reason == RECORD_GOOD
					    ? keep(relay, fact.id, bytes, length,
						   (uint8_t)fact.kind, false, UINT64_MAX)
					    : NULL;

		relay->stats.read[reason]++;
		if (held)
			held->configured = true;
		free(bytes);
	}
}

static void reader_begin(struct relay *relay, struct reader *reader, const char *topic)
{
	char error[256];

	if (reader->tail)
		return;
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

/* Again, where there was no room for it, for descriptors or threads. */
static void readers_begin(struct relay *relay)
{
	reader_begin(relay, &relay->metadata_reader, TOPIC_METADATA);
	reader_begin(relay, &relay->rules_reader, TOPIC_RULES);
}

static void on_turn(uv_timer_t *timer)
{
	struct relay *relay = timer->data;
	uint64_t now = uv_hrtime();

	if (relay->turns++ % SWEEP_TURNS == 0) {
		relay->unwatched = 0;
		for (uint32_t i = 0; i < relay->options.tasks; i++)
			sweep(relay, &relay->ways[i], now);
		tell_unwatched(relay);
		readers_begin(relay);
	}
	if (relay->leads)
		tell(relay, now);
}

void relay_start(struct relay *relay)
{
	relay->begun_ns = real_ns();
	keep_ranges(relay);
	uv_timer_start(&relay->timer, on_turn, RELAY_TURN_MS, RELAY_TURN_MS);
	readers_begin(relay);
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
	for (uint32_t i = 0; leads && !relay->leads && i < relay->options.tasks; i++)
		all_due(&relay->ways[i]);
	relay->leads = leads;
}

struct relay_stats relay_stats(const struct relay *relay)
{
	return relay->stats;
}

void relay_close(struct relay *relay)
{
	relay->leads = false;
	reader_end(&relay->metadata_reader);
	reader_end(&relay->rules_reader);
	uv_close((uv_handle_t *)&relay->timer, NULL);
}

static void way_done(struct way *way)
{
	for (uint32_t i = 0; i < way->held.count; i++)
		free(((struct held *)table_at(&way->held, i))->bytes);
	table_done(&way->held);
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	for (uint32_t i = 0; i < relay->options.tasks; i++)
		way_done(&relay->ways[i]);
	encoder_free(relay->encoder);
	memory_free(relay->metadata.items);
	memory_free(relay->rules.items);
	memory_free(relay->ways);
	memory_free(relay);
}
