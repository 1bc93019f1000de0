#include "anomaly/lattice.h"

#include <assert.h>

#include "base/hash.h"
#include "base/memory.h"

/* --- numbers for pairs --- */

struct slot {
	uint64_t key;
	uint32_t id; /* plus 1; 0: free */
};

/* Pairs are few: each has its place. */
static uint32_t intern_directly(const uint32_t *parents, const uint32_t *values, uint32_t distinct,
				uint64_t pairs, uint32_t count, uint32_t *ids)
{
	uint32_t *table = memory_zeroed(pairs, sizeof(*table)), known = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t *id = &table[(uint64_t)parents[i] * distinct + values[i]];
		if (*id == 0)
			*id = ++known;
		ids[i] = *id - 1;
	}
	memory_free(table);
	return known;
}

static uint32_t intern_hashed(const uint32_t *parents, const uint32_t *values, uint32_t distinct,
			      uint32_t count, uint32_t *ids)
{
	uint32_t size = 64, known = 0;
	while (size < 2 * count)
		size *= 2;
	struct slot *slots = memory_zeroed(size, sizeof(*slots));
	for (uint32_t i = 0; i < count; i++) {
		uint64_t key = (uint64_t)parents[i] * distinct + values[i];
		uint32_t at = (uint32_t)hash_mix(key) & (size - 1);
		while (slots[at].id && slots[at].key != key)
			at = (at + 1) & (size - 1);
		if (!slots[at].id)
			slots[at] = (struct slot){key, ++known};
		ids[i] = slots[at].id - 1;
	}
	memory_free(slots);
	return known;
}

/* Gives each pair (parent, value) a number from 0 in the order they come; returns how many. */
static uint32_t intern_pairs(const struct cuboid *parent, const uint32_t *values, uint32_t distinct,
			     uint32_t count, uint32_t *ids)
{
	uint64_t pairs = (uint64_t)parent->elements * distinct;
	if (pairs <= 4 * (uint64_t)count)
		return intern_directly(parent->ids, values, distinct, pairs, count, ids);
	return intern_hashed(parent->ids, values, distinct, count, ids);
}

/* --- cuboids --- */

static struct cuboid *cuboid_of(const struct lattice *lattice, uint32_t mask)
{
	for (uint32_t i = 0; i < lattice->cuboids_count; i++)
		if (lattice->cuboids[i].mask == mask)
			return &lattice->cuboids[i];
	return NULL;
}

/* Each element's leaves behind each other, by counting. */
static void list_members(struct cuboid *cuboid, uint32_t leaves)
{
	cuboid->starts = memory_zeroed((size_t)cuboid->elements + 2, sizeof(*cuboid->starts));
	cuboid->members = memory_resize(NULL, leaves, sizeof(*cuboid->members));
	uint32_t *next = cuboid->starts + 1;
	for (uint32_t i = 0; i < leaves; i++)
		next[cuboid->ids[i] + 1]++;
	for (uint32_t e = 1; e <= cuboid->elements; e++)
		next[e] += next[e - 1];
	for (uint32_t i = 0; i < leaves; i++)
		cuboid->members[next[cuboid->ids[i]]++] = i;
}

static void number_elements(struct lattice *lattice, struct cuboid *cuboid)
{
	cuboid->first = lattice->elements;
	lattice->elements += cuboid->elements;
	list_members(cuboid, lattice->leaves);
}

static bool adds_nothing(const struct lattice *lattice, const struct cuboid *cuboid)
{
	for (uint32_t left = cuboid->mask; left; left &= left - 1)
		if (cuboid_of(lattice, cuboid->mask & ~(left & -left))->elements ==
		    cuboid->elements)
			return true;
	return false;
}

/* From the cuboid without the last of its attributes. */
static void add_cuboid(struct lattice *lattice, uint32_t mask, const uint32_t *values,
		       uint32_t distinct)
{
	uint32_t last = 31 - (uint32_t)__builtin_clz(mask);
	const struct cuboid *parent = cuboid_of(lattice, mask & ~(1U << last));
	struct cuboid *cuboid = &lattice->cuboids[lattice->cuboids_count];
	*cuboid = (struct cuboid){
		.mask = mask,
		.layer = (uint32_t)__builtin_popcount(mask),
		.ids = memory_resize(NULL, lattice->leaves, sizeof(*cuboid->ids)),
	};
	cuboid->elements = intern_pairs(parent, values, distinct, lattice->leaves, cuboid->ids);
	cuboid->alias = adds_nothing(lattice, cuboid);
	lattice->cuboids_count++;
	if (!cuboid->alias)
		number_elements(lattice, cuboid);
}

static void add_whole(struct lattice *lattice)
{
	struct cuboid *whole = &lattice->cuboids[lattice->cuboids_count++];
	*whole = (struct cuboid){.elements = 1,
				 .ids = memory_zeroed(lattice->leaves, sizeof(*whole->ids))};
	number_elements(lattice, whole);
}

/* One attribute's values, numbered from 0 in the order they come. */
static uint32_t *make_column(const struct lattice *lattice, const uint32_t *values,
			     uint32_t attribute, uint32_t *distinct)
{
	uint32_t *column = memory_resize(NULL, lattice->leaves, sizeof(*column));
	for (uint32_t i = 0; i < lattice->leaves; i++)
		column[i] = values[(size_t)i * lattice->attributes + attribute];
	*distinct = intern_hashed(lattice->cuboids[0].ids, column, 1, lattice->leaves, column);
	return column;
}

static void add_layers(struct lattice *lattice, uint32_t *const columns[], const uint32_t *distinct)
{
	for (uint32_t layer = 1; layer <= lattice->layers; layer++)
		for (uint32_t mask = 1; mask < 1U << lattice->attributes; mask++) {
			uint32_t last = 31 - (uint32_t)__builtin_clz(mask);
			if ((uint32_t)__builtin_popcount(mask) == layer)
				add_cuboid(lattice, mask, columns[last], distinct[last]);
		}
}

/* How many layers there may be, and how many cuboids they have besides the whole. */
static uint32_t choose_layers(const struct lattice *lattice, uint32_t *cuboids)
{
	uint32_t layers = 0, in_layer = 1;
	*cuboids = 0;
	while (layers < lattice->attributes) {
		in_layer = in_layer * (lattice->attributes - layers) / (layers + 1);
		uint32_t sum = *cuboids + in_layer;
		bool all = (1U << lattice->attributes) - 1 <= LATTICE_CUBOIDS;
		if (layers >= 1 && (uint64_t)sum * lattice->leaves > LATTICE_CELLS)
			break;
		if (layers >= 3 && !all)
			break;
		*cuboids = sum;
		layers++;
	}
	return layers;
}

struct lattice *lattice_new(const uint32_t *values, uint32_t leaves, uint32_t attributes)
{
	struct lattice *lattice = memory_zeroed(1, sizeof(*lattice));
	uint32_t *columns[LATTICE_ATTRIBUTES_MAX], distinct[LATTICE_ATTRIBUTES_MAX], cuboids;
	assert(attributes <= LATTICE_ATTRIBUTES_MAX);
	lattice->leaves = leaves;
	lattice->attributes = attributes;
	lattice->layers = choose_layers(lattice, &cuboids);
	lattice->cuboids = memory_zeroed(cuboids + 1, sizeof(*lattice->cuboids));
	add_whole(lattice);
	for (uint32_t a = 0; a < attributes; a++)
		columns[a] = make_column(lattice, values, a, &distinct[a]);
	add_layers(lattice, columns, distinct);
	for (uint32_t a = 0; a < attributes; a++)
		memory_free(columns[a]);
	lattice->owners = memory_resize(NULL, lattice->elements, sizeof(*lattice->owners));
	for (uint32_t c = 0; c < lattice->cuboids_count; c++)
		for (uint32_t e = 0; !lattice->cuboids[c].alias && e < lattice->cuboids[c].elements;
		     e++)
			lattice->owners[lattice->cuboids[c].first + e] = (uint16_t)c;
	return lattice;
}

void lattice_free(struct lattice *lattice)
{
	for (uint32_t c = 0; c < lattice->cuboids_count; c++) {
		memory_free(lattice->cuboids[c].ids);
		memory_free(lattice->cuboids[c].starts);
		memory_free(lattice->cuboids[c].members);
	}
	memory_free(lattice->cuboids);
	memory_free(lattice->owners);
	memory_free(lattice);
}

/* --- elements --- */

const uint32_t *lattice_leaves(const struct lattice *lattice, uint32_t element, uint32_t *count)
{
	const struct cuboid *cuboid = lattice_cuboid(lattice, element);
	const uint32_t *start = &cuboid->starts[element - cuboid->first];
	*count = start[1] - start[0];
	return cuboid->members + start[0];
}

bool lattice_redundant(const struct lattice *lattice, uint32_t element)
{
	const struct cuboid *cuboid = lattice_cuboid(lattice, element);
	uint32_t count, leaf = lattice_leaves(lattice, element, &count)[0];
	for (uint32_t left = cuboid->mask; left; left &= left - 1) {
		const struct cuboid *parent = cuboid_of(lattice, cuboid->mask & ~(left & -left));
		/* An alias has the elements of one that is looked at with another mask. */
		if (parent->alias || parent->layer == 0)
			continue;
		const uint32_t *start = &parent->starts[parent->ids[leaf]];
		if (start[1] - start[0] == count)
			return true;
	}
	return false;
}

enum relation lattice_relation(const struct lattice *lattice, uint32_t element, uint32_t other)
{
	uint32_t count, leaf = lattice_leaves(lattice, element, &count)[0],
			other_leaf = lattice_leaves(lattice, other, &count)[0];
	uint32_t mask = lattice_cuboid(lattice, element)->mask,
		 other_mask = lattice_cuboid(lattice, other)->mask;
	for (uint32_t both = mask & other_mask; both; both &= both - 1) {
		const struct cuboid *single = &lattice->cuboids[1 + __builtin_ctz(both)];
		if (single->ids[leaf] != single->ids[other_leaf])
			return RELATION_APART;
	}
	return (mask & other_mask) == other_mask ? RELATION_WITHIN : RELATION_CROSSING;
}
