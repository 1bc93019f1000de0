#include "anomaly/witness.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "anomaly/logarithm.h"
#include "base/hash.h"

/* Less is not what it is about. */
#define SHARE_MIN 0.5
/* So much of what most agree on is as much. */
#define NEARLY 0.9

/* One of them on either side is the same. */
static uint32_t side_free(uint32_t kind)
{
	switch (kind) {
	case SUSPECT_CLIENT_INSTANCE:
		return SUSPECT_SERVER_INSTANCE;
	case SUSPECT_CLIENT_VERSION:
		return SUSPECT_SERVER_VERSION;
	case SUSPECT_CLIENT_NODE:
		return SUSPECT_SERVER_NODE;
	case SUSPECT_CLIENT_ZONE:
	case SUSPECT_SERVER_ZONE:
		return SUSPECT_ZONE;
	default:
		return kind;
	}
}

static uint64_t suspect_key(const struct suspect *suspect)
{
	return hash_mix(hash_bytes(suspect->name, strlen(suspect->name)) +
			side_free(suspect->kind));
}

/* What one says of it: its share of the change, and how much that says, as the scan has it
 * (anomaly/domain_scan.h) for one unit of the change. Half of it in a zone through which half of
 * the traffic goes says nothing. */
struct vote {
	uint64_t key;
	double weight;
	uint32_t witness;
};

static double weight_of(const struct suspect *suspect)
{
	double excess = suspect->excess > 1 ? suspect->excess : 1;
	return suspect->share * (logarithm(excess) - 1 + 1 / excess);
}

static int compare_votes(const void *a, const void *b)
{
	const struct vote *left = a, *right = b;
	if (left->key != right->key)
		return left->key < right->key ? -1 : 1;
	if (left->witness != right->witness)
		return left->witness < right->witness ? -1 : 1;
	return (left->weight < right->weight) - (left->weight > right->weight);
}

/* One vote a key, with the sum of the weights; of two witnesses at least. Each counts once, by what
 * it says most of it: a zone it may name at either end and between them. */
static uint32_t sum_votes(struct vote *votes, uint32_t count)
{
	uint32_t kept = 0;
	for (uint32_t begin = 0, end; begin < count; begin = end) {
		struct vote sum = votes[begin];
		uint32_t witnesses = 1;
		for (end = begin + 1; end < count && votes[end].key == sum.key; end++) {
			if (votes[end].witness == votes[end - 1].witness)
				continue;
			sum.weight += votes[end].weight;
			witnesses++;
		}
		if (witnesses > 1)
			votes[kept++] = sum;
	}
	return kept;
}

static uint32_t list_votes(const struct alert *const *witnesses, uint32_t count, struct vote *votes)
{
	uint32_t listed = 0;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = 0; k < witnesses[i]->suspects_count; k++) {
			const struct suspect *suspect = &witnesses[i]->suspects[k];
			if (suspect->share >= SHARE_MIN)
				votes[listed++] =
					(struct vote){suspect_key(suspect), weight_of(suspect), i};
		}
	qsort(votes, listed, sizeof(*votes), compare_votes);
	return sum_votes(votes, listed);
}

static double votes_of(const struct vote *votes, uint32_t count, uint64_t key)
{
	for (uint32_t i = 0; i < count; i++)
		if (votes[i].key == key)
			return votes[i].weight;
	return 0;
}

static const struct suspect *suspect_find(const struct alert *alert, uint64_t key)
{
	for (uint32_t i = 0; i < alert->suspects_count; i++)
		if (suspect_key(&alert->suspects[i]) == key)
			return &alert->suspects[i];
	return NULL;
}

static void bring_forward(struct alert *alert, struct suspect suspect)
{
	uint64_t key = suspect_key(&suspect);
	uint32_t at = 0;
	while (at < alert->suspects_count && suspect_key(&alert->suspects[at]) != key)
		at++;
	if (at == alert->suspects_count && at < ALERT_SUSPECTS_MAX)
		alert->suspects_count++;
	if (at == ALERT_SUSPECTS_MAX)
		at--;
	memmove(&alert->suspects[1], &alert->suspects[0], at * sizeof(suspect));
	alert->suspects[0] = suspect;
}

void witness_agree(struct alert *alert, const struct alert *const *witnesses, uint32_t count)
{
	struct vote votes[WITNESSES_MAX * ALERT_SUSPECTS_MAX], most = {0};
	const struct suspect *suspect = NULL;
	assert(count <= WITNESSES_MAX);
	uint32_t listed = list_votes(witnesses, count, votes);
	for (uint32_t i = 0; i < listed; i++)
		if (votes[i].weight > most.weight)
			most = votes[i];
	if (most.weight <= 0)
		return;
	for (uint32_t i = 0; i < alert->suspects_count && !suspect; i++)
		if (votes_of(votes, listed, suspect_key(&alert->suspects[i])) >=
		    NEARLY * most.weight)
			suspect = &alert->suspects[i];
	for (uint32_t i = 0; i < count && !suspect; i++)
		suspect = suspect_find(witnesses[i], most.key);
	bring_forward(alert, *suspect);
}
