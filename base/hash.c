#include "base/hash.h"

#include <string.h>

/* The key of the algorithm's published test vectors, bytes 00 01 .. 0f: hashes must agree between
 * processes and over years, so it cannot be secret, and with this one they can be checked against
 * any implementation. */
static const uint64_t hash_key[2] = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL};

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotate_left(uint64_t x, unsigned bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static inline void sip_round(struct sip *sip)
{
	sip->v0 += sip->v1;
	sip->v2 += sip->v3;
	sip->v1 = rotate_left(sip->v1, 13) ^ sip->v0;
	sip->v3 = rotate_left(sip->v3, 16) ^ sip->v2;
	sip->v0 = rotate_left(sip->v0, 32);
	sip->v2 += sip->v1;
	sip->v0 += sip->v3;
	sip->v1 = rotate_left(sip->v1, 17) ^ sip->v2;
	sip->v3 = rotate_left(sip->v3, 21) ^ sip->v0;
	sip->v2 = rotate_left(sip->v2, 32);
}

static inline void sip_word(struct sip *sip, uint64_t word)
{
	sip->v3 ^= word;
	sip_round(sip);
	sip->v0 ^= word;
}

static inline uint64_t load_little_endian(const uint8_t *bytes, size_t length)
{
	uint64_t word = 0;
	memcpy(&word, bytes, length);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

uint64_t hash_bytes(const void *bytes, size_t length)
{
	struct sip sip = {
		.v0 = hash_key[0] ^ 0x736f6d6570736575ULL,
		.v1 = hash_key[1] ^ 0x646f72616e646f6dULL,
		.v2 = hash_key[0] ^ 0x6c7967656e657261ULL,
		.v3 = hash_key[1] ^ 0x7465646279746573ULL,
	};
	const uint8_t *at = bytes;
	size_t left = length;
	for (; left >= 8; at += 8, left -= 8)
		sip_word(&sip, load_little_endian(at, 8));
	uint64_t tail = left ? load_little_endian(at, left) : 0;
	sip_word(&sip, tail | (uint64_t)length << 56);
	sip.v2 ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(&sip);
	return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}
