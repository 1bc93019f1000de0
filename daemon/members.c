#include "daemon/members.h"

#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kafka/join.h"
#include "kafka/security.h"

enum {
	POLL_MS = 100,	   /* how late an end may be noticed */
	HELD_POLL_MS = 10, /* and a release */
	HEARTBEAT_MAX_MS = 3000,
	LEAVE_MS = 1000,   /* for librdkafka to hand its tasks back; no broker is asked */
	GENERATION_AT = 7, /* behind "CGMDv2:" */
	GENERATION_TRIED = 0x12345678,
	FENCES_MS = 300000, /* after which another is no longer in a row */
};

struct members {
	struct security_client access; /* first: the client's opaque */
	struct members_options options;
	rd_kafka_t *kafka;
	pthread_t thread;
	bool assigned, held, fenced, again; /* the thread's, as the next three */
	uint64_t held_until_ms;
	uint64_t fenced_ms; /* the last time */
	uint32_t fences;
	_Atomic bool closing, leaving, released;
	_Atomic uint64_t rebalances;
	_Atomic int32_t generation;
	_Atomic uint32_t owned;
};

/* --- what is told --- */

static void trouble(struct members *members, const char *reason)
{
	const char *advice = security_advice(reason);
	char sentence[512];

	if (atomic_load(&members->closing))
		return;
	snprintf(sentence, sizeof(sentence), "%s%s%s", reason, advice[0] ? ": " : "", advice);
	members->options.trouble(members->options.context, sentence);
}

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *context)
{
	(void)kafka;
	(void)code;
	trouble(context, reason);
}

static void tell_changed(struct members *members, int32_t generation, const struct task_set *tasks)
{
	atomic_store(&members->generation, generation);
	atomic_store(&members->owned, task_set_count(tasks));
	if (!atomic_load(&members->closing))
		members->options.changed(members->options.context, generation, tasks);
}

static uint64_t monotonic_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

/* One may fence oneself: a broker that stood, or was cut off, takes a request to join that was
 * given up and repeated meanwhile for another process's. So it joins anew; where another process
 * has the name in earnest the two fence each other in turn, until the first has been fenced too
 * often. */
static bool may_join_again(struct members *members, rd_kafka_resp_err_t code)
{
	uint64_t now_ms = monotonic_ms();

	if (code != RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
		return false;
	if (now_ms - members->fenced_ms > FENCES_MS)
		members->fences = 0;
	members->fenced_ms = now_ms;
	return members->fences++ < MEMBERS_FENCES_MAX;
}

static void say_fenced(const struct members *members, rd_kafka_resp_err_t code, const char *reason,
		       char *sentence, size_t size)
{
	if (code == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID)
		snprintf(sentence, size,
			 "another process uses the instance %s in group %s.instances: give each "
			 "its own name",
			 members->options.instance, members->options.group);
	else
		snprintf(sentence, size, "instance %s can be no member of group %s.instances: %s",
			 members->options.instance, members->options.group, reason);
}

/* librdkafka revokes nothing after a fatal error. */
static void take_fatal(struct members *members)
{
	static const struct task_set none;
	char reason[256] = "", sentence[512];
	rd_kafka_resp_err_t code = rd_kafka_fatal_error(members->kafka, reason, sizeof(reason));

	if (members->fenced || members->again || !code || atomic_load(&members->closing))
		return;
	members->held = members->assigned = false;
	tell_changed(members, -1, &none);
	members->again = may_join_again(members, code);
	members->fenced = !members->again;
	if (members->again) {
		trouble(members, "another process, or this one before, joined as this instance: it "
				 "joins again");
		return;
	}
	say_fenced(members, code, reason, sentence, sizeof(sentence));
	members->options.fenced(members->options.context, sentence);
}

/* --- the group --- */

/* librdkafka tells the generation only within what is meant for a producer's transactions:
 *
 *	"CGMDv2:" | generation, 4 bytes of this machine | group | member | ...
 *
 * -1: it does not, or there is none. */
static int32_t generation_in(rd_kafka_consumer_group_metadata_t *metadata)
{
	int32_t generation = -1;
	void *bytes = NULL;
	size_t size = 0;
	rd_kafka_error_t *error = rd_kafka_consumer_group_metadata_write(metadata, &bytes, &size);

	if (error) {
		rd_kafka_error_destroy(error);
		return -1;
	}
	if (size > GENERATION_AT + sizeof(generation) &&
	    memcmp(bytes, "CGMDv2:", GENERATION_AT) == 0)
		memcpy(&generation, (const uint8_t *)bytes + GENERATION_AT, sizeof(generation));
	rd_kafka_mem_free(NULL, bytes);
	return generation < 0 ? -1 : generation;
}

static int32_t generation_of(rd_kafka_t *kafka)
{
	rd_kafka_consumer_group_metadata_t *metadata = rd_kafka_consumer_group_metadata(kafka);
	int32_t generation;

	if (!metadata)
		return -1;
	generation = generation_in(metadata);
	rd_kafka_consumer_group_metadata_destroy(metadata);
	return generation;
}

static bool knows_generations(void)
{
	rd_kafka_consumer_group_metadata_t *metadata =
		rd_kafka_consumer_group_metadata_new_with_genid("g", GENERATION_TRIED, "m", "i");
	bool knows = generation_in(metadata) == GENERATION_TRIED;

	rd_kafka_consumer_group_metadata_destroy(metadata);
	return knows;
}

static struct task_set tasks_of(struct members *members,
				const rd_kafka_topic_partition_list_t *partitions)
{
	struct task_set tasks = {{0}};
	char sentence[256];

	for (int i = 0; i < partitions->cnt; i++) {
		uint32_t number = (uint32_t)partitions->elems[i].partition;

		if (number < members->options.tasks) {
			task_set_add(&tasks, number);
			continue;
		}
		snprintf(sentence, sizeof(sentence),
			 "topic %s has a partition %u and pipeline.tasks is %u: make them equal",
			 members->options.topic, number, members->options.tasks);
		trouble(members, sentence);
	}
	return tasks;
}

/* What is assigned is not taken, but an empty list instead: the group is content, and nothing is
 * fetched. */
static void on_assigned(struct members *members, const rd_kafka_topic_partition_list_t *partitions)
{
	rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
	struct task_set tasks = tasks_of(members, partitions);
	int32_t generation = generation_of(members->kafka);

	rd_kafka_assign(members->kafka, none);
	rd_kafka_topic_partition_list_destroy(none);
	members->assigned = true;
	atomic_fetch_add(&members->rebalances, 1);
	/* Out again already: its own revocation is on the way. */
	if (generation < 0)
		tasks = (struct task_set){{0}};
	tell_changed(members, generation, &tasks);
}

/* The group waits for it, so who owned tasks has ended what it did for them before others own them.
 * Whoever is lost was not waited for. */
static void hand_back(struct members *members)
{
	members->held = members->assigned = false;
	rd_kafka_assign(members->kafka, NULL);
}

static void look_at_held(struct members *members)
{
	if (atomic_load(&members->released) || atomic_load(&members->closing) ||
	    monotonic_ms() >= members->held_until_ms)
		hand_back(members);
}

static void on_revoked(struct members *members)
{
	static const struct task_set none;
	bool lost = rd_kafka_assignment_lost(members->kafka);

	atomic_store(&members->released, lost);
	tell_changed(members, lost ? -1 : generation_of(members->kafka), &none);
	if (!lost && !atomic_load(&members->closing))
		members->options.revoked(members->options.context);
	members->held = true;
	members->held_until_ms = monotonic_ms() + MEMBERS_RELEASE_MS;
	look_at_held(members);
}

static void on_rebalance(rd_kafka_t *kafka, rd_kafka_resp_err_t code,
			 rd_kafka_topic_partition_list_t *partitions, void *context)
{
	struct members *members = context;

	(void)kafka;
	if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
		on_assigned(members, partitions);
		return;
	}
	if (code != RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
		trouble(members, rd_kafka_err2str(code));
	on_revoked(members);
}

/* --- its thread --- */

static void poll(struct members *members, int timeout_ms)
{
	rd_kafka_message_t *message =
		rd_kafka_consumer_poll(members->kafka, members->held ? HELD_POLL_MS : timeout_ms);

	if (members->held)
		look_at_held(members);
	if (!message)
		return;
	if (message->err == RD_KAFKA_RESP_ERR__FATAL)
		take_fatal(members);
	else if (message->err)
		trouble(members, rd_kafka_message_errstr(message));
	rd_kafka_message_destroy(message);
}

/* A static member does not leave when its client is closed, but it does when it unsubscribes, once
 * its tasks are handed back. Closing then waits for the coordinator's answer: 5 s at most. */
static void leave(struct members *members)
{
	uint64_t until_ms = monotonic_ms() + LEAVE_MS;

	rd_kafka_unsubscribe(members->kafka);
	while (members->assigned && monotonic_ms() < until_ms)
		poll(members, POLL_MS);
	rd_kafka_consumer_close(members->kafka);
}

/* --- the client --- */

static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *error,
		size_t size)
{
	return rd_kafka_conf_set(conf, name, value, error, size) == RD_KAFKA_CONF_OK;
}

static bool set_ms(rd_kafka_conf_t *conf, const char *name, uint64_t ms, char *error, size_t size)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)ms);
	return set(conf, name, text, error, size);
}

static bool set_defaults(rd_kafka_conf_t *conf, char *error, size_t size)
{
	static const char *const defaults[][2] = {
		{"client.id", "millraced"},
		{"topic.metadata.refresh.interval.ms", "30000"},
		{"reconnect.backoff.ms", "50"},
		{"reconnect.backoff.max.ms", "1000"},
		{"socket.nagle.disable", "true"},
		{"log.connection.close", "false"},
		{"log_level", "3"},
	};
	bool ok = true;

	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]) && ok; i++)
		ok = set(conf, defaults[i][0], defaults[i][1], error, size);
	return ok;
}

/* Over kafka.properties, which are for all clients: on these the group's working depends. */
static bool set_group(rd_kafka_conf_t *conf, const struct members_options *options, char *error,
		      size_t size)
{
	uint64_t session_ms = options->session_ns / NS_PER_MS;
	uint64_t heartbeat_ms = session_ms / 3;
	char group[256];
	int length = snprintf(group, sizeof(group), "%s.instances", options->group);

	if (length < 0 || (size_t)length >= sizeof(group)) {
		snprintf(error, size, "the group's name %s is too long", options->group);
		return false;
	}
	if (heartbeat_ms > HEARTBEAT_MAX_MS)
		heartbeat_ms = HEARTBEAT_MAX_MS;
	return set(conf, "bootstrap.servers", options->brokers, error, size) &&
	       set(conf, "group.id", group, error, size) &&
	       set(conf, "group.instance.id", options->instance, error, size) &&
	       set(conf, "partition.assignment.strategy", "range", error, size) &&
	       set(conf, "enable.auto.commit", "false", error, size) &&
	       set_ms(conf, "session.timeout.ms", session_ms, error, size) &&
	       set_ms(conf, "heartbeat.interval.ms", heartbeat_ms, error, size) &&
	       set_ms(conf, "max.poll.interval.ms",
		      session_ms > MEMBERS_HANG_MS ? session_ms : MEMBERS_HANG_MS, error, size);
}

static rd_kafka_t *make_client(struct members *members, char *error, size_t size)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *kafka;

	if (!set_defaults(conf, error, size) ||
	    security_configure(&members->access, conf, error, size) ||
	    !set_group(conf, &members->options, error, size)) {
		rd_kafka_conf_destroy(conf);
		return NULL;
	}
	rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
	rd_kafka_conf_set_error_cb(conf, on_error);
	kafka = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, size);
	if (!kafka)
		rd_kafka_conf_destroy(conf);
	return kafka;
}

static void begin_client(struct members *members)
{
	security_begin(&members->access, members->kafka);
	rd_kafka_poll_set_consumer(members->kafka);
}

/* Callbacks come with the first poll. */
static bool subscribe(struct members *members, char *error, size_t size)
{
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_resp_err_t code;

	rd_kafka_topic_partition_list_add(topics, members->options.topic, RD_KAFKA_PARTITION_UA);
	code = rd_kafka_subscribe(members->kafka, topics);
	rd_kafka_topic_partition_list_destroy(topics);
	if (code)
		snprintf(error, size, "topic %s: %s", members->options.topic,
			 rd_kafka_err2str(code));
	return !code;
}

/* With a new client: after a fatal error the old one does nothing any more. */
static void join_again(struct members *members)
{
	rd_kafka_t *former = members->kafka;
	char sentence[512] = "";

	members->again = false;
	members->kafka = make_client(members, sentence, sizeof(sentence));
	if (members->kafka)
		begin_client(members);
	if (members->kafka && subscribe(members, sentence, sizeof(sentence))) {
		rd_kafka_destroy_flags(former, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
		return;
	}
	if (members->kafka)
		rd_kafka_destroy_flags(members->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	members->kafka = former;
	members->fenced = true;
	members->options.fenced(members->options.context, sentence);
}

static void *run(void *context)
{
	struct members *members = context;

	while (!atomic_load(&members->closing)) {
		poll(members, POLL_MS);
		if (members->again)
			join_again(members);
	}
	if (atomic_load(&members->leaving) && !members->fenced)
		leave(members);
	rd_kafka_destroy_flags(members->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	memory_free(members);
	return NULL;
}

/* --- life --- */

struct members *members_new(const struct members_options *options, char *error, size_t size)
{
	struct members *members;

	if (!knows_generations()) {
		snprintf(error, size, "librdkafka %s does not tell a group's generation",
			 rd_kafka_version_str());
		return NULL;
	}
	members = memory_zeroed(1, sizeof(*members));
	members->options = *options;
	members->access.security = options->security;
	atomic_store(&members->generation, -1);
	members->kafka = make_client(members, error, size);
	if (!members->kafka) {
		memory_free(members);
		return NULL;
	}
	begin_client(members);
	if (subscribe(members, error, size)) {
		if (pthread_create(&members->thread, NULL, run, members) == 0)
			return members;
		snprintf(error, size, "no thread could be made");
	}
	security_end(&members->access);
	rd_kafka_destroy_flags(members->kafka, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	memory_free(members);
	return NULL;
}

void members_release(struct members *members)
{
	atomic_store(&members->released, true);
}

struct members_stats members_stats(struct members *members)
{
	return (struct members_stats){
		.rebalances = atomic_load(&members->rebalances),
		.generation = atomic_load(&members->generation),
		.owned = atomic_load(&members->owned),
	};
}

bool members_close(struct members *members, bool leaving, int timeout_ms)
{
	pthread_t thread = members->thread;

	security_end(&members->access);
	atomic_store(&members->leaving, leaving);
	atomic_store(&members->closing, true);
	/* From here on it is the thread's, which frees it. */
	return join_within(thread, timeout_ms);
}
