/* SipHash-1-3 (Aumasson, Bernstein 2012) with the pipeline's fixed key: the same bytes have the
 * same hash in every process, so a hash may travel and may order output. Pure; any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t length);

/* For words that are already well spread or need no protection from crafted keys (murmur3's
 * finalizer). */
static inline uint64_t hash_mix(uint64_t x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ (x >> 33);
}

/* Odd words that nobody knows without the seed: what they are multiplied with cannot be chosen so
 * that it meets. */
static inline uint64_t hash_secret(uint64_t seed, uint64_t number)
{
	return hash_mix(seed + (number + 1) * 0x9e3779b97f4a7c15ULL) | 1;
}

/* Both halves of a 128-bit product: every bit of either word reaches every bit of the result. */
static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Which of `tasks` owns a key: by the high bits, so that tables may use the low ones. */
static inline uint32_t hash_owner(uint64_t hash, uint32_t tasks)
{
	return (uint32_t)(((hash >> 32) * tasks) >> 32);
}
