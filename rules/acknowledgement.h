/* That somebody attends to an incident, until it resolves or fires again. And its record in
 * millrace.silences (proto/millrace/v1/silences.proto), as that of a silence. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/keys.h"
#include "anomaly/alert.h"
#include "rules/silence.h"

#define ACKNOWLEDGEMENT_PREFIX "acknowledgement/"

enum { ACKNOWLEDGEMENT_KEY_BYTES = sizeof(ACKNOWLEDGEMENT_PREFIX) + ALERT_KEY_TEXT };

struct acknowledgement {
	char key[ALERT_KEY_TEXT]; /* of the incident */
	uint64_t issued_ns;
	uint64_t reopened_ns;		   /* of the incident: while it is that */
	char author[SILENCE_AUTHOR_BYTES]; /* address of who asked for it */
	char created_by[SILENCE_AUTHOR_BYTES];
	char comment[SILENCE_COMMENT_BYTES];
	uint8_t mac[SEAL_MAC_BYTES]; /* of the record that it was read from; 0: not signed */
	bool lost;		     /* as a silence's */
};

/* The record's key. */
void acknowledgement_key(const struct acknowledgement *acknowledgement,
			 char key[ACKNOWLEDGEMENT_KEY_BYTES]);
/* Whether all is within the bounds that readers hold it to; why as of silence_check, here and
 * below. */
bool acknowledgement_check(const struct acknowledgement *acknowledgement,
			   char why[SILENCE_WHY_BYTES]);
/* Of the incident as it is: it was not opened again since. */
bool acknowledgement_holds(const struct acknowledgement *acknowledgement,
			   const struct alert *alert);

/* As silence_accept and silence_write; SILENCE_BYTES_MAX too. */
bool acknowledgement_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
			    struct acknowledgement *acknowledgement, char why[SILENCE_WHY_BYTES]);
size_t acknowledgement_write(const struct acknowledgement *acknowledgement, const uint8_t *key,
			     uint8_t *bytes);
