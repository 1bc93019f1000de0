/* The panes that are still open: each a log of small events in the order in which they came, so the
 * events of one batch keep its order of groups. A ring of PANES_OPEN panes, keyed by pane number;
 * the memory of a closed pane goes to the next one that opens, while it is warm. Bounded:
 * events_max over all panes. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/delta.h"
#include "base/tuple.h"

enum {
	PANES_OPEN = 512, /* 128 s: what a caller may lag, and 20 s that records run ahead */
	PANES_SPARE = 4,  /* as many as are filled at once in an orderly log */
};

enum event_kind {
	EVENT_NODE,  /* a batch came */
	EVENT_RESET, /* another start of the agent, or silence: all that was is gone */
	EVENT_CONTAINER,
	EVENT_PROCESS,
	EVENT_EXIT,
	EVENT_NAT,
	EVENT_DEFINITION,
	EVENT_UPDATE,
	EVENT_CLOSE,
	EVENT_KINDS,
};

/* Every event begins so. numbered: the agent counted it; false for what the mirror adds. */
struct event {
	uint8_t kind; /* enum event_kind */
	bool late, numbered;
	uint32_t node;
	uint32_t incarnation;
	uint32_t half, generation; /* of socket events */
	uint64_t time_ns;
};

struct node_event {
	struct event event;
	uint32_t received;
	int64_t lost;
};

struct reset_event {
	struct event event;
	bool rebooted, silent;
};

struct container_event {
	struct event event;
	uint64_t cgroup;
	uint64_t workload, container, name, unit, version;
};

struct process_event {
	struct event event;
	uint64_t pid, started_ns, cgroup, name, workload;
};

struct exit_event {
	struct event event;
	uint64_t pid, started_ns;
};

struct nat_event {
	struct event event;
	struct tuple from, to;
	bool ended;
};

struct definition_event {
	struct event event;
	struct tuple seen;
	uint8_t side;
	bool fresh;	/* the first of this half */
	uint16_t flags; /* enum half_flag */
	uint32_t pid, gaps, srtt_us, min_rtt_us;
	uint64_t cgroup, opened_ns, connect_us;
	struct traffic total;
};

struct update_event {
	struct event event;
	uint32_t srtt_us, tx_segments, rx_segments, retransmits;
	uint64_t tx_bytes, rx_bytes;
};

struct close_event {
	struct event event;
	uint32_t reason, pid, gaps, min_rtt_us;
	uint64_t connect_us;
	struct traffic total;
};

struct pane {
	uint64_t number;
	uint8_t *bytes;
	size_t length, capacity;
	uint64_t events; /* numbered ones */
};

struct spare {
	uint8_t *bytes;
	size_t capacity;
};

struct panes {
	struct pane ring[PANES_OPEN];
	struct spare spares[PANES_SPARE];
	int spares_count;
	uint64_t pending, events_max; /* numbered events, over all */
};

void panes_init(struct panes *panes, uint64_t events_max);
void panes_done(struct panes *panes);

/* Appends a copy of size bytes. False, and nothing is kept, when events_max numbered events wait,
 * or the pane's place is taken by one that the caller has not closed. */
bool panes_put(struct panes *panes, uint64_t number, const struct event *event, size_t size);

/* NULL if nothing came for it. */
struct pane *panes_get(struct panes *panes, uint64_t number);
void panes_clear(struct panes *panes, struct pane *pane);

/* The event at *offset, which moves on; NULL at the end. */
const struct event *pane_next(const struct pane *pane, size_t *offset);
