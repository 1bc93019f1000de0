#include "daemon/exchange.h"

#include <assert.h>
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/inflow.h"
#include "daemon/outflow.h"
#include "daemon/writer.h"
#include "kafka/security.h"

enum {
	RECORDS_A_TURN = 256, /* before reports have their turn */
	POLL_MS = 100,	      /* should a wake-up be missed */
	QUERY_MS = 1000,
	WHY_BYTES = INFLOW_WHY_BYTES,
};

#define TELL_AGAIN_NS (1000 * NS_PER_MS)
#define RETRY_NS      (500 * NS_PER_MS)

#define COMMON_MAGIC  0x434d524dU /* "MRMC" */

/* Before each record for all. */
struct common_head {
	uint32_t magic, kind;
};

enum reading { READING_ON, READING_LOST, READING_STUCK };

struct partition {
	int64_t next; /* offset that is read next; -1: not assigned */
	enum reading reading;
};

/* In a position's stead: the partition is not read; it is read on. */
enum { POSITION_NONE = -1, POSITION_KEPT = -2 };

struct exchange {
	struct security_client access; /* first: the consumer's opaque */
	struct exchange_options options;
	rd_kafka_t *consumer;
	rd_kafka_topic_t *topic; /* the consumer's */
	rd_kafka_queue_t *queue; /* what it has read, of all partitions */
	struct writer *writer;
	struct outflow *outflow;
	int wake; /* eventfd */
	pthread_t thread;
	_Atomic bool closing;
	bool open;

	/* The thread's. */
	struct partition *partitions; /* of the tasks, then the common one */
	uint64_t retry_ns;	      /* not before then: looking for places again */
	uint64_t told_ns;	      /* when a loss was told last */

	/* Under the lock. Who waits for `moved` is one. */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	const int64_t *positions; /* to be read from, by partition; NULL: as it is */
	struct inflow *inflow;
	char lost[WHY_BYTES]; /* of the common partition, and nobody was told; "": nothing */

	_Atomic uint64_t sent, refused, errors;
};

static void count(_Atomic uint64_t *counter, uint64_t more)
{
	atomic_fetch_add_explicit(counter, more, memory_order_relaxed);
}

static void wake(struct exchange *exchange)
{
	eventfd_write(exchange->wake, 1);
}

static void on_trouble(void *context, const char *reason)
{
	struct exchange *exchange = context;
	const char *advice = security_advice(reason);
	char sentence[512];

	count(&exchange->errors, 1);
	snprintf(sentence, sizeof(sentence), "%s%s%s", reason, advice[0] ? ": " : "", advice);
	exchange->options.trouble(exchange->options.context, sentence);
}

/* --- what is told --- */

/* If it is still at hand; any that is: -1. */
static void break_run(struct exchange *exchange, int64_t run, const char *why)
{
	pthread_mutex_lock(&exchange->lock);
	if (run < 0 || inflow_run(exchange->inflow) == run)
		inflow_break(exchange->inflow, why);
	pthread_mutex_unlock(&exchange->lock);
	wake(exchange);
}

/* The common partition has a hole, for this instance or for all. */
static void lose(struct exchange *exchange, const char *why)
{
	pthread_mutex_lock(&exchange->lock);
	snprintf(exchange->lost, sizeof(exchange->lost), "%s", why);
	pthread_mutex_unlock(&exchange->lock);
	wake(exchange);
}

static void tell(struct exchange *exchange)
{
	uint64_t now_ns = uv_hrtime();
	char why[WHY_BYTES];
	bool broken, lost = false;

	pthread_mutex_lock(&exchange->lock);
	broken = inflow_broken(exchange->inflow, why);
	if (exchange->lost[0] &&
	    (broken || !exchange->told_ns || now_ns - exchange->told_ns >= TELL_AGAIN_NS)) {
		lost = true;
		if (!broken)
			memcpy(why, exchange->lost, sizeof(why));
		exchange->lost[0] = 0;
	}
	pthread_mutex_unlock(&exchange->lock);
	if (lost)
		exchange->told_ns = now_ns;
	if (broken || lost)
		exchange->options.on_broken(exchange->options.context, why);
}

static void on_lost(void *context, int64_t run, const char *why)
{
	if (run == WRITER_FOR_ALL)
		lose(context, why);
	else
		break_run(context, run, why);
}

static void on_renewed(void *context, const char *why)
{
	break_run(context, -1, why);
	lose(context, why);
}

/* --- the client that reads --- */

/* The queue holds two seconds of the heaviest load: a full one stops fetching for a second. */
static const char *const consumer_settings[][2] = {
	{"client.id", "millraced"},
	{"enable.auto.commit", "false"}, /* a member of no group */
	{"auto.offset.reset", "error"},
	{"check.crcs", "true"},
	{"fetch.wait.max.ms", "20"},
	{"fetch.min.bytes", "1"},
	{"fetch.message.max.bytes", "33554432"},
	{"fetch.max.bytes", "50331648"},
	{"receive.message.max.bytes", "67108864"},
	{"queued.min.messages", "100000"},
	{"queued.max.messages.kbytes", "131072"},
	{"fetch.error.backoff.ms", "100"},
	{"reconnect.backoff.ms", "50"},
	{"reconnect.backoff.max.ms", "1000"},
	{"socket.nagle.disable", "true"},
	{"topic.metadata.refresh.interval.ms", "30000"},
	{"log.connection.close", "false"},
	{"log_level", "3"}, /* errors come by on_error */
	{NULL, NULL},
};

static void on_error(rd_kafka_t *kafka, int code, const char *reason, void *opaque)
{
	(void)kafka;
	(void)code;
	on_trouble(opaque, reason);
}

static int consumer_make(struct exchange *exchange, char *error, size_t size)
{
	const struct exchange_options *options = &exchange->options;
	rd_kafka_conf_t *conf = security_conf(&exchange->access, options->security,
					      options->brokers, consumer_settings, error, size);

	if (!conf)
		return -EINVAL;
	rd_kafka_conf_set_error_cb(conf, on_error);
	exchange->consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, error, size);
	if (!exchange->consumer) {
		rd_kafka_conf_destroy(conf);
		return -EINVAL;
	}
	security_begin(&exchange->access, exchange->consumer);
	exchange->topic = rd_kafka_topic_new(exchange->consumer, exchange->options.topic, NULL);
	exchange->queue = rd_kafka_queue_new(exchange->consumer);
	rd_kafka_queue_io_event_enable(exchange->queue, exchange->wake, &(uint64_t){1},
				       sizeof(uint64_t));
	return 0;
}

/* Not by rd_kafka_assign: a second one before the first has stopped what was read before ends the
 * process in librdkafka 2.0.2. This waits until it has stopped. What was read before is dropped. */
static void read_from(struct exchange *exchange, uint32_t number, int64_t offset)
{
	struct partition *partition = &exchange->partitions[number];

	if (partition->next >= 0)
		rd_kafka_consume_stop(exchange->topic, (int32_t)number);
	*partition = (struct partition){.next = offset};
	if (offset < 0)
		return;
	if (rd_kafka_consume_start_queue(exchange->topic, (int32_t)number, offset,
					 exchange->queue)) {
		on_trouble(exchange, rd_kafka_err2str(rd_kafka_last_error()));
		partition->reading = READING_LOST;
	}
}

static void consumer_destroy(struct exchange *exchange)
{
	if (!exchange->consumer)
		return;
	security_end(&exchange->access);
	for (uint32_t i = 0; i <= exchange->options.tasks; i++)
		read_from(exchange, i, POSITION_NONE);
	rd_kafka_queue_destroy(exchange->queue);
	rd_kafka_topic_destroy(exchange->topic);
	rd_kafka_destroy_flags(exchange->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/* --- messages --- */

static void on_record(void *context, const struct outflow_record *record)
{
	struct exchange *exchange = context;
	rd_kafka_resp_err_t rc = writer_put(exchange->writer, record->home, record->bytes,
					    record->length, record->run);
	char why[WHY_BYTES];

	if (!rc) {
		count(&exchange->sent, record->messages);
		return;
	}
	snprintf(why, sizeof(why), "%u messages of %zu bytes for the instance of task %u: %s",
		 record->messages, record->length, record->home, rd_kafka_err2str(rc));
	break_run(exchange, record->run, why);
}

void exchange_send(struct exchange *exchange, uint32_t worker, struct message *message)
{
	outflow_send(exchange->outflow, worker, message);
}

void exchange_flush(struct exchange *exchange, uint32_t worker)
{
	outflow_flush(exchange->outflow, worker);
}

void exchange_say(struct exchange *exchange, uint32_t kind, const uint8_t *told, size_t length)
{
	struct common_head head = {.magic = COMMON_MAGIC, .kind = kind};
	uint8_t *bytes = memory_resize(NULL, sizeof(head) + length, 1);
	rd_kafka_resp_err_t rc;
	char why[WHY_BYTES];

	memcpy(bytes, &head, sizeof(head));
	if (length)
		memcpy(bytes + sizeof(head), told, length);
	rc = writer_put(exchange->writer, exchange->options.tasks, bytes, sizeof(head) + length,
			WRITER_FOR_ALL);
	if (!rc)
		return;
	snprintf(why, sizeof(why), "a record for all: %s", rd_kafka_err2str(rc));
	lose(exchange, why);
}

static void take_message(struct exchange *exchange, uint32_t partition, const uint8_t *bytes,
			 size_t length)
{
	pthread_mutex_lock(&exchange->lock);
	inflow_take(exchange->inflow, partition, bytes, length);
	pthread_mutex_unlock(&exchange->lock);
}

static void take_common(struct exchange *exchange, const rd_kafka_message_t *message)
{
	int64_t time_ms = rd_kafka_message_timestamp(message, NULL);
	struct common_head head;

	if (message->len >= sizeof(head))
		memcpy(&head, message->payload, sizeof(head));
	if (message->len < sizeof(head) || head.magic != COMMON_MAGIC) {
		count(&exchange->refused, 1);
		return;
	}
	exchange->options.on_common(exchange->options.context, head.kind, message->offset,
				    time_ms > 0 ? (uint64_t)time_ms : 0,
				    (const uint8_t *)message->payload + sizeof(head),
				    message->len - sizeof(head));
}

/* --- reading --- */

static void take_error(struct exchange *exchange, const rd_kafka_message_t *message)
{
	rd_kafka_resp_err_t rc = message->err;
	bool named = message->rkt && message->partition >= 0 &&
		     (uint32_t)message->partition <= exchange->options.tasks;
	char sentence[WHY_BYTES];

	snprintf(sentence, sizeof(sentence), "partition %d of %s at offset %lld: %s",
		 message->partition, exchange->options.topic, (long long)message->offset,
		 rd_kafka_message_errstr(message));
	on_trouble(exchange, sentence);
	if (!named)
		return;
	/* Retention overtook us, or the log was cut or made anew. */
	if (rc == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
	    rc == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
		exchange->partitions[message->partition].reading = READING_LOST;
	/* Else the same batch would be fetched again for ever. */
	if (rc == RD_KAFKA_RESP_ERR__BAD_COMPRESSION || rc == RD_KAFKA_RESP_ERR__BAD_MSG)
		exchange->partitions[message->partition].reading = READING_STUCK;
}

static void take_record(struct exchange *exchange, const rd_kafka_message_t *message)
{
	struct partition *partition;

	if (message->err) {
		take_error(exchange, message);
		return;
	}
	partition = &exchange->partitions[message->partition];
	/* Had before, or not ours any more. */
	if (partition->next < 0 || message->offset < partition->next)
		return;
	partition->next = message->offset + 1;
	if ((uint32_t)message->partition == exchange->options.tasks)
		take_common(exchange, message);
	else
		take_message(exchange, (uint32_t)message->partition, message->payload,
			     message->len);
}

/* Whether there may be more. */
static bool take_records(struct exchange *exchange)
{
	rd_kafka_poll(exchange->consumer, 0); /* its errors */
	for (int i = 0; i < RECORDS_A_TURN; i++) {
		rd_kafka_message_t *message = rd_kafka_consume_queue(exchange->queue, 0);

		if (!message)
			return false;
		take_record(exchange, message);
		rd_kafka_message_destroy(message);
	}
	return true;
}

/* For who waits in move(). */
static void take_positions(struct exchange *exchange)
{
	pthread_mutex_lock(&exchange->lock);
	inflow_take_held(exchange->inflow);
	if (exchange->positions) {
		for (uint32_t i = 0; i <= exchange->options.tasks; i++) {
			if (exchange->positions[i] != POSITION_KEPT)
				read_from(exchange, i, exchange->positions[i]);
		}
		exchange->positions = NULL;
		pthread_cond_signal(&exchange->moved);
	}
	pthread_mutex_unlock(&exchange->lock);
}

/* Where a partition goes on whose place the log does not have, or whose next record cannot be read.
 */
static rd_kafka_resp_err_t find_place(struct exchange *exchange, uint32_t number)
{
	struct partition *partition = &exchange->partitions[number];
	bool common = number == exchange->options.tasks;
	int64_t low, high, next = partition->next;
	rd_kafka_resp_err_t rc = writer_ends(exchange->writer, number, &low, &high, QUERY_MS);
	char why[WHY_BYTES];

	if (rc)
		return rc;
	if (partition->reading == READING_STUCK || next > high)
		read_from(exchange, number, high);
	else
		read_from(exchange, number, next < low ? low : next);
	snprintf(why, sizeof(why),
		 "partition %u of %s lost its place: from %lld it is read on at %lld", number,
		 exchange->options.topic, (long long)next, (long long)partition->next);
	break_run(exchange, -1, why);
	if (common)
		lose(exchange, why);
	return rc;
}

static void find_places(struct exchange *exchange)
{
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	if (uv_hrtime() < exchange->retry_ns)
		return;
	for (uint32_t i = 0; i <= exchange->options.tasks && !rc; i++) {
		if (exchange->partitions[i].next < 0 ||
		    exchange->partitions[i].reading == READING_ON)
			continue;
		rc = find_place(exchange, i);
	}
	if (rc)
		exchange->retry_ns = uv_hrtime() + RETRY_NS;
}

static void *read_all(void *context)
{
	struct exchange *exchange = context;
	struct pollfd wakes = {.fd = exchange->wake, .events = POLLIN};
	bool more = false;

	while (!atomic_load(&exchange->closing)) {
		eventfd_t times;

		if (poll(&wakes, 1, more ? 0 : POLL_MS) > 0)
			eventfd_read(exchange->wake, &times);
		writer_turn(exchange->writer);
		take_positions(exchange);
		more = take_records(exchange);
		find_places(exchange);
		tell(exchange);
	}
	return NULL;
}

/* --- for its owner --- */

static void exchange_free(struct exchange *exchange)
{
	if (exchange->writer)
		writer_free(exchange->writer);
	consumer_destroy(exchange);
	inflow_free(exchange->inflow);
	outflow_free(exchange->outflow);
	memory_free(exchange->partitions);
	pthread_mutex_destroy(&exchange->lock);
	pthread_cond_destroy(&exchange->moved);
	if (exchange->wake >= 0)
		close(exchange->wake);
	memory_free(exchange);
}

static struct exchange *exchange_make(const struct exchange_options *options)
{
	struct exchange *exchange = memory_zeroed(1, sizeof(*exchange));
	size_t tasks = options->tasks;

	exchange->options = *options;
	exchange->outflow = outflow_new(options->tasks, on_record, exchange);
	exchange->inflow = inflow_new(options->tasks, options->on_messages, options->context);
	exchange->partitions = memory_zeroed(tasks + 1, sizeof(*exchange->partitions));
	for (size_t i = 0; i <= tasks; i++)
		exchange->partitions[i].next = -1;
	pthread_mutex_init(&exchange->lock, NULL);
	pthread_cond_init(&exchange->moved, NULL);
	exchange->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return exchange;
}

struct exchange *exchange_new(const struct exchange_options *options, char *error, size_t size)
{
	struct exchange *exchange = exchange_make(options);
	struct writer_options writer = {.brokers = options->brokers,
					.security = options->security,
					.topic = options->topic,
					.wake = exchange->wake,
					.context = exchange,
					.lost = on_lost,
					.renewed = on_renewed,
					.trouble = on_trouble};
	int rc = exchange->wake < 0 ? -errno : 0;

	if (rc) {
		snprintf(error, size, "eventfd: %s", strerror(-rc));
	} else {
		exchange->writer = writer_new(&writer, error, size);
		rc = exchange->writer ? consumer_make(exchange, error, size) : -EINVAL;
	}
	if (!rc) {
		rc = pthread_create(&exchange->thread, NULL, read_all, exchange);
		if (rc)
			snprintf(error, size, "a thread: %s", strerror(rc));
	}
	if (!rc)
		return exchange;
	exchange_free(exchange);
	return NULL;
}

/* Of the topic; 0 with why: not known. */
static int count_partitions(struct exchange *exchange, int timeout_ms, char *why, size_t size)
{
	const char *topic = exchange->options.topic;
	const struct rd_kafka_metadata *metadata;
	rd_kafka_resp_err_t rc =
		rd_kafka_metadata(exchange->consumer, 0, exchange->topic, &metadata, timeout_ms);
	int partitions = 0;

	if (!rc) {
		rc = metadata->topic_cnt ? metadata->topics[0].err
					 : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		partitions = rc ? 0 : metadata->topics[0].partition_cnt;
		rd_kafka_metadata_destroy(metadata);
	}
	if (rc)
		snprintf(why, size, "topic %s at %s: %s", topic, exchange->options.brokers,
			 rd_kafka_err2str(rc));
	return partitions;
}

static int check_topic(struct exchange *exchange, int timeout_ms, char *why, size_t size)
{
	int partitions = count_partitions(exchange, timeout_ms, why, size);
	uint32_t tasks = exchange->options.tasks;

	if (partitions == 0)
		return -EAGAIN;
	if ((uint32_t)partitions == tasks + 1)
		return 0;
	snprintf(why, size,
		 "topic %s has %d partitions and must have %u: one for each of the %u tasks "
		 "(pipeline.tasks) and one for all",
		 exchange->options.topic, partitions, tasks + 1, tasks);
	return -EINVAL;
}

/* Has the thread read from there; the positions are lent. */
static void move(struct exchange *exchange, const int64_t *positions)
{
	pthread_mutex_lock(&exchange->lock);
	exchange->positions = positions;
	wake(exchange);
	while (exchange->positions)
		pthread_cond_wait(&exchange->moved, &exchange->lock);
	pthread_mutex_unlock(&exchange->lock);
}

static int left_ms(uint64_t deadline_ns)
{
	uint64_t now_ns = uv_hrtime();

	return now_ns < deadline_ns ? (int)((deadline_ns - now_ns) / NS_PER_MS) : 0;
}

/* Reads the partitions of ends from their ends, as they are now, and others as positions says. */
static int move_to_ends(struct exchange *exchange, int64_t *positions, const bool *ends,
			uint64_t deadline_ns, char *why, size_t size)
{
	rd_kafka_resp_err_t rc = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (uint32_t i = 0; i <= exchange->options.tasks && !rc; i++) {
		int64_t low;

		if (ends[i])
			rc = writer_ends(exchange->writer, i, &low, &positions[i],
					 left_ms(deadline_ns));
	}
	if (rc) {
		snprintf(why, size, "ends of %s: %s", exchange->options.topic,
			 rd_kafka_err2str(rc));
		return -EAGAIN;
	}
	move(exchange, positions);
	return 0;
}

int exchange_open(struct exchange *exchange, int timeout_ms, char *why, size_t size)
{
	uint64_t deadline_ns = uv_hrtime() + (uint64_t)timeout_ms * NS_PER_MS;
	uint32_t tasks = exchange->options.tasks;
	int64_t *positions;
	bool *ends;
	int rc;

	if (exchange->open)
		return 0;
	rc = check_topic(exchange, timeout_ms, why, size);
	if (rc)
		return rc;
	writer_warm(exchange->writer, left_ms(deadline_ns));
	positions = memory_zeroed(tasks + 1, sizeof(*positions));
	ends = memory_zeroed(tasks + 1, sizeof(*ends));
	for (uint32_t i = 0; i < tasks; i++)
		positions[i] = POSITION_NONE;
	ends[tasks] = true;
	rc = move_to_ends(exchange, positions, ends, deadline_ns, why, size);
	exchange->open = rc == 0;
	memory_free(positions);
	memory_free(ends);
	return rc;
}

int exchange_own(struct exchange *exchange, const struct task_set *tasks, int timeout_ms, char *why,
		 size_t size)
{
	uint64_t deadline_ns = uv_hrtime() + (uint64_t)timeout_ms * NS_PER_MS;
	uint32_t common = exchange->options.tasks;
	int64_t *positions = memory_zeroed(common + 1, sizeof(*positions));
	bool *ends = memory_zeroed(common + 1, sizeof(*ends));
	int rc;

	assert(exchange->open);
	for (uint32_t i = 0; i < common; i++)
		positions[i] = POSITION_NONE;
	if (task_set_count(tasks))
		ends[task_set_first(tasks)] = true;
	positions[common] = POSITION_KEPT;
	rc = move_to_ends(exchange, positions, ends, deadline_ns, why, size);
	memory_free(positions);
	memory_free(ends);
	return rc;
}

void exchange_begin(struct exchange *exchange, int64_t run, const uint32_t *homes)
{
	pthread_mutex_lock(&exchange->lock);
	inflow_begin(exchange->inflow, run, homes);
	pthread_mutex_unlock(&exchange->lock);
	outflow_begin(exchange->outflow, run, homes);
	wake(exchange);
}

void exchange_end(struct exchange *exchange)
{
	pthread_mutex_lock(&exchange->lock);
	inflow_end(exchange->inflow);
	pthread_mutex_unlock(&exchange->lock);
	outflow_end(exchange->outflow);
}

struct exchange_stats exchange_stats(struct exchange *exchange)
{
	struct writer_stats out = writer_stats(exchange->writer);
	struct inflow_stats in;

	pthread_mutex_lock(&exchange->lock);
	in = inflow_stats(exchange->inflow);
	pthread_mutex_unlock(&exchange->lock);
	return (struct exchange_stats){
		.sent = atomic_load(&exchange->sent),
		.sent_records = out.records,
		.sent_bytes = out.bytes,
		.received = in.received,
		.received_bytes = in.received_bytes,
		.repeated = in.repeated,
		.stale = in.stale + outflow_stale(exchange->outflow),
		.held = in.held,
		.unheld = in.unheld,
		.refused = in.refused + atomic_load(&exchange->refused),
		.failed = out.failed,
		.broken = in.broken,
		.errors = atomic_load(&exchange->errors),
	};
}

void exchange_close(struct exchange *exchange, int timeout_ms)
{
	const struct timespec pause = {.tv_nsec = (long)(5 * NS_PER_MS)};
	uint64_t deadline_ns = uv_hrtime() + (uint64_t)timeout_ms * NS_PER_MS;

	exchange_end(exchange);
	while (writer_queued(exchange->writer) > 0 && uv_hrtime() < deadline_ns)
		nanosleep(&pause, NULL);
	atomic_store(&exchange->closing, true);
	wake(exchange);
	pthread_join(exchange->thread, NULL);
	exchange_free(exchange);
}
