/* The control record of the topic millrace.control (proto/millrace/v1/control.proto): signed bytes
 * to a plain struct of bounded size and back, and whether it selects a node. What is beyond a bound
 * is malformed, never cut. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/batch/batch.h"
#include "agent/batch/keys.h"

enum {
	CONTROL_ID_BYTES = 65, /* with the NUL, here and below */
	CONTROL_TEXT_BYTES = 256,
	CONTROL_NODES_MAX = 16,
	CONTROL_LABELS_MAX = 8,
	CONTROL_FEATURES_MAX = 16,
	CONTROL_NAME_BYTES = 32, /* a feature's name */
	CONTROL_SCOPE_MAX = 16,
	CONTROL_BYTES_MAX = 16384, /* of an encoded record */
};
#define CONTROL_LIFE_MAX_NS (30 * 86400 * (uint64_t)1000000000)

struct control_label {
	char key[CONTROL_TEXT_BYTES], value[CONTROL_TEXT_BYTES];
};

struct control_selector {
	uint32_t nodes_count, labels_count;
	char nodes[CONTROL_NODES_MAX][CONTROL_TEXT_BYTES];
	char zone[CONTROL_TEXT_BYTES], region[CONTROL_TEXT_BYTES], role[CONTROL_TEXT_BYTES];
	struct control_label labels[CONTROL_LABELS_MAX];
};

struct control_feature {
	char name[CONTROL_NAME_BYTES];
	bool on;
};

/* 0, or a count of 0, leaves what is configured. */
struct control_settings {
	uint32_t scan_period_ms, batch_interval_ms;
	double cpu_budget;
	uint32_t features_count, scope_count;
	bool scoped;
	struct control_feature features[CONTROL_FEATURES_MAX];
	char scope[CONTROL_SCOPE_MAX][CONTROL_TEXT_BYTES];
};

struct control {
	char id[CONTROL_ID_BYTES];
	uint64_t issued_ns, expires_ns;
	bool withdrawn;
	struct control_selector selector;
	struct control_settings settings;
	char author[CONTROL_TEXT_BYTES];
};

/* What a node may be selected by; NULL is empty. */
struct control_target {
	const char *node, *zone, *region, *role;
	const struct batch_label *labels;
	uint32_t labels_count;
};

enum control_verdict { CONTROL_GOOD, CONTROL_MALFORMED, CONTROL_UNSIGNED, CONTROL_FORGED };

/* Of a record that any of the deployment's keys signed; without keys signatures are not looked at.
 * why (may be NULL) says what is malformed. */
enum { CONTROL_WHY_BYTES = 128 };
enum control_verdict control_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
				    struct control *control, char why[CONTROL_WHY_BYTES]);

/* Whether all is within the bounds that readers hold a record to. */
bool control_check(const struct control *control, char why[CONTROL_WHY_BYTES]);

/* Into CONTROL_BYTES_MAX bytes, signed if key is given. Its length, or 0: it is too long. */
size_t control_write(const struct control *control, const uint8_t *key, uint8_t *bytes);

bool control_selects(const struct control_selector *selector, const struct control_target *target);
