/* All combinations of attribute values that occur in a table of leaves, with the leaves of each.
 *
 * A cuboid is a set of attributes; its elements are the combinations of their values that some leaf
 * has. Elements are numbered cuboid by cuboid, those of fewer attributes first; number 0 is the
 * whole, the one element without attributes. A cuboid in which each element is one of a cuboid with
 * fewer attributes (a container has one node) says nothing new and is left out.
 *
 * Bounds: cuboids of all layers if that makes LATTICE_CUBOIDS at most, else of 3 attributes at
 * most; and so few layers that leaves times cuboids stay within LATTICE_CELLS (8 bytes each). Pure;
 * one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	LATTICE_ATTRIBUTES_MAX = 16,
	LATTICE_CUBOIDS = 63, /* of 6 attributes */
	LATTICE_CELLS = 1 << 25,
};

struct cuboid {
	uint32_t mask, layer;	    /* its attributes, and how many */
	uint32_t first, elements;   /* the number of its first element, and how many */
	uint32_t *ids;		    /* a leaf's element, from 0 */
	uint32_t *starts, *members; /* an element's leaves: members[starts[id] .. starts[id + 1]) */
	bool alias;		    /* left out: its elements have no numbers */
};

struct lattice {
	uint32_t leaves, attributes, layers;
	uint32_t cuboids_count, elements;
	struct cuboid *cuboids;
	uint16_t *owners; /* an element's cuboid */
};

/* values: of leaf i and attribute a at [i * attributes + a]; only equality matters. */
struct lattice *lattice_new(const uint32_t *values, uint32_t leaves, uint32_t attributes);
void lattice_free(struct lattice *lattice);

static inline const struct cuboid *lattice_cuboid(const struct lattice *lattice, uint32_t element)
{
	return &lattice->cuboids[lattice->owners[element]];
}

/* The element's leaves, ascending. */
const uint32_t *lattice_leaves(const struct lattice *lattice, uint32_t element, uint32_t *count);

/* Whether an element with one attribute less has the same leaves: that one stands for both. */
bool lattice_redundant(const struct lattice *lattice, uint32_t element);

enum relation { RELATION_APART, RELATION_WITHIN, RELATION_CROSSING };

/* Of the leaves of `element` to those of `other`: none is shared, all are, or some may be. */
enum relation lattice_relation(const struct lattice *lattice, uint32_t element, uint32_t other);
