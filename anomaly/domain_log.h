/* The log of rows that failure domains are found in (domain.h), as it lies in memory: who ranks and
 * who compares both ends reads it here. Rows of panes stand sorted (edge, side, instance) once
 * their pane is closed; those of ten seconds in the order they came. Bounds: domain.h. Pure; one
 * thread. */
#pragma once

#include "anomaly/domain.h"
#include "anomaly/map.h"
#include "base/clock.h"

#define DOMAIN_WINDOW_NS (DOMAIN_WINDOW_PANES * PANE_NS)

/* Distinct zones of one ranking's lanes; what passes to and from others is of no pair. */
enum { DOMAIN_ZONES_MAX = 64 };

enum dimension {
	DIMENSION_INSTANCE,
	DIMENSION_VERSION,
	DIMENSION_NODE,
	DIMENSION_ZONE,
	DIMENSIONS
};

/* Of a row: rows of scope LANE have both. */
enum domain_side { DOMAIN_CLIENT, DOMAIN_SERVER, DOMAIN_LANE, DOMAIN_SIDES };

/* Who a row is of; of a lane its id and, as `name` and `process`, the zones of its client and its
 * server. */
struct domain_instance {
	uint64_t values[DIMENSIONS]; /* instance id, and name ids */
	uint64_t name, process;	     /* its container, else its process */
};

/* One instance's part of one pane. */
struct domain_row {
	uint64_t edge, server;
	struct domain_instance instance;
	uint32_t opened, failed, resets;
	uint32_t refused, unreachable; /* of those that failed */
	uint16_t port;
	uint8_t protocol;
	uint8_t side; /* enum domain_side */
};

/* And of ten seconds. */
struct domain_long_row {
	uint64_t edge, server;
	uint64_t bytes, srtt_us, connect_us;
	uint32_t srtts, retransmits, segments, active;
	uint32_t connects, opened, failed, resets;
	uint32_t lookups, lookups_failed;
	uint32_t instance; /* index */
	uint16_t port;
	uint8_t protocol;
	uint8_t side;
	bool told; /* by an agent at that side */
};

/* Ten seconds; each instance is in it once, in the order they came. */
struct domain_window {
	uint64_t start_ns; /* 0: none */
	struct domain_long_row *rows;
	struct domain_instance *instances;
	struct map numbers; /* of an instance: its index, plus 1 */
	uint32_t count, capacity, instances_count, instances_capacity;
};

struct domain_pane {
	struct domain_row *rows;
	uint32_t count, capacity;
	bool unsorted;
};

struct domain_log {
	struct domain_pane panes[DOMAIN_PANES];
	uint32_t head; /* the open pane */
	uint32_t rows_max, rows;
	struct domain_pane spare; /* memory of a forgotten pane, for the next one */
	struct domain_window windows[DOMAIN_WINDOWS]; /* newest first; from the third on, kept */
	uint64_t dropped;
	struct domain_leaf *leaves; /* of one ranking */
	uint32_t leaves_capacity;
};

static inline int compare_words(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

/* Of a lane's zones. */
static inline bool domain_lane_crosses(const struct domain_instance *lane)
{
	return lane->name && lane->process && lane->name != lane->process;
}

/* Whether a row of this edge is one of those that are asked for. */
bool domain_query_asks(const struct domain_query *query, uint64_t edge, uint64_t server,
		       uint16_t port, uint8_t protocol);
/* The first row of the edge in a closed pane, or where it would be. */
uint32_t domain_pane_find(const struct domain_pane *pane, uint64_t edge);
/* Which ten seconds say what is usual: the newest that ended before anything was wrong, as far as
 * is known, or else the oldest that began before. NULL: none of the last three minutes did. */
const struct domain_window *domain_log_usual(const struct domain_log *log, uint64_t started_ns);
