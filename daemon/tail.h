/* Reads whole topics of small state records from their beginning: alerts, deliveries, baselines; or
 * one from the position that was committed.
 * Finding the topics waits for the broker on a thread of libuv's pool, with backoff from 100 ms to
 * 2 s; all else is on the loop.
 *
 * `caught_up` is called once, when every partition was read to the end that it had; records go on
 * coming after. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct tail;
struct security;

struct tail_record {
	const char *topic;
	const uint8_t *key; /* NULL: none */
	size_t key_length;
	const uint8_t *value; /* NULL: a tombstone */
	size_t length;
	uint64_t append_ns;
	int32_t partition;
	int64_t offset;
	bool fresh; /* no position of its partition had been committed when the tail began */
};

struct tail_options {
	uv_loop_t *loop;
	const char *brokers;
	struct security *security; /* NULL: plain. Lent for the tail's life. */
	const char *const *topics; /* NULL at the end */
	/* The consumer group that keeps the positions of the one topic; NULL: none are kept. */
	const char *group;
	void *context;
	void (*record)(void *context, const struct tail_record *record);
	void (*caught_up)(void *context);		      /* may be NULL */
	void (*trouble)(void *context, const char *sentence); /* for the log */
};

/* NULL with error told when librdkafka refuses the settings. */
struct tail *tail_new(const struct tail_options *options, char *error, size_t size);

/* The next start goes on from this offset. It is sent and not waited for; the next commit makes up
 * for one that fails. Only with a group. */
void tail_commit(struct tail *tail, int32_t partition, int64_t offset);

/* Frees itself when its handles are gone; the loop must run on until then. No callback comes any
 * more. */
void tail_close(struct tail *tail);
