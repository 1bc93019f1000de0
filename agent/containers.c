#include "agent/containers.h"

#include <stdlib.h>
#include <string.h>

#include "agent/index.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

/* As a rule the file or answer is there when the process runs. Each wait is four times the one
 * before: 0.1 s to 102 s. */
#define FIRST_WAIT_NS (100 * NS_PER_MS)

struct row {
	struct container_path path;
	struct description *description; /* NULL, or partial: wanted */
	unsigned tries;			 /* CONTAINERS_TRIES + 1: given up */
	uint64_t due_ns, used_ns;
};

struct containers {
	struct row *rows;
	struct index index;
	uint32_t high, max;
	struct containers_stats stats;
};

struct containers *containers_new(uint32_t containers_max)
{
	struct containers *containers = memory_zeroed(1, sizeof(*containers));
	containers->rows = memory_zeroed(containers_max, sizeof(*containers->rows));
	containers->max = containers_max;
	index_init(&containers->index, containers_max);
	return containers;
}

void containers_free(struct containers *containers)
{
	if (!containers)
		return;
	for (uint32_t i = 0; i < containers->high; i++)
		free(containers->rows[i].description);
	index_done(&containers->index);
	free(containers->rows);
	free(containers);
}

static uint64_t key_of(const char *id)
{
	return hash_bytes(id, strlen(id));
}

static struct row *find(struct containers *containers, const char *id)
{
	uint32_t number = index_get(&containers->index, key_of(id));
	return number == INDEX_NONE ? NULL : &containers->rows[number];
}

static bool is_incomplete(const struct row *row)
{
	return !row->description || row->description->partial;
}

static bool is_wanted(const struct row *row)
{
	return is_incomplete(row) && row->tries <= CONTAINERS_TRIES;
}

static struct row *evict(struct containers *containers)
{
	struct row *least = &containers->rows[0];
	for (uint32_t i = 1; i < containers->high; i++)
		if (containers->rows[i].used_ns < least->used_ns)
			least = &containers->rows[i];
	index_remove(&containers->index, key_of(least->path.id));
	containers->stats.wanted -= is_wanted(least);
	containers->stats.evicted++;
	free(least->description);
	return least;
}

static struct row *add(struct containers *containers, const struct container_path *path,
		       uint64_t now_ns)
{
	struct row *row = containers->high < containers->max ? &containers->rows[containers->high++]
							     : evict(containers);
	*row = (struct row){.path = *path, .due_ns = now_ns, .used_ns = now_ns};
	index_put(&containers->index, key_of(path->id), (uint32_t)(row - containers->rows));
	containers->stats.wanted++;
	return row;
}

const struct description *containers_get(struct containers *containers, const char *id,
					 uint64_t now_ns)
{
	struct row *row = find(containers, id);
	if (row)
		row->used_ns = now_ns;
	return row ? row->description : NULL;
}

/* But for what is counted, which only events tell, and how it came to be known. */
static bool says_the_same(const struct description *a, const struct description *b)
{
	return a && a->text_bytes == b->text_bytes &&
	       memcmp(a, b, offsetof(struct description, oom_kills)) == 0 &&
	       memcmp(a->text, b->text, a->text_bytes) == 0;
}

static void set_partial(struct containers *containers, struct row *row, bool partial)
{
	containers->stats.wanted -= is_wanted(row);
	row->description->partial = partial;
	containers->stats.wanted += is_wanted(row);
}

bool containers_put(struct containers *containers, const struct description *description,
		    uint64_t now_ns)
{
	struct row *row = find(containers, description->id);
	if (row && !description->oom_kills && says_the_same(row->description, description)) {
		set_partial(containers, row, description->partial);
		return false;
	}
	if (!row) {
		struct container_path path = {0};
		memcpy(path.id, description->id, sizeof(path.id));
		row = add(containers, &path, now_ns);
	}
	uint32_t oom_kills = row->description ? row->description->oom_kills : 0;
	containers->stats.wanted -= is_wanted(row);
	free(row->description);
	row->description = description_copy(description);
	row->description->oom_kills += oom_kills;
	containers->stats.wanted += is_wanted(row);
	containers->stats.told++;
	containers->stats.labels_left_out += description->left_out;
	return true;
}

void containers_want(struct containers *containers, const struct container_path *path,
		     uint64_t now_ns)
{
	struct row *row = find(containers, path->id);
	if (!row)
		add(containers, path, now_ns);
	else
		row->used_ns = now_ns;
}

bool containers_due(struct containers *containers, uint64_t now_ns, struct container_path *out)
{
	for (uint32_t i = 0; containers->stats.wanted && i < containers->high; i++) {
		struct row *row = &containers->rows[i];
		if (!is_wanted(row) || row->due_ns > now_ns)
			continue;
		row->due_ns = now_ns + (FIRST_WAIT_NS << 2 * row->tries);
		if (row->tries++ < CONTAINERS_TRIES) {
			*out = row->path;
			return true;
		}
		containers->stats.wanted--;
		containers->stats.given_up++;
	}
	return false;
}

void containers_again(struct containers *containers, uint64_t now_ns)
{
	for (uint32_t i = 0; i < containers->high; i++) {
		struct row *row = &containers->rows[i];
		if (!is_incomplete(row))
			continue;
		containers->stats.wanted += !is_wanted(row);
		row->tries = 0;
		row->due_ns = now_ns;
	}
}

struct containers_stats containers_stats(const struct containers *containers)
{
	struct containers_stats stats = containers->stats;
	stats.live = containers->index.count;
	return stats;
}
