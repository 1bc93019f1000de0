#include "daemon/stretch.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/batch/keys.h"
#include "base/clock.h"
#include "base/memory.h"
#include "daemon/encode.h"
#include "daemon/topics.h"
#include "kafka/security.h"

enum {
	ASK_TIMEOUT_MS = 2000,
	CLOSE_TIMEOUT_MS = 1500,
	PRIME_MS = 5, /* between two looks for a partition's first record */
	/* Times that a partition's last record is given again in a turn: 80 s of log. */
	AGAIN_A_TURN = 8,
	/* An incident of a pane is told when its task has closed two more (daemon/task.h). */
	TOLD_PANES = 2,
};

/* A partition of a running pipeline has a tick each 125 ms. */
#define LATE_NS NS_PER_S

struct way {
	int64_t low, begin, high; /* offsets, as the stretch was opened */
	uint64_t first_ns;
	struct mirror_record first;
	bool waits; /* first was read and not given */
	bool ended;
	uint64_t last_ns; /* append time of the latest record; at its end the way's end */
	int64_t next;
	uint32_t again; /* of AGAIN_A_TURN left */
	uint64_t pane;	/* last that was closed: the worker's */
	struct encoder *encoder;
	_Atomic uint64_t closed; /* the same for others */
	_Atomic uint64_t records, steps;
};

struct stretch {
	struct stretch_options options;
	struct consumer *consumer;
	int64_t *begins;
	struct way *ways;
	_Atomic uint32_t ended;
	struct stretch_found found;
	char key_id[64];
	uint8_t key[SEAL_KEY_BYTES];
	bool sealed;
};

/* --- what there is --- */

static rd_kafka_t *make_client(const struct stretch *stretch, struct security_client *access,
			       char *error, size_t size)
{
	const char *const defaults[][2] = {{"client.id", "millraced"},
					   {"group.id", stretch->options.group},
					   {"enable.auto.commit", "false"},
					   {"log_level", "3"},
					   {NULL, NULL}};
	rd_kafka_conf_t *conf = security_conf(access, stretch->options.security,
					      stretch->options.brokers, defaults, error, size);
	rd_kafka_t *kafka = conf ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, size) : NULL;

	if (!kafka && conf)
		rd_kafka_conf_destroy(conf);
	return kafka;
}

static rd_kafka_resp_err_t ask_ends(struct stretch *stretch, rd_kafka_t *kafka)
{
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (uint32_t i = 0; i < stretch->options.partitions && !rc; i++)
		rc = rd_kafka_query_watermark_offsets(kafka, TOPIC_EVENTS, (int32_t)i,
						      &stretch->ways[i].low, &stretch->ways[i].high,
						      ASK_TIMEOUT_MS);
	return rc;
}

/* A partition without a record that is so late begins at its end. */
static rd_kafka_resp_err_t ask_begins(struct stretch *stretch, rd_kafka_t *kafka)
{
	rd_kafka_topic_partition_list_t *list =
		rd_kafka_topic_partition_list_new((int)stretch->options.partitions);
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (uint32_t i = 0; i < stretch->options.partitions; i++)
		rd_kafka_topic_partition_list_add(list, TOPIC_EVENTS, (int32_t)i)->offset =
			(int64_t)(stretch->options.begin_ns / NS_PER_MS);
	if (!stretch->options.accept_create_time)
		rc = rd_kafka_offsets_for_times(kafka, list, ASK_TIMEOUT_MS);
	for (int i = 0; i < list->cnt && !rc; i++) {
		struct way *way = &stretch->ways[list->elems[i].partition];

		rc = list->elems[i].err;
		way->begin = stretch->options.accept_create_time ? way->low
			     : list->elems[i].offset >= 0	 ? list->elems[i].offset
								 : way->high;
	}
	rd_kafka_topic_partition_list_destroy(list);
	return rc;
}

/* A topic that is not as it must be is told by the consumer. */
static int ask(struct stretch *stretch, char *error, size_t size)
{
	struct security_client access = {0};
	rd_kafka_t *kafka = make_client(stretch, &access, error, size);
	rd_kafka_resp_err_t rc;

	if (!kafka)
		return -EINVAL;
	security_begin(&access, kafka);
	/* The ends first: what comes between the questions is behind them. */
	rc = ask_ends(stretch, kafka);
	if (!rc)
		rc = ask_begins(stretch, kafka);
	security_end(&access);
	rd_kafka_destroy_flags(kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	for (uint32_t i = 0; i < stretch->options.partitions; i++)
		stretch->begins[i] = rc ? -1 : stretch->ways[i].begin;
	snprintf(error, size, "topic " TOPIC_EVENTS " at %s: %s", stretch->options.brokers,
		 rd_kafka_err2str(rc));
	return rc == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
			       rc == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || !rc
		       ? 0
		       : -EAGAIN;
}

static bool is_late(uint64_t deadline_ns)
{
	return uv_hrtime() > deadline_ns;
}

static int reach(struct stretch *stretch, uint64_t deadline_ns, char *error, size_t size)
{
	int rc;

	consumer_begin_at(stretch->consumer, stretch->begins,
			  (int64_t)(stretch->options.begin_ns / NS_PER_MS));
	do {
		rc = ask(stretch, error, size);
		if (rc == 0)
			rc = consumer_connect(stretch->consumer, ASK_TIMEOUT_MS, error, size);
	} while (rc == -EAGAIN && !is_late(deadline_ns));
	return rc;
}

/* The first record of each partition, from which it is known where the log begins. */
static int prime(struct stretch *stretch, uint64_t deadline_ns, char *error, size_t size)
{
	for (uint32_t i = 0; i < stretch->options.partitions; i++) {
		struct way *way = &stretch->ways[i];

		if (way->begin >= way->high) {
			snprintf(error, size,
				 "partition %u of " TOPIC_EVENTS
				 " holds nothing of that time or later",
				 i);
			return -ENODATA;
		}
		while (!consumer_next(stretch->consumer, i, &way->first)) {
			if (is_late(deadline_ns)) {
				snprintf(error, size,
					 "Kafka at %s gives no record of partition %u "
					 "of " TOPIC_EVENTS,
					 stretch->options.brokers, i);
				return -EAGAIN;
			}
			uv_sleep(PRIME_MS);
		}
		way->waits = true;
		way->first_ns = way->first.append_ns;
	}
	return 0;
}

static void look_at_beginning(struct stretch *stretch)
{
	struct stretch_found *found = &stretch->found;

	for (uint32_t i = 0; i < stretch->options.partitions; i++) {
		const struct way *way = &stretch->ways[i];

		if (way->begin > way->low || way->first_ns < stretch->options.begin_ns + LATE_NS)
			continue;
		if (way->first_ns > found->first_ns)
			found->first_ns = way->first_ns;
		found->cut |= way->low > 0;
	}
}

static void on_loss(void *context, const char *sentence)
{
	const struct stretch *stretch = context;

	stretch->options.trouble(stretch->options.context, sentence);
}

static void on_trouble(void *context, const char *sentence)
{
	on_loss(context, sentence);
}

static void read_key(struct stretch *stretch)
{
	const struct keys *keys = stretch->options.keys;

	stretch->sealed = keys && keys_signer(keys, stretch->key);
	if (stretch->sealed)
		snprintf(stretch->key_id, sizeof(stretch->key_id), "%s", keys_id(keys, 0));
}

struct stretch *stretch_open(const struct stretch_options *options, int *reason, char *error,
			     size_t size)
{
	struct stretch *stretch = memory_zeroed(1, sizeof(*stretch));
	const struct consumer_options consumer = {.brokers = options->brokers,
						  .topic = TOPIC_EVENTS,
						  .group = options->group,
						  .security = options->security,
						  .partitions = options->partitions,
						  .accept_create_time = options->accept_create_time,
						  .fetched_mib = options->fetched_mib,
						  .context = stretch,
						  .trouble = on_trouble,
						  .loss = on_loss};
	const uint64_t deadline_ns = uv_hrtime() + options->timeout_ms * NS_PER_MS;

	stretch->options = *options;
	stretch->begins = memory_zeroed(options->partitions, sizeof(*stretch->begins));
	stretch->ways = memory_zeroed(options->partitions, sizeof(*stretch->ways));
	for (uint32_t i = 0; i < options->partitions; i++)
		stretch->ways[i].encoder = encoder_new();
	read_key(stretch);
	stretch->consumer = consumer_new(&consumer, error, size);
	*reason = stretch->consumer ? reach(stretch, deadline_ns, error, size) : -EINVAL;
	if (*reason == 0)
		*reason = prime(stretch, deadline_ns, error, size);
	if (*reason == 0) {
		look_at_beginning(stretch);
		return stretch;
	}
	stretch_close(stretch);
	return NULL;
}

bool stretch_close(struct stretch *stretch)
{
	bool left = stretch->consumer && !consumer_close(stretch->consumer, CLOSE_TIMEOUT_MS);

	for (uint32_t i = 0; i < stretch->options.partitions; i++)
		encoder_free(stretch->ways[i].encoder);
	explicit_bzero(stretch->key, sizeof(stretch->key));
	free(stretch->ways);
	free(stretch->begins);
	if (!left)
		free(stretch);
	return !left;
}

struct stretch_found stretch_found(const struct stretch *stretch)
{
	return stretch->found;
}

/* --- the source --- */

static void end(struct stretch *stretch, struct way *way)
{
	way->ended = true;
	atomic_fetch_add(&stretch->ended, 1);
}

/* The last pane of the stretch that a log closes whose clock ends there. */
static uint64_t last_pane(const struct stretch *stretch, uint64_t last_ns)
{
	const struct stretch_options *options = &stretch->options;
	uint64_t clock_ns = last_ns < options->stop_ns ? last_ns : options->stop_ns;

	return pane_of(clock_ns - options->lateness_ns) - 1;
}

/* Its log clock is not yet where its last record is. */
static bool give_again(struct stretch *stretch, struct way *way, struct mirror_record *record)
{
	struct encoded tick;

	if (!way->again || way->pane >= last_pane(stretch, way->last_ns))
		return false;
	way->again--;
	tick = encode_tick(way->encoder, way->last_ns, stretch->sealed ? stretch->key_id : NULL,
			   stretch->sealed ? stretch->key : NULL);
	*record = (struct mirror_record){.value = tick.bytes,
					 .length = tick.length,
					 .append_ns = way->last_ns,
					 .offset = way->next};
	return true;
}

static bool next(void *context, uint32_t partition, struct mirror_record *record)
{
	struct stretch *stretch = context;
	struct way *way = &stretch->ways[partition];

	if (way->ended)
		return give_again(stretch, way, record);
	if (way->waits)
		*record = way->first;
	else if (!consumer_next(stretch->consumer, partition, record))
		return false;
	way->waits = false;
	way->next = record->offset + 1;
	if (record->append_ns > way->last_ns)
		way->last_ns = record->append_ns;
	if (way->last_ns >= stretch->options.stop_ns || way->next >= way->high)
		end(stretch, way);
	atomic_fetch_add_explicit(&way->records, 1, memory_order_relaxed);
	return true;
}

static int descriptor(void *context, uint32_t partition)
{
	const struct stretch *stretch = context;

	return consumer_descriptor(stretch->consumer, partition);
}

static void turn(void *context, uint32_t partition, uint64_t pane)
{
	struct stretch *stretch = context;
	struct way *way = &stretch->ways[partition];

	way->again = AGAIN_A_TURN;
	if (pane == way->pane)
		return;
	way->pane = pane;
	atomic_store(&way->closed, pane);
	atomic_fetch_add_explicit(&way->steps, 1, memory_order_relaxed);
}

struct pipeline_source stretch_source(struct stretch *stretch)
{
	return (struct pipeline_source){stretch, next, descriptor, turn};
}

/* --- how far it is --- */

/* Once all ways have ended, which their workers said last. */
static uint64_t end_pane(const struct stretch *stretch)
{
	uint64_t last_ns = UINT64_MAX;

	for (uint32_t i = 0; i < stretch->options.partitions; i++) {
		if (stretch->ways[i].last_ns < last_ns)
			last_ns = stretch->ways[i].last_ns;
	}
	return last_pane(stretch, last_ns);
}

static uint64_t closed_pane(const struct stretch *stretch)
{
	uint64_t pane = UINT64_MAX;

	for (uint32_t i = 0; i < stretch->options.partitions; i++) {
		uint64_t closed = atomic_load(&stretch->ways[i].closed);

		pane = closed < pane ? closed : pane;
	}
	return pane;
}

bool stretch_over(const struct stretch *stretch)
{
	return atomic_load(&stretch->ended) == stretch->options.partitions &&
	       closed_pane(stretch) >= end_pane(stretch);
}

uint64_t stretch_end_ns(const struct stretch *stretch)
{
	return pane_end(end_pane(stretch) - TOLD_PANES);
}

uint64_t stretch_read_ns(const struct stretch *stretch)
{
	uint64_t pane = closed_pane(stretch);

	return pane ? pane_end(pane) : 0;
}

uint64_t stretch_records(const struct stretch *stretch)
{
	uint64_t records = 0;

	for (uint32_t i = 0; i < stretch->options.partitions; i++)
		records += atomic_load_explicit(&stretch->ways[i].records, memory_order_relaxed);
	return records;
}

uint64_t stretch_steps(const struct stretch *stretch)
{
	uint64_t steps = stretch_records(stretch);

	for (uint32_t i = 0; i < stretch->options.partitions; i++)
		steps += atomic_load_explicit(&stretch->ways[i].steps, memory_order_relaxed);
	return steps;
}

struct consumer_stats stretch_stats(const struct stretch *stretch)
{
	return consumer_stats(stretch->consumer);
}
