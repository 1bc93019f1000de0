#include "daemon/wire_parcel.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/wire_name.h"

#define PARCEL_MAGIC 0x5058524dU /* "MRXP" */

enum { PARCEL_LAYOUT = 1, SIZES = 8 };

struct wire_agent {
	struct agent_view view; /* about_length 0: nothing was told of what it is */
	uint64_t node_length;	/* its text is one longer: a NUL */
};

struct head {
	uint32_t magic, layout;
	uint32_t sizes[SIZES];
	uint32_t kind; /* enum parcel_kind */
	uint32_t task;
	uint64_t rows, cells, names, agents, changes;
	uint64_t text_bytes; /* of names; of agents and what they are */
};

static const uint32_t our_sizes[SIZES] = {sizeof(struct head),	       sizeof(struct rollup),
					  sizeof(struct sketch_cell),  sizeof(struct wire_name),
					  sizeof(struct task_stats),   sizeof(struct wire_agent),
					  sizeof(struct change_event), sizeof(struct ledger)};

/* A row of a lane names its edge's two ends and four dimensions, one of an instance two and six. */
enum { NAMES_A_ROW = 8 };

_Static_assert(sizeof(struct head) +
			       ROWS_A_PARCEL * (sizeof(struct rollup) +
						NAMES_A_ROW * (sizeof(struct wire_name) +
							       NAME_MAX_BYTES + 1)) +
			       CELLS_A_PARCEL * sizeof(struct sketch_cell) <
		       WIRE_PARCEL_ROWS_MAX,
	       "what keeps to both bounds fits in a record");

/* --- writing --- */

static struct head head_of(const struct parcel *parcel)
{
	struct head head = {
		.magic = PARCEL_MAGIC,
		.layout = PARCEL_LAYOUT,
		.kind = parcel->kind,
		.task = parcel->task,
		.rows = parcel->rollups_count,
		.names = parcel->names_count,
		.agents = parcel->agents_count,
		.changes = parcel->changes_count,
	};

	memcpy(head.sizes, our_sizes, sizeof(head.sizes));
	for (size_t i = 0; i < parcel->rollups_count; i++)
		head.cells +=
			(uint64_t)parcel->rollups[i].connect_cells + parcel->rollups[i].srtt_cells;
	head.text_bytes = wire_names_texts(parcel->names, parcel->names_count);
	for (size_t i = 0; i < parcel->agents_count; i++)
		head.text_bytes +=
			strlen(parcel->agents[i].node) + 1 + parcel->agents[i].about_length;
	return head;
}

static size_t size_of(const struct head *head)
{
	return sizeof(*head) + head->rows * sizeof(struct rollup) +
	       head->cells * sizeof(struct sketch_cell) + head->names * sizeof(struct wire_name) +
	       (head->kind == PARCEL_STATS ? sizeof(struct task_stats) : 0) +
	       head->changes * sizeof(struct change_event) +
	       head->agents * sizeof(struct wire_agent) + head->text_bytes;
}

static uint8_t *put_rows(uint8_t *at, const struct rollup *rollups, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct rollup row = rollups[i];

		row.connect = row.srtt = NULL;
		at = wire_append(at, &row, sizeof(row));
	}
	for (size_t i = 0; i < count; i++) {
		const struct rollup *row = &rollups[i];

		at = wire_append(at, row->connect, row->connect_cells * sizeof(*row->connect));
		at = wire_append(at, row->srtt, row->srtt_cells * sizeof(*row->srtt));
	}
	return at;
}

static uint8_t *put_agents(uint8_t *at, const struct agent_view *views, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct wire_agent agent = {.view = views[i], .node_length = strlen(views[i].node)};

		agent.view.node = NULL;
		agent.view.about = NULL;
		at = wire_append(at, &agent, sizeof(agent));
	}
	for (size_t i = 0; i < count; i++) {
		at = wire_append(at, views[i].node, strlen(views[i].node) + 1);
		at = wire_append(at, views[i].about, views[i].about_length);
	}
	return at;
}

uint8_t *parcel_encode(const struct parcel *parcel, size_t *length)
{
	struct head head = head_of(parcel);
	uint8_t *bytes, *at;

	*length = size_of(&head);
	bytes = memory_resize(NULL, *length, 1);
	at = wire_append(bytes, &head, sizeof(head));
	at = put_rows(at, parcel->rollups, parcel->rollups_count);
	at = wire_names_append(at, parcel->names, parcel->names_count);
	if (parcel->kind == PARCEL_STATS)
		at = wire_append(at, &parcel->stats, sizeof(parcel->stats));
	at = wire_append(at, parcel->changes, parcel->changes_count * sizeof(*parcel->changes));
	at = put_agents(at, parcel->agents, parcel->agents_count);
	assert(at == bytes + *length);
	return bytes;
}

/* --- reading --- */

struct cursor {
	const uint8_t *at;
	size_t left;
};

/* Where count elements stand that are passed over now; NULL: there are fewer. */
static const uint8_t *take(struct cursor *cursor, uint64_t count, size_t size)
{
	const uint8_t *taken = cursor->at;

	if (count > cursor->left / size)
		return NULL;
	cursor->at += count * size;
	cursor->left -= count * size;
	return taken;
}

static bool take_copy(struct cursor *cursor, void *copy, size_t size)
{
	const uint8_t *taken = take(cursor, 1, size);

	if (taken)
		memcpy(copy, taken, size);
	return taken;
}

/* A text of so many bytes and its NUL. */
static const char *take_text(struct cursor *cursor, uint64_t length)
{
	const char *text = (const char *)cursor->at;

	if (length >= cursor->left || text[length])
		return NULL;
	take(cursor, length + 1, 1);
	return text;
}

/* --- rows and names --- */

static struct parcel *rollups_room(const struct head *head)
{
	struct parcel *parcel =
		memory_resize(NULL,
			      sizeof(*parcel) + head->rows * sizeof(struct rollup) +
				      head->names * sizeof(struct name) +
				      head->cells * sizeof(struct sketch_cell) + head->text_bytes,
			      1);

	*parcel = (struct parcel){0};
	parcel->kind = PARCEL_ROLLUPS;
	parcel->task = head->task;
	parcel->rollups = (struct rollup *)(parcel + 1);
	parcel->rollups_count = head->rows;
	parcel->names = (struct name *)(parcel->rollups + head->rows);
	parcel->names_count = head->names;
	return parcel;
}

/* As the history's rows rely on. */
static bool is_sketch(const struct sketch_cell *cells, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (cells[i].index >= SKETCH_INDEXES || !cells[i].count ||
		    (i && cells[i].index <= cells[i - 1].index))
			return false;
	}
	return true;
}

/* The next count of *left cells at *cells; NULL: there are fewer, or they are no sketch. */
static struct sketch_cell *take_cells(struct sketch_cell **cells, uint64_t *left, uint32_t count)
{
	struct sketch_cell *taken = *cells;

	if (count > *left || !is_sketch(taken, count))
		return NULL;
	*cells += count;
	*left -= count;
	return taken;
}

static bool read_rows(struct parcel *parcel, const uint8_t *bytes, struct sketch_cell *cells,
		      uint64_t cells_left)
{
	for (size_t i = 0; i < parcel->rollups_count; i++, bytes += sizeof(struct rollup)) {
		struct rollup *row = &parcel->rollups[i];

		if (bytes[offsetof(struct rollup, amendment)] > 1 ||
		    bytes[offsetof(struct rollup, scope)] >= SCOPES)
			return false;
		memcpy(row, bytes, sizeof(*row));
		row->connect = take_cells(&cells, &cells_left, row->connect_cells);
		if (!row->connect)
			return false;
		row->srtt = take_cells(&cells, &cells_left, row->srtt_cells);
		if (!row->srtt)
			return false;
	}
	return cells_left == 0;
}

static struct parcel *read_rollups(const struct head *head, struct cursor *cursor)
{
	const uint8_t *rows = take(cursor, head->rows, sizeof(struct rollup));
	const uint8_t *from = rows ? take(cursor, head->cells, sizeof(struct sketch_cell)) : NULL;
	const uint8_t *names = from ? take(cursor, head->names, sizeof(struct wire_name)) : NULL;

	if (!names || cursor->left != head->text_bytes || head->agents || head->changes)
		return NULL;

	struct parcel *parcel = rollups_room(head);
	struct sketch_cell *cells = (struct sketch_cell *)(parcel->names + head->names);
	uint8_t *texts = (uint8_t *)(cells + head->cells);

	wire_append((uint8_t *)cells, from, head->cells * sizeof(*cells));
	wire_append(texts, cursor->at, head->text_bytes);
	if (read_rows(parcel, rows, cells, head->cells) &&
	    wire_names_read(parcel->names, head->names, names, (const char *)texts,
			    head->text_bytes))
		return parcel;
	parcel_free(parcel);
	return NULL;
}

/* --- counters and agents --- */

static void *copied(const void *bytes, size_t length)
{
	void *copy = memory_resize(NULL, length, 1);

	memcpy(copy, bytes, length);
	return copy;
}

/* What the list of agents unpacks again: there it would be a bug if it could not. */
static bool is_about(const uint8_t *bytes, size_t length)
{
	Millrace__V1__AgentResponse *about =
		millrace__v1__agent_response__unpack(NULL, length, bytes);
	bool is = about && about->agent;

	millrace__v1__agent_response__free_unpacked(about, NULL);
	return is;
}

static bool read_agent(const uint8_t *bytes, struct cursor *texts, struct agent_view *view)
{
	struct wire_agent agent;
	const uint8_t *about;
	const char *node;

	memcpy(&agent, bytes, sizeof(agent));
	node = take_text(texts, agent.node_length);
	about = node ? take(texts, agent.view.about_length, 1) : NULL;
	if (!about || strlen(node) != agent.node_length ||
	    (agent.view.about_length && !is_about(about, agent.view.about_length)))
		return false;
	*view = agent.view;
	view->node = copied(node, agent.node_length + 1);
	view->about = view->about_length ? copied(about, view->about_length) : NULL;
	return true;
}

static bool read_agents(struct parcel *parcel, const uint8_t *bytes, uint64_t count,
			struct cursor texts)
{
	parcel->agents = memory_zeroed(count, sizeof(*parcel->agents));
	for (; parcel->agents_count < count; parcel->agents_count++) {
		if (!read_agent(bytes + parcel->agents_count * sizeof(struct wire_agent), &texts,
				&parcel->agents[parcel->agents_count]))
			return false;
	}
	return texts.left == 0;
}

static bool is_change(const struct change_event *change)
{
	const char *const texts[] = {change->workload, change->node,  change->instance,
				     change->before,   change->after, change->reason};
	bool ended = change->kind < CHANGE_KINDS;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ended &= memchr(texts[i], '\0', CHANGE_NAME_BYTES) != NULL;
	return ended;
}

static bool read_changes(struct parcel *parcel, struct cursor *cursor, uint64_t count)
{
	const uint8_t *bytes = take(cursor, count, sizeof(struct change_event));

	if (!bytes)
		return false;
	parcel->changes = memory_zeroed(count, sizeof(*parcel->changes));
	parcel->changes_count = count;
	wire_append((uint8_t *)parcel->changes, bytes, count * sizeof(*parcel->changes));
	for (uint64_t i = 0; i < count; i++) {
		if (!is_change(&parcel->changes[i]))
			return false;
	}
	return true;
}

static struct parcel *read_stats(const struct head *head, struct cursor *cursor)
{
	struct parcel *parcel = memory_zeroed(1, sizeof(*parcel));
	const uint8_t *agents = NULL;

	parcel->kind = PARCEL_STATS;
	parcel->task = head->task;
	if (take_copy(cursor, &parcel->stats, sizeof(parcel->stats)) &&
	    read_changes(parcel, cursor, head->changes))
		agents = take(cursor, head->agents, sizeof(struct wire_agent));
	if (agents && cursor->left == head->text_bytes && !head->rows && !head->cells &&
	    !head->names && read_agents(parcel, agents, head->agents, *cursor))
		return parcel;
	parcel_free(parcel);
	return NULL;
}

static bool is_ours(const struct head *head, uint32_t tasks)
{
	return head->magic == PARCEL_MAGIC && head->layout == PARCEL_LAYOUT &&
	       memcmp(head->sizes, our_sizes, sizeof(our_sizes)) == 0 && head->task < tasks &&
	       (head->kind == PARCEL_ROLLUPS || head->kind == PARCEL_STATS);
}

int parcel_decode(const uint8_t *bytes, size_t length, uint32_t tasks, struct parcel **out)
{
	struct cursor cursor = {bytes, length};
	struct head head;

	*out = NULL;
	if (take_copy(&cursor, &head, sizeof(head)) && is_ours(&head, tasks))
		*out = head.kind == PARCEL_ROLLUPS ? read_rollups(&head, &cursor)
						   : read_stats(&head, &cursor);
	return *out ? 0 : -EBADMSG;
}
