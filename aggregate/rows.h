/* The pane's rows for one owner while deltas are added to them: dense columns found by key, and an
 * append log of samples that becomes sketches only when the pane is taken. Memory is kept from pane
 * to pane. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "aggregate/bucket.h"
#include "aggregate/row_index.h"
#include "aggregate/tally.h"
#include "base/label.h"

struct row_key {
	uint64_t edge_id, sub_id, window_start_ns;
	uint8_t scope, kind;
};

struct row {
	struct row_key key;
	uint64_t last_event_ns;
	uint32_t min_rtt_us;
	int64_t columns[COLUMNS];
};

/* What a row's descriptors and names are made from; read once a pane at most, so apart from the
 * row. */
struct row_identity {
	struct edge edge;
	union {
		struct lane lane;
		struct instance instance;
	};
	struct address client_address, server_address;
};

enum distribution { DISTRIBUTION_CONNECT, DISTRIBUTION_SRTT };

struct rows {
	struct row *rows;
	struct row_identity *identities;
	uint32_t count, capacity;
	struct row_index index;
	uint64_t *samples, *spare; /* row << 13 | distribution << 12 | sketch index */
	size_t samples_count, samples_capacity;
};

void rows_init(struct rows *rows);
void rows_done(struct rows *rows);
void rows_clear(struct rows *rows);

static inline uint64_t row_key_hash(const struct row_key *key)
{
	/* Ids are hashes already: what is left is to keep (edge, sub) and scopes apart. */
	uint64_t low = (uint64_t)key->scope << 8 | key->kind;
	uint64_t x = (key->edge_id ^ low) * 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 32) ^ key->sub_id) * 0xff51afd7ed558ccdULL;
	x = (x ^ (x >> 32) ^ key->window_start_ns) * 0xc4ceb9fe1a85ec53ULL;
	return x ^ (x >> 29);
}

/* ROW_NONE if it is not there. */
uint32_t rows_find(const struct rows *rows, const struct row_key *key, uint64_t hash);
/* key is not there yet. */
uint32_t rows_create(struct rows *rows, const struct row_key *key, uint64_t hash,
		     const struct row_identity *identity);

void row_tally(struct row *row, const struct tally *tally);
void rows_sample(struct rows *rows, uint32_t row, enum distribution distribution,
		 uint64_t value_ns);
/* Orders samples by row, distribution and sketch index. */
void rows_sort_samples(struct rows *rows);

static inline uint32_t sample_row(uint64_t sample)
{
	return (uint32_t)(sample >> 13);
}
static inline enum distribution sample_distribution(uint64_t sample)
{
	return sample >> 12 & 1;
}
static inline uint16_t sample_index(uint64_t sample)
{
	return sample & 0xfff;
}
