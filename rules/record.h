/* A record of millrace.rules (proto/millrace/v1/rules.proto): signed bytes to a plain struct of
 * bounded size and back. Who writes to the topic is not trusted: what is beyond a bound is
 * malformed, never cut. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/keys.h"
#include "anomaly/monitor.h"

enum {
	RULE_BYTES_MAX = 4096,
	RULE_ID_BYTES = 256, /* with the NUL, here and below */
	RULE_AUTHOR_BYTES = 256,
	RULE_WHY_BYTES = 160,
};

struct rule {
	char id[RULE_ID_BYTES];
	uint64_t issued_ns;
	bool withdrawn;
	char author[RULE_AUTHOR_BYTES];
	struct monitor monitor;
};

/* The id of the monitor of this name. */
void rule_monitor_id(const char *name, char id[RULE_ID_BYTES]);

/* Whether all is within the bounds that readers hold a rule to. why (may be NULL, here and below)
 * says what is not. */
bool rule_check(const struct rule *rule, char why[RULE_WHY_BYTES]);

/* Of bytes that are believed already: a batch of the log is signed as a whole. */
bool rule_read(const uint8_t *bytes, size_t length, struct rule *rule, char why[RULE_WHY_BYTES]);
/* Signed with one of these keys; without keys signatures are not looked at. */
bool rule_accept(const uint8_t *bytes, size_t length, const struct keys *keys, struct rule *rule,
		 char why[RULE_WHY_BYTES]);
/* Of a good rule, into RULE_BYTES_MAX bytes, signed if key is given. Its length. */
size_t rule_write(const struct rule *rule, const uint8_t *key, uint8_t *bytes);
