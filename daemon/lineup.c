#include "daemon/lineup.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/utf8.h"

/* All fields, little-endian, the name in full, so a record of this layout has just one length. */
enum {
	MAGIC = 0x31504c4d, /* MLP1 */
	SET_WORDS = IMAGE_TASKS_MAX / 64,
	RECORD_BYTES = 4 + IMAGE_BUILD_BYTES + 4 + 8 + 8 + 8 + 4 + 4 + 8 * SET_WORDS + 8 +
		       16 * LINEUP_PANES + LINEUP_NAME_BYTES,
};

_Static_assert(RECORD_BYTES <= (int)LINEUP_RECORD_MAX, "a record fits");

struct lineup {
	struct lineup_record self;
	int64_t call;
	bool began; /* the call's run */
	struct lineup_record *answers;
	size_t answers_count, answers_max;
	struct lineup_run run;
};

/* --- records as bytes --- */

static void put32(uint8_t **at, uint32_t value)
{
	uint32_t little = htole32(value);

	memcpy(*at, &little, sizeof(little));
	*at += sizeof(little);
}

static void put64(uint8_t **at, uint64_t value)
{
	uint64_t little = htole64(value);

	memcpy(*at, &little, sizeof(little));
	*at += sizeof(little);
}

static uint32_t get32(const uint8_t **at)
{
	uint32_t little;

	memcpy(&little, *at, sizeof(little));
	*at += sizeof(little);
	return le32toh(little);
}

static uint64_t get64(const uint8_t **at)
{
	uint64_t little;

	memcpy(&little, *at, sizeof(little));
	*at += sizeof(little);
	return le64toh(little);
}

static size_t name_length(const char name[LINEUP_NAME_BYTES])
{
	return strnlen(name, LINEUP_NAME_BYTES - 1);
}

size_t lineup_encode(const struct lineup_record *record, uint8_t bytes[LINEUP_RECORD_MAX])
{
	uint8_t *at = bytes;

	assert(record->panes_count <= LINEUP_PANES);
	memset(bytes, 0, RECORD_BYTES);
	put32(&at, MAGIC);
	memcpy(at, record->build, IMAGE_BUILD_BYTES);
	at += IMAGE_BUILD_BYTES;
	put32(&at, record->tasks_count);
	put64(&at, record->shape);
	put64(&at, record->life);
	put64(&at, (uint64_t)record->call);
	put32(&at, (uint32_t)record->generation);
	put32(&at, record->panes_count);
	for (uint32_t i = 0; i < SET_WORDS; i++)
		put64(&at, record->tasks.words[i]);
	put64(&at, record->epoch_min);
	for (uint32_t i = 0; i < LINEUP_PANES; i++) {
		bool is = i < record->panes_count;

		put64(&at, is ? record->panes[i].epoch : 0);
		put64(&at, is ? record->panes[i].pane : 0);
	}
	memcpy(at, record->name, name_length(record->name));
	return RECORD_BYTES;
}

/* It ends within its bytes, with zeros, and a log may show it. */
static bool is_name(const char name[LINEUP_NAME_BYTES])
{
	const uint8_t *text = (const uint8_t *)name;
	size_t length = strnlen(name, LINEUP_NAME_BYTES);

	for (size_t i = length; i < LINEUP_NAME_BYTES; i++) {
		if (name[i])
			return false;
	}
	for (size_t i = 0; i < length;) {
		size_t bytes = utf8_length(text + i, length - i);

		if (!bytes || text[i] < ' ' || text[i] == 0x7f)
			return false;
		i += bytes;
	}
	return length > 0 && length < LINEUP_NAME_BYTES;
}

static bool is_sound(const struct lineup_record *record)
{
	struct task_set all;

	if (record->tasks_count < 1 || record->tasks_count > IMAGE_TASKS_MAX ||
	    record->panes_count > LINEUP_PANES || record->call < -1 || record->generation < -1)
		return false;
	for (uint32_t i = 0; i < record->panes_count; i++) {
		if (record->panes[i].pane == 0)
			return false; /* which would say: anew */
	}
	all = task_set_all(record->tasks_count);
	return task_set_within(&record->tasks, &all) &&
	       (record->generation >= 0 || task_set_count(&record->tasks) == 0) &&
	       is_name(record->name);
}

int lineup_decode(const uint8_t *bytes, size_t length, struct lineup_record *record)
{
	const uint8_t *at = bytes;

	if (length != RECORD_BYTES || get32(&at) != MAGIC)
		return -EBADMSG;
	memset(record, 0, sizeof(*record));
	memcpy(record->build, at, IMAGE_BUILD_BYTES);
	at += IMAGE_BUILD_BYTES;
	record->tasks_count = get32(&at);
	record->shape = get64(&at);
	record->life = get64(&at);
	record->call = (int64_t)get64(&at);
	record->generation = (int32_t)get32(&at);
	record->panes_count = get32(&at);
	for (uint32_t i = 0; i < SET_WORDS; i++)
		record->tasks.words[i] = get64(&at);
	record->epoch_min = get64(&at);
	for (uint32_t i = 0; i < LINEUP_PANES; i++) {
		record->panes[i].epoch = get64(&at);
		record->panes[i].pane = get64(&at);
	}
	memcpy(record->name, at, LINEUP_NAME_BYTES);
	return is_sound(record) ? 0 : -EBADMSG;
}

/* --- the answers to the call at hand --- */

static int32_t highest_generation(const struct lineup *lineup)
{
	int32_t highest = -1;

	for (size_t i = 0; i < lineup->answers_count; i++) {
		if (lineup->answers[i].generation > highest)
			highest = lineup->answers[i].generation;
	}
	return highest;
}

/* The tasks that the answers of the highest generation cover; false: some several times, which are
 * in twice. */
static bool cover(const struct lineup *lineup, struct task_set *once, struct task_set *twice)
{
	int32_t highest = highest_generation(lineup);

	*once = *twice = (struct task_set){{0}};
	for (size_t i = 0; i < lineup->answers_count; i++) {
		const struct lineup_record *answer = &lineup->answers[i];

		if (answer->generation != highest)
			continue;
		for (uint32_t word = 0; word < SET_WORDS; word++)
			twice->words[word] |= once->words[word] & answer->tasks.words[word];
		task_set_join(once, &answer->tasks);
	}
	return task_set_count(twice) == 0;
}

static bool covers_all(const struct lineup *lineup)
{
	struct task_set all = task_set_all(lineup->self.tasks_count), once, twice;

	return cover(lineup, &once, &twice) && task_set_within(&all, &once);
}

/* Only who owns tasks needs a snapshot of them. */
static bool constrains(const struct lineup_record *answer, int32_t generation)
{
	return answer->generation == generation && task_set_count(&answer->tasks) > 0;
}

static bool has_pane(const struct lineup_record *answer, const struct lineup_pane *pane)
{
	for (uint32_t i = 0; i < answer->panes_count; i++) {
		if (answer->panes[i].epoch == pane->epoch && answer->panes[i].pane == pane->pane)
			return true;
	}
	return false;
}

static bool all_have_pane(const struct lineup *lineup, int32_t generation,
			  const struct lineup_pane *pane)
{
	for (size_t i = 0; i < lineup->answers_count; i++) {
		if (constrains(&lineup->answers[i], generation) &&
		    !has_pane(&lineup->answers[i], pane))
			return false;
	}
	return true;
}

/* A later epoch began because an earlier one could not be gone on with, so it is newer whatever its
 * panes. */
static bool is_newer(const struct lineup_pane *pane, const struct lineup_pane *than)
{
	return pane->epoch != than->epoch ? pane->epoch > than->epoch : pane->pane > than->pane;
}

/* pane 0: none. */
static struct lineup_pane newest_common(const struct lineup *lineup, int32_t generation)
{
	struct lineup_pane newest = {0};
	const struct lineup_record *first = lineup->answers;

	while (!constrains(first, generation)) {
		first++; /* there is one, as all tasks are covered */
		assert(first < lineup->answers + lineup->answers_count);
	}
	for (uint32_t i = 0; i < first->panes_count; i++) {
		if (is_newer(&first->panes[i], &newest) &&
		    all_have_pane(lineup, generation, &first->panes[i]))
			newest = first->panes[i];
	}
	return newest;
}

/* Of all answers, also those that do not take part: higher than all before is what matters. */
static uint64_t new_epoch(const struct lineup *lineup, uint64_t append_ms)
{
	uint64_t epoch = append_ms;

	for (size_t i = 0; i < lineup->answers_count; i++) {
		if (lineup->answers[i].epoch_min > epoch)
			epoch = lineup->answers[i].epoch_min;
	}
	return epoch;
}

/* IMAGE_TASKS_MAX: none, so these stand last. */
static uint32_t first_task(const struct task_set *set)
{
	for (uint32_t word = 0; word < SET_WORDS; word++) {
		if (set->words[word])
			return word * 64 + (uint32_t)__builtin_ctzll(set->words[word]);
	}
	return IMAGE_TASKS_MAX;
}

static int compare(const void *left, const void *right)
{
	const struct lineup_member *a = left, *b = right;
	uint32_t first_a = first_task(&a->tasks), first_b = first_task(&b->tasks);

	if (first_a != first_b)
		return first_a < first_b ? -1 : 1;
	if (strcmp(a->name, b->name))
		return strcmp(a->name, b->name);
	return a->life < b->life ? -1 : a->life > b->life;
}

static void begin(struct lineup *lineup, int64_t number, uint64_t append_ms)
{
	struct lineup_run *run = &lineup->run;

	memset(run, 0, sizeof(*run));
	run->number = number;
	run->generation = highest_generation(lineup);
	run->from = newest_common(lineup, run->generation);
	if (run->from.pane == 0)
		run->from.epoch = new_epoch(lineup, append_ms);
	for (size_t i = 0; i < lineup->answers_count; i++) {
		const struct lineup_record *answer = &lineup->answers[i];
		struct lineup_member *member = &run->members[run->members_count];

		if (answer->generation != run->generation)
			continue;
		memcpy(member->name, answer->name, name_length(answer->name));
		member->life = answer->life;
		member->tasks = answer->tasks;
		run->members_count++;
	}
	qsort(run->members, run->members_count, sizeof(run->members[0]), compare);
	lineup->began = true;
}

/* --- the log --- */

static const char *stranger(const struct lineup_record *self, const struct lineup_record *record)
{
	if (memcmp(self->build, record->build, IMAGE_BUILD_BYTES))
		return "it is of another build, so it takes no part: all instances of a pipeline "
		       "must run the same program";
	if (self->tasks_count != record->tasks_count)
		return "its pipeline.tasks is another, so it takes no part: all instances of a "
		       "pipeline must have the same";
	if (self->shape != record->shape)
		return "its settings of size are others, so it takes no part: all instances of a "
		       "pipeline must have the same";
	return NULL;
}

/* Of one process the last answer. */
static bool keep(struct lineup *lineup, const struct lineup_record *record)
{
	size_t number = 0;

	while (number < lineup->answers_count && lineup->answers[number].life != record->life)
		number++;
	if (number == LINEUP_MEMBERS_MAX)
		return false;
	if (number == lineup->answers_max) {
		lineup->answers_max = memory_grown(lineup->answers_max, number + 1);
		lineup->answers = memory_resize(lineup->answers, lineup->answers_max,
						sizeof(*lineup->answers));
	}
	if (number == lineup->answers_count)
		lineup->answers_count++;
	lineup->answers[number] = *record;
	return true;
}

enum lineup_news lineup_take(struct lineup *lineup, int64_t offset, uint64_t append_ms,
			     const struct lineup_record *record, const char **why)
{
	bool calls = record->call == -1;

	*why = stranger(&lineup->self, record);
	if (*why)
		return LINEUP_NOTHING;
	if (calls) {
		lineup->call = offset;
		lineup->answers_count = 0;
		lineup->began = false;
	} else if (record->call != lineup->call || lineup->began) {
		return LINEUP_NOTHING;
	}
	if (!keep(lineup, record)) {
		*why = "more processes answer one call than can take part: it is left out";
		return LINEUP_NOTHING;
	}
	if (covers_all(lineup)) {
		begin(lineup, offset, append_ms);
		return LINEUP_RUN;
	}
	return calls && record->life != lineup->self.life ? LINEUP_CALLED : LINEUP_NOTHING;
}

int64_t lineup_call(const struct lineup *lineup)
{
	return lineup->call;
}

const struct lineup_run *lineup_run(const struct lineup *lineup)
{
	return &lineup->run;
}

struct task_set lineup_missing(const struct lineup *lineup)
{
	struct task_set missing = {{0}}, once, twice;

	if (lineup->call == -1 || lineup->began)
		return missing;
	cover(lineup, &once, &twice);
	missing = task_set_all(lineup->self.tasks_count);
	for (uint32_t word = 0; word < SET_WORDS; word++)
		missing.words[word] &= ~once.words[word] | twice.words[word];
	return missing;
}

/* --- life --- */

struct lineup *lineup_new(const struct lineup_record *self)
{
	struct lineup *lineup = memory_zeroed(1, sizeof(*lineup));

	lineup->self = *self;
	lineup->call = -1;
	lineup->run.number = -1;
	return lineup;
}

void lineup_free(struct lineup *lineup)
{
	if (!lineup)
		return;
	memory_free(lineup->answers);
	memory_free(lineup);
}
