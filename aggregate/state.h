/* Inside of an aggregate, shared by its files: merge.c adds buckets to it, guard.c decides which
 * rows live, live.c makes and removes them, publish.c empties it into rollups.
 *
 *   source, lane number ─► lane_row ─► way ─► edge_lines: the pane of its edge
 *                                       ├───► part: the lane's 10 s
 *          instance numbers ──────────────┴──► part: theirs, by edge and instance
 *   edge_row ─► parts (lists by scope), minute and hour (frozen); edge_lines: its second and 10 s
 *
 * A lane_row is known while a source's number stands for it, so sources' lanes_max bound them, and
 * lives while it has a part. A delta is added to its edge's pane and to three parts. Of what
 * happens to connections the pane keeps a list too; it becomes rows of parts at the pane's end, of
 * edges under suspicion alone. Only what was touched in a pane is walked at its end. Places are
 * numbers; 0 is none. */
#pragma once

#include "aggregate/aggregate.h"
#include "aggregate/frozen.h"
#include "aggregate/hot.h"
#include "aggregate/part.h"
#include "aggregate/row_index.h"
#include "aggregate/sum.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/name.h"
#include "base/roster.h"
#include "base/sketch.h"

enum {
	LANE_OTHER = 1,	     /* `_other` -> `_other`: always known */
	EDGES_MAX = 1 << 20, /* an edge's number and a sketch index share a word */
	PANE_FIELD = 21,     /* bits */
	CHUNK_ROWS = 64,
	CHUNK_CELLS = 4 * SKETCH_INDEXES,
	NOWHERE = UINT32_MAX,
	SUSPICION_PANES = 40, /* how long an edge is under suspicion after its last trouble */
};

struct list {
	uint32_t *items;
	uint32_t count, capacity;
};

static inline void list_add(struct list *list, uint32_t item)
{
	if (list->count == list->capacity) {
		list->capacity = (uint32_t)memory_grown(list->capacity, list->count + 1);
		list->items = memory_resize(list->items, list->capacity, sizeof(*list->items));
	}
	list->items[list->count++] = item;
}

/* What a source's numbers stand for here; 0: not told. */
struct source {
	uint32_t *lanes, *instances;
	uint32_t lanes_count, instances_count;
};

/* Where a lane's deltas count. */
struct lane_way {
	uint32_t part; /* its own, or of what it folds into in this pane; 0: to be looked up */
	uint32_t edge; /* of its instances */
};

struct lane_row {
	struct edge edge;
	struct lane lane;
	uint32_t users; /* numbers of sources that stand for it */
	uint32_t part;	/* 0: not live */
	uint32_t next;	/* vacant */
};

/* An edge in one of its short windows. */
struct edge_line {
	struct hot hot; /* its edge: 0 until it is touched */
	struct life life;
	/* Of a pane: pane, 1 s, 10 s in 21 bits each; of the others: 1 s, 10 s in 32. Then 60 s,
	 * 1 h in 32. */
	uint64_t active[2];
};
_Static_assert(sizeof(struct edge_line) == 128, "an edge's window is two cache lines");

/* A pane flows into its second, that into its 10 s. */
struct edge_lines {
	struct edge_line pane, second, ten;
};

/* What happened to a connection in the pane at hand, and where its delta counted. */
struct event {
	uint32_t lane, client, server; /* lane row, instances */
	uint32_t bits;		       /* of the record */
	uint64_t connect_us;	       /* 0: none */
	uint32_t received, lost;
	uint32_t edge, parts[3]; /* unless rows have moved since */
	uint32_t next[3];	 /* of the parts' tellings, + 1; 0: none */
};

/* A connect time, in the lists of its edge, lane and instances, newest first. */
struct sample {
	uint32_t next[SCOPES];
	uint16_t code; /* sketch index */
	bool late;     /* in 10 s and longer only */
};

/* Ahead: what panes and seconds read. */
struct edge_row {
	struct edge edge;
	uint32_t samples;
	uint8_t published; /* bit w: the last window w went out and was not the zero row */
	bool live, folded, fresh, shown, is_other;
	uint32_t parts[SCOPES];	 /* lists; none of SCOPE_EDGE */
	uint32_t others[SCOPES]; /* of parts: those that stand for others */
	uint32_t count;		 /* parts that do not stand for others */
	uint32_t fresh_count;	 /* of these: made in the pane at hand */
	uint32_t next;		 /* vacant */
	uint64_t trouble;	 /* the last pane in which a connection failed, or broke; 0: none */
	uint64_t weight;	 /* connections of the last 10 s window */
	struct frozen minute, hour;
};

/* A row that tells what happened to its connections. */
struct told {
	uint64_t id;
	uint32_t row, scope, member;
	uint32_t events; /* the newest of them, + 1 */
	uint32_t next;	 /* of the row's edge; 0: none */
};

/* What a pane tells of edges under suspicion. */
struct telling {
	struct told *items; /* 0 is not used */
	uint32_t count, capacity;
	uint32_t *first; /* by place of the edge; all 0 between panes */
	uint32_t first_capacity;
	struct told *sorted; /* of one edge */
	uint32_t sorted_capacity;
};

/* Rows on their way out; cells are theirs until they are out. */
struct chunk {
	struct rollup rows[CHUNK_ROWS];
	struct sketch_cell cells[CHUNK_CELLS];
	uint32_t count, cells_count;
};

/* A distribution while it is counted; all zero between uses. */
struct tallied {
	uint32_t counts[SKETCH_INDEXES];
	uint64_t bits[SKETCH_INDEXES / 64]; /* of counts that are not zero */
	uint64_t octaves;		    /* of bits */
};
_Static_assert(SKETCH_INDEXES % 64 == 0 && SKETCH_INDEXES / 64 <= 64, "octaves are bits of a word");

struct aggregate {
	struct aggregate_options options;
	struct names *names;
	struct roster *instances;
	struct source *sources;
	uint64_t start_ns; /* of the pane at hand; 0: none yet */
	struct edge other;

	struct lane_row *lanes;
	struct lane_way *ways; /* by lane */
	uint32_t lanes_used, lanes_capacity, lanes_vacant, lanes_sweep;
	struct row_index lanes_index;
	struct edge_row *edges;
	struct edge_lines *lines; /* by edge */
	void *lines_memory;
	uint32_t *places; /* by edge: in the order of output, or NOWHERE */
	uint32_t edges_used, edges_capacity, edges_vacant, edges_count;
	struct row_index edges_index;
	struct list order; /* live edges by id */
	struct parts parts;
	struct sums sums;
	/* Live rows: of their own, standing for others of their edge, of edges that stand for
	 * others; servers: such edges but the last one. */
	uint32_t regular, folded, global, servers;
	bool full;    /* no row of its own was free when the pane began */
	bool crowded; /* an edge has more rows than its share */
	bool pressed; /* something was folded since rows were demoted */
	struct list fresh_edges, fresh_parts;

	uint32_t pane_records; /* since fields of `active` were emptied */
	struct list ways_set;  /* lanes whose way is good for this pane only */
	struct event *events;
	uint32_t events_count, events_capacity;
	bool moved; /* rows did, in this pane */
	struct sample *samples;
	uint32_t samples_count, samples_capacity;
	uint32_t *srtt;				       /* edge << 12 | sketch index, of the 10 s */
	uint32_t srtt_count, srtt_capacity, srtt_pane; /* srtt_pane: the pane's begin here */

	struct list touched;	       /* edges of the pane */
	struct list seconds;	       /* edges of the 1 s window */
	uint64_t trouble;	       /* the newest of an edge */
	struct list shown[WINDOW_10S]; /* edges that the last window published */
	struct list scratch;
	struct telling telling;
	uint64_t *walk; /* bit: the edge at this place of the order goes out */
	uint32_t walk_capacity;
	struct thawed thawed, ten; /* scratch */
	uint32_t *srtt_starts;
	uint16_t *srtt_codes;
	struct tallied tallied;
	struct chunk chunk;
	struct rollup *amendments; /* for windows that are closed, as they came */
	size_t amendments_count, amendments_capacity;
	struct aggregate_stats stats;
};

static const uint64_t window_ns[WINDOWS] = {PANE_NS, NS_PER_S, 10 * NS_PER_S, 60 * NS_PER_S,
					    3600 * NS_PER_S};

static inline uint64_t window_start(uint64_t time_ns, enum window window)
{
	return time_ns - time_ns % window_ns[window];
}

/* --- live.c --- */

uint32_t edge_find(const struct aggregate *aggregate, uint64_t id);
uint32_t edge_make(struct aggregate *aggregate, const struct edge *edge, bool folded);
void edge_remove(struct aggregate *aggregate, uint32_t edge); /* it has no lanes and parts */
/* Its pane, which has something in it from now on. */
struct edge_line *edge_touch(struct aggregate *aggregate, uint32_t edge);
/* The edge's sum of the 10 s at hand, which has something in it from now on. */
struct sum *edge_ten(struct aggregate *aggregate, uint32_t edge);
struct sum *line_wide(struct aggregate *aggregate, struct edge_line *line);
/* Moves all of a pane, or of a longer line, to sum, which is all zero and not of the pool. */
void pane_into(struct aggregate *aggregate, struct edge_line *pane, struct sum *sum);
void line_into(struct aggregate *aggregate, struct edge_line *line, struct sum *sum);
/* Moves all of it to another, which is the edge's; neither is a pane. */
void line_flow(struct aggregate *aggregate, struct edge_line *line, struct edge_line *to,
	       uint32_t edge);
/* The same, of a pane. */
void pane_flow(struct aggregate *aggregate, struct edge_line *pane, struct edge_line *to,
	       uint32_t edge);

/* Connections active in the pane itself. */
static inline uint32_t pane_active(const struct edge_line *pane)
{
	return pane->active[0] & ((1U << PANE_FIELD) - 1);
}

/* Known from now on, if it was not. */
uint32_t lane_know(struct aggregate *aggregate, const struct edge *edge, const struct lane *lane);
void lane_forget(struct aggregate *aggregate, uint32_t lane); /* it does not live */

uint32_t part_enter(struct aggregate *aggregate, uint32_t edge, uint32_t member, enum scope scope,
		    bool folded);
void part_leave(struct aggregate *aggregate, uint32_t part); /* its edge's list is the caller's */
struct sum *part_wide(struct aggregate *aggregate, struct part *part);
/* Moves all of it to sum, the same. */
void part_into(struct aggregate *aggregate, struct part *part, struct sum *sum);
/* Identity of its lane or instance. */
uint64_t part_id(const struct aggregate *aggregate, const struct part *part);
void live_sort(struct aggregate *aggregate); /* new edges into the order */
/* Edges that were removed leave the order. */
void live_unsort(struct aggregate *aggregate);

static inline const struct instance *instance_at(const struct aggregate *aggregate, uint32_t number)
{
	return roster_at(aggregate->instances, number);
}

/* --- guard.c --- */

/* Where contributions go: made where missing, folded where there is no room. */
uint32_t guard_edge(struct aggregate *aggregate, const struct edge *edge);
uint32_t guard_lane(struct aggregate *aggregate, uint32_t lane); /* a part */
uint32_t guard_part(struct aggregate *aggregate, uint32_t edge, uint32_t instance,
		    enum scope scope);
/* Where an edge and a part of it counted in this pane, after the settlement; 0: nowhere. */
uint32_t guard_seek_edge(const struct aggregate *aggregate, const struct edge *edge);
uint32_t guard_seek_part(const struct aggregate *aggregate, uint32_t edge, uint32_t member,
			 enum scope scope);
void guard_begin(struct aggregate *aggregate); /* a pane */
/* Room for `more` parts, at the price of a settlement. */
void guard_reserve(struct aggregate *aggregate, uint32_t more);
void guard_settle(struct aggregate *aggregate);
/* If anything was folded and rows are nearly all taken, the edges of least weight make room. Only
 * right after the 10 s window was published. */
void guard_demote(struct aggregate *aggregate);

/* --- publish.c --- */

void publish_pane(struct aggregate *aggregate);
void publish_amendments(struct aggregate *aggregate);
/* A zeroed amendment, to be filled in. */
struct rollup *publish_stage(struct aggregate *aggregate);
/* Who a part of the edge is; number 0 stands for others. */
struct instance publish_instance(const struct aggregate *aggregate, const struct edge *edge,
				 uint32_t number, enum scope scope);
