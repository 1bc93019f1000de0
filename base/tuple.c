#include "base/tuple.h"

#include <string.h>

#include "base/hash.h"

/* Odd words without structure (hexadecimal digits of pi): what each pair of words is mixed with. */
static const uint64_t mix_with[] = {0x243f6a8885a308d3ULL, 0x13198a2e03707345ULL,
				    0xa4093822299f31d1ULL, 0x082efa98ec4e6c89ULL,
				    0x452821e638d01377ULL, 0xbe5466cf34e90c6dULL};

/* Chooses owners, which must be the same everywhere, never identity: who hashes tuples compares
 * them too. A hash with a published key protects from crafted tuples no better than this does, at
 * six times the cost; tables have hashes of their own. */
uint64_t tuple_hash(const struct tuple *tuple)
{
	uint64_t words[6] = {0};
	memcpy(words, tuple, sizeof(*tuple));
	uint64_t hash = hash_fold(words[0] ^ mix_with[0], words[1] ^ mix_with[1]) ^
			hash_fold(words[2] ^ mix_with[2], words[3] ^ mix_with[3]) ^
			hash_fold(words[4] ^ mix_with[4], words[5] ^ mix_with[5]);
	return hash_fold(hash ^ mix_with[0], mix_with[2]);
}
