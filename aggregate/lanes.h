/* The lanes that one ingest task's halves are in, and what its owners were told. A lane is
 * interned by (class of the client, class of the server, port, protocol), where a class is a
 * workload in a zone and version, found once for each number of the roster. A lane's number is its
 * place among its owner's lanes and the owner below it: an owner's numbers are dense, and a record
 * finds its owner without a look-up. Number 0 is no lane. A lane without users leaves when
 * lanes_settle is called; at lanes_max the newcomer gets number 0. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/row_index.h"
#include "base/identity.h"
#include "base/label.h"
#include "base/roster.h"

/* All that a lane is found by: who it is, when it is to be told, follows from its classes. */
struct lane_key {
	uint32_t client_class, server_class;
	uint32_t service; /* port << 8 | protocol */
};

struct lane_entry {
	struct lane_key key; /* classes 0: vacant */
	uint32_t next;	     /* vacant */
};

struct lane_slot {
	struct lane_key key;
	uint32_t number; /* 0: empty */
};

/* What an owner must be told in its next bucket. */
struct lane_owner {
	struct lane_entry *entries; /* by place; 0 is not used */
	uint32_t *users;	    /* by place, apart: they change with each half */
	uint32_t used, capacity, vacant;
	uint32_t *due; /* numbers of lanes */
	uint32_t due_count, due_capacity;
};

struct lane_known;
struct lane_class;

struct lanes {
	const struct roster *roster;
	struct lane_owner *owners;
	uint32_t owners_count, owner_bits, lanes_max, count;
	struct lane_slot *slots; /* open addressing, at most half full */
	uint32_t slots_mask;
	uint32_t *leaving;
	uint32_t leaving_count, leaving_capacity;

	/* By number of the roster. told: a bit an owner, 1 << told_shift words each. */
	struct lane_known *known;
	uint64_t *told;
	uint32_t known_count, told_shift;

	struct lane_class *classes; /* 0 is not used */
	uint32_t classes_used, classes_capacity, classes_vacant;
	struct row_index classes_index;
};

void lanes_init(struct lanes *lanes, const struct roster *roster, uint32_t owners,
		uint32_t lanes_max);
void lanes_done(struct lanes *lanes);
/* Answers each, with one more user. */
void lanes_hold(struct lanes *lanes, struct lane_wanted *wanted, size_t count);
void lanes_drop(struct lanes *lanes, uint32_t number);
/* After the pane's last bucket: lanes without users leave, and one in NAMES_REFRESH_PANES of the
 * lanes and instances is to be told anew. */
void lanes_settle(struct lanes *lanes, uint64_t pane);

static inline uint32_t lane_owner_of(const struct lanes *lanes, uint32_t number)
{
	return number & ((1U << lanes->owner_bits) - 1);
}

static inline uint32_t lane_place(const struct lanes *lanes, uint32_t number)
{
	return number >> lanes->owner_bits;
}

/* False: it was held and has left. */
bool lane_describe(const struct lanes *lanes, uint32_t number, struct edge *edge,
		   struct lane *lane);

static inline struct lane_entry *lane_at(const struct lanes *lanes, uint32_t number)
{
	return &lanes->owners[lane_owner_of(lanes, number)].entries[lane_place(lanes, number)];
}

static inline uint32_t *lane_users(const struct lanes *lanes, uint32_t number)
{
	return &lanes->owners[lane_owner_of(lanes, number)].users[lane_place(lanes, number)];
}

/* Both instances are known to the owner; numbers with which a lane was held. */
static inline bool lanes_told(const struct lanes *lanes, uint32_t client, uint32_t server,
			      uint32_t owner)
{
	const uint64_t *told = lanes->told + (owner >> 6);
	uint64_t both = told[(size_t)client << lanes->told_shift] &
			told[(size_t)server << lanes->told_shift];
	return both >> (owner & 63) & 1;
}

/* Returns whether it was not told before; number 0 always was. */
static inline bool lanes_tell(struct lanes *lanes, uint32_t instance, uint32_t owner)
{
	uint64_t *told = &lanes->told[((size_t)instance << lanes->told_shift) + (owner >> 6)];
	bool fresh = !(*told >> (owner & 63) & 1);
	*told |= 1ULL << (owner & 63);
	return fresh;
}
