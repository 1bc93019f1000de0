/* The silences and acknowledgements of millrace.silences: reads the topic whole, believes what one
 * of the keyring's keys signed, and says of which incidents nobody is to be told now, and to which
 * somebody attends. Every instance reads along; the one that leads also keeps the topic: what a
 * former key signed is written again, signed by the first, and so is what stands where the topic's
 * last record of its key is another (an older one, or none: somebody without the key, or two who
 * wrote at once); what expired keep_ns ago, or was acknowledged long ago, is taken back.
 *
 * Bounds: those of rules/silencebook.h and rules/acknowledgements.h. What is no good record, or
 * finds no room, is counted and told. The service loop's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "rules/acknowledgements.h"
#include "rules/silencebook.h"

struct keyring;
struct outputs;
struct security;
struct silences;

/* All lent for its life. */
struct silences_options {
	uv_loop_t *loop;
	const char *brokers;
	struct security *security;
	struct outputs *outputs;
	const struct keyring *keyring; /* the first of its keys signs; none: not signed */
	uint32_t silences_max, acknowledgements_max;
	uint64_t keep_ns;
	/* What is silenced may be another: a record came, one began or ended, or all were read. */
	void (*changed)(void *context);
	/* A record of the topic that may be believed, and whether it stands now. */
	void (*taken)(void *context, const struct silence *silence, bool stands);
	void (*acknowledged)(void *context, const struct acknowledgement *one, bool stands);
	void (*trouble)(void *context, const char *sentence);
	void *context;
};

struct silences_stats {
	struct silencebook_stats known;
	uint64_t acknowledgements; /* known now */
	uint64_t malformed;	   /* records that are neither, or that no key in force signed */
};

struct silences *silences_new(const struct silences_options *options);
/* Begins to read the topic, which need not be there yet. */
void silences_start(struct silences *silences);
void silences_lead(struct silences *silences, bool leads);

/* Whether the topic was read to the end that it had. */
bool silences_read(const struct silences *silences);
const struct silencebook *silences_book(const struct silences *silences);
const struct acknowledgements *silences_acknowledgements(const struct silences *silences);
/* Into the topic, signed; it stands when it comes back. */
void silences_write(struct silences *silences, const struct silence *silence);
void silences_acknowledge(struct silences *silences, const struct acknowledgement *one);
struct silences_stats silences_stats(const struct silences *silences);

/* The loop must run until its handles are gone; free it then. */
void silences_close(struct silences *silences);
void silences_free(struct silences *silences);
