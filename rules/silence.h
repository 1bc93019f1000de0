/* A silence: of which incidents nobody is told for a while. And its record in millrace.silences
 * (proto/millrace/v1/silences.proto): signed bytes to a plain struct of bounded size and back. Who
 * writes to the topic is not trusted: what is beyond a bound is malformed, never cut. Pure; any
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/keys.h"
#include "anomaly/alert.h"
#include "base/clock.h"

enum {
	SILENCE_BYTES_MAX = 4096,
	SILENCE_ID_BYTES = 65, /* with the NUL, here and below */
	SILENCE_KEY_BYTES = SILENCE_ID_BYTES + 8,
	SILENCE_AUTHOR_BYTES = 256,
	SILENCE_COMMENT_BYTES = 1025,
	SILENCE_WHY_BYTES = 160,
};

#define SILENCE_PREFIX	   "silence/" /* of a record's key */

#define SILENCE_LENGTH_MAX (366 * 86400 * NS_PER_S)

enum silence_state { SILENCE_ACTIVE, SILENCE_PENDING, SILENCE_EXPIRED };

struct silence {
	char id[SILENCE_ID_BYTES]; /* a-z, 0-9 and '-' */
	uint64_t issued_ns;
	uint64_t starts_ns, ends_ns; /* ended before its time: when that was asked for */
	/* Globs; empty matches all. At least one of these five is given. */
	char monitor[ALERT_NAME_MAX], client[ALERT_NAME_MAX], server[ALERT_NAME_MAX];
	uint16_t port;			   /* 0: any */
	bool one_severity;		   /* else any */
	uint32_t severity;		   /* enum alert_severity, of the episode */
	char author[SILENCE_AUTHOR_BYTES]; /* address of who asked for it */
	char created_by[SILENCE_AUTHOR_BYTES];
	char comment[SILENCE_COMMENT_BYTES];
	uint8_t mac[SEAL_MAC_BYTES]; /* of the record that it was read from; 0: not signed */
	bool lost;		     /* the topic's last record of its id is another by now */
};

/* The record's key. */
void silence_key(const struct silence *silence, char key[SILENCE_KEY_BYTES]);

/* Whether all is within the bounds that readers hold a silence to. why (may be NULL, here and
 * below) says what is not. */
bool silence_check(const struct silence *silence, char why[SILENCE_WHY_BYTES]);

enum silence_state silence_state(const struct silence *silence, uint64_t now_ns);
const char *silence_state_name(uint32_t state); /* active, pending, expired */

/* Of one episode, whatever the time. */
bool silence_matches(const struct silence *silence, const struct alert_member *episode);

/* Of bytes that are believed already. */
bool silence_read(const uint8_t *bytes, size_t length, struct silence *silence,
		  char why[SILENCE_WHY_BYTES]);
/* Signed with one of these keys; without keys signatures are not looked at. */
bool silence_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
		    struct silence *silence, char why[SILENCE_WHY_BYTES]);
/* Of a good silence, into SILENCE_BYTES_MAX bytes, signed if key is given. Its length. */
size_t silence_write(const struct silence *silence, const uint8_t *key, uint8_t *bytes);
