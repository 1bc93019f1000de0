#include "ingest/varint.h"

#include <string.h>

#include "agent/batch/wire.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

static const uint64_t high_bits = 0x8080808080808080;

/* Little-endian, as the bytes stand. */
static inline uint64_t load_word(const uint8_t *at)
{
	uint64_t word;
	memcpy(&word, at, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	word = __builtin_bswap64(word);
#endif
	return word;
}

/* Stores one value; returns it as the column's type has it on the wire. */
static inline uint64_t store_value(enum varint_type type, void *values, size_t i, uint64_t value)
{
	if (type == VARINT_U32 || type == VARINT_S32)
		value = (uint32_t)value;
	switch (type) {
	case VARINT_U32:
		((uint32_t *)values)[i] = (uint32_t)value;
		break;
	case VARINT_U64:
		((uint64_t *)values)[i] = value;
		break;
	case VARINT_S32:
		((uint32_t *)values)[i] = (uint32_t)(value >> 1 ^ -(value & 1));
		break;
	case VARINT_S64:
		((uint64_t *)values)[i] = value >> 1 ^ -(value & 1);
		break;
	}
	return value;
}

/* The varint at `at`, of which the last byte is known to be before `end`, or NULL. */
static inline const uint8_t *next_value(const uint8_t *at, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; shift < 7 * WIRE_VARINT_MAX; shift += 7) {
		uint8_t byte = *at++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return at;
	}
	return NULL;
}

/* If the last byte ends a value, so does every other value. */
static bool is_finished(const struct varint_packed *packed)
{
	return packed->bytes == packed->end || packed->end[-1] < 0x80;
}

static inline __attribute__((always_inline)) bool read_portable(enum varint_type type,
								const struct varint_packed *packed,
								void *values,
								struct varint_found *found)
{
	uint64_t max = 0, value;
	size_t count = 0;
	for (const uint8_t *at = packed->bytes; at < packed->end;) {
		if (packed->end - at >= 8 && (load_word(at) & high_bits) == 0) {
			for (int i = 0; i < 8; i++) {
				value = store_value(type, values, count++, *at++);
				max = value > max ? value : max;
			}
			continue;
		}
		at = next_value(at, &value);
		if (!at)
			return false;
		value = store_value(type, values, count++, value);
		max = value > max ? value : max;
	}
	*found = (struct varint_found){count, max};
	return true;
}

bool varint_read_portable(const struct varint_packed *packed, void *values,
			  struct varint_found *found)
{
	if (!is_finished(packed))
		return false;
	switch (packed->type) {
	case VARINT_U32:
		return read_portable(VARINT_U32, packed, values, found);
	case VARINT_U64:
		return read_portable(VARINT_U64, packed, values, found);
	case VARINT_S32:
		return read_portable(VARINT_S32, packed, values, found);
	case VARINT_S64:
		return read_portable(VARINT_S64, packed, values, found);
	}
	return false;
}

#ifdef __x86_64__

#define FAST	    __attribute__((target("avx2,bmi,bmi2,lzcnt,popcnt")))
#define FAST_INLINE FAST __attribute__((always_inline)) static inline

enum {
	BLOCK = 32,
	READ_AHEAD = BLOCK + 8, /* a word may begin at a block's last byte */
	WINDOW = 8,		/* bytes */
	WINDOW_VALUES = 4,
};

/* A pair: the values of one or two bytes that end in eight bytes, by the bits of the bytes that end
 * one, the byte before the eight first. Which byte of the nine goes where so that the values stand
 * in lanes of 16 bits; 0x80 is zero. */
static uint8_t pair_shuffles[2 << WINDOW][2 * WINDOW] __attribute__((aligned(16)));

/* A window: the first values, four at most, that end in eight bytes, by the bits of the bytes that
 * end one. Which byte goes where so that the values stand in lanes of 32 bits, and how many bytes
 * and values that takes. Values of more than four bytes are not asked for. */
static uint8_t window_shuffles[1 << WINDOW][4 * WINDOW_VALUES] __attribute__((aligned(16)));
static uint8_t window_bytes[1 << WINDOW], window_values[1 << WINDOW];

/* 32 bytes from BLOCK - n on keep the first n of a block. */
static const uint8_t keep_first[2 * BLOCK] = {
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
	255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
};

static void make_window(unsigned ends)
{
	unsigned lane = 0, start = 0;
	for (unsigned i = 0; i < WINDOW && lane < WINDOW_VALUES; i++) {
		if (!(ends >> i & 1))
			continue;
		for (unsigned byte = 0; byte <= i - start && byte < 4; byte++)
			window_shuffles[ends][4 * lane + byte] = (uint8_t)(start + byte);
		start = i + 1;
		lane++;
	}
	window_bytes[ends] = (uint8_t)start;
	window_values[ends] = (uint8_t)lane;
}

static void make_pair(unsigned ends)
{
	unsigned lane = 0;
	for (unsigned i = 1; i <= WINDOW; i++) {
		if (!(ends >> i & 1))
			continue;
		uint8_t *bytes = &pair_shuffles[ends][2 * lane++];
		if (ends >> (i - 1) & 1) {
			bytes[0] = (uint8_t)i;
		} else {
			bytes[0] = (uint8_t)(i - 1);
			bytes[1] = (uint8_t)i;
		}
	}
}

__attribute__((constructor)) static void make_tables(void)
{
	memset(pair_shuffles, 0x80, sizeof(pair_shuffles));
	for (unsigned ends = 0; ends < 2 << WINDOW; ends++)
		make_pair(ends);
	memset(window_shuffles, 0x80, sizeof(window_shuffles));
	for (unsigned ends = 0; ends < 1 << WINDOW; ends++)
		make_window(ends);
}

/* State of one column's reading. */
struct fast {
	const uint8_t *at;
	size_t count;
	__m256i bytes_max, words_max, lanes_max; /* of 8, 16 and 32 bits */
	uint64_t max;
};

FAST_INLINE __m256i undo_zigzag(__m256i lanes)
{
	__m256i sign = _mm256_sub_epi32(_mm256_setzero_si256(),
					_mm256_and_si256(lanes, _mm256_set1_epi32(1)));
	return _mm256_xor_si256(_mm256_srli_epi32(lanes, 1), sign);
}

/* Four lanes of at most 28 bits. */
FAST_INLINE void store_four(enum varint_type type, void *values, size_t i, __m128i lanes)
{
	if (type == VARINT_U32 || type == VARINT_S32)
		_mm_storeu_si128((__m128i *)((uint32_t *)values + i), lanes);
	else
		_mm256_storeu_si256((__m256i *)((uint64_t *)values + i),
				    _mm256_cvtepi32_epi64(lanes));
}

/* Twice four lanes; the latter go to `second`. */
FAST_INLINE void store_eight(enum varint_type type, void *values, size_t first, size_t second,
			     __m256i lanes)
{
	if (type == VARINT_S32 || type == VARINT_S64)
		lanes = undo_zigzag(lanes);
	store_four(type, values, first, _mm256_castsi256_si128(lanes));
	store_four(type, values, second, _mm256_extracti128_si256(lanes, 1));
}

/* All of the first `length` bytes are values. */
FAST_INLINE void read_bytes(enum varint_type type, struct fast *fast, void *values, __m256i block,
			    size_t length)
{
	__m256i keep = _mm256_loadu_si256((const __m256i *)(keep_first + BLOCK - length));
	fast->bytes_max = _mm256_max_epu8(fast->bytes_max, _mm256_and_si256(block, keep));
	for (size_t i = 0; i < length; i += 8)
		store_eight(type, values, fast->count + i, fast->count + i + 4,
			    _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(fast->at + i))));
	fast->at += length;
	fast->count += length;
}

/* Eight lanes of at most 14 bits. */
FAST_INLINE void store_words(enum varint_type type, void *values, size_t i, __m128i words)
{
	if (type == VARINT_U32 || type == VARINT_S32) {
		_mm256_storeu_si256((__m256i *)((uint32_t *)values + i),
				    _mm256_cvtepi16_epi32(words));
		return;
	}
	__m256i *wide = (__m256i *)((uint64_t *)values + i);
	_mm256_storeu_si256(wide, _mm256_cvtepi16_epi64(words));
	_mm256_storeu_si256(wide + 1, _mm256_cvtepi16_epi64(_mm_srli_si128(words, 8)));
}

/* Sixteen bytes, in halves of which each begins with the byte before its eight. */
FAST_INLINE __m256i join_pairs(struct fast *fast, __m128i one, __m128i two, uint64_t ends)
{
	__m256i bytes = _mm256_set_m128i(two, one);
	__m256i shuffle =
		_mm256_set_m128i(_mm_load_si128((const __m128i *)pair_shuffles[ends >> 8 & 0x1ff]),
				 _mm_load_si128((const __m128i *)pair_shuffles[ends & 0x1ff]));
	bytes = _mm256_and_si256(_mm256_shuffle_epi8(bytes, shuffle), _mm256_set1_epi8(0x7f));
	__m256i words = _mm256_maddubs_epi16(_mm256_set1_epi16((short)0x8001), bytes);
	fast->words_max = _mm256_max_epu16(fast->words_max, words);
	return words;
}

FAST_INLINE __m256i undo_words_zigzag(__m256i words)
{
	__m256i sign = _mm256_sub_epi16(_mm256_setzero_si256(),
					_mm256_and_si256(words, _mm256_set1_epi16(1)));
	return _mm256_xor_si256(_mm256_srli_epi16(words, 1), sign);
}

/* ends: which of the block's bytes end a value; no value has more than two bytes. No step waits for
 * the one before it. */
FAST_INLINE void read_pairs(enum varint_type type, struct fast *fast, void *values, uint32_t ends)
{
	size_t count = fast->count;
	uint64_t shifted = (uint64_t)ends << 1 | 1; /* a value begins with the block */
	__m128i first = _mm_slli_si128(_mm_loadu_si128((const __m128i *)fast->at), 1);
	__m256i low =
		join_pairs(fast, first, _mm_loadu_si128((const void *)(fast->at + 7)), shifted);
	__m256i high = join_pairs(fast, _mm_loadu_si128((const void *)(fast->at + 15)),
				  _mm_loadu_si128((const void *)(fast->at + 23)), shifted >> 16);
	if (type == VARINT_S32 || type == VARINT_S64) {
		low = undo_words_zigzag(low);
		high = undo_words_zigzag(high);
	}
	store_words(type, values, count, _mm256_castsi256_si128(low));
	store_words(type, values, count + (size_t)_mm_popcnt_u32(ends & 0xff),
		    _mm256_extracti128_si256(low, 1));
	store_words(type, values, count + (size_t)_mm_popcnt_u32(ends & 0xffff),
		    _mm256_castsi256_si128(high));
	store_words(type, values, count + (size_t)_mm_popcnt_u32(ends & 0xffffff),
		    _mm256_extracti128_si256(high, 1));
	fast->at += 32 - (size_t)_lzcnt_u32(ends);
	fast->count = count + (size_t)_mm_popcnt_u32(ends);
}

/* ends: which of the block's bytes end a value; no value has more than four bytes. Two windows at a
 * time. Bytes behind the last end stay for the next block. */
FAST_INLINE void read_windows(enum varint_type type, struct fast *fast, void *values, uint32_t ends)
{
	const __m256i seven_bits = _mm256_set1_epi8(0x7f);
	const __m256i join_bytes = _mm256_set1_epi16((short)0x8001); /* 1, 2^7 */
	const __m256i join_words = _mm256_set1_epi32(0x40000001);    /* 1, 2^14 */
	const uint8_t *at = fast->at;
	size_t count = fast->count;
	/* Known before the windows are: the next block need not wait for them. */
	fast->at += 32 - (size_t)_lzcnt_u32(ends);
	fast->count += (size_t)_mm_popcnt_u32(ends);
	do {
		uint32_t one = ends & 0xff;
		const uint8_t *next = at + window_bytes[one];
		ends >>= window_bytes[one];
		uint32_t two = ends & 0xff;
		ends >>= window_bytes[two];
		__m256i lanes = _mm256_set_m128i(_mm_loadl_epi64((const __m128i *)next),
						 _mm_loadl_epi64((const __m128i *)at));
		__m256i shuffle =
			_mm256_set_m128i(_mm_load_si128((const __m128i *)window_shuffles[two]),
					 _mm_load_si128((const __m128i *)window_shuffles[one]));
		lanes = _mm256_and_si256(_mm256_shuffle_epi8(lanes, shuffle), seven_bits);
		lanes = _mm256_maddubs_epi16(join_bytes, lanes);
		lanes = _mm256_madd_epi16(lanes, join_words);
		fast->lanes_max = _mm256_max_epu32(fast->lanes_max, lanes);
		size_t second = count + window_values[one];
		store_eight(type, values, count, second, lanes);
		at = next + window_bytes[two];
		count = second + window_values[two];
	} while (ends);
}

/* One by one. */
FAST_INLINE bool read_long(enum varint_type type, struct fast *fast, void *values, uint32_t ends)
{
	unsigned left = (unsigned)_mm_popcnt_u32(ends);
	if (left == 0)
		return false;
	for (; left > 0; left--) {
		uint64_t word = load_word(fast->at), value;
		uint64_t stops = ~word & high_bits;
		if (stops) {
			value = _pext_u64(word, _blsmsk_u64(stops) & ~high_bits);
			fast->at += (_tzcnt_u64(stops) >> 3) + 1;
		} else {
			fast->at = next_value(fast->at, &value);
			if (!fast->at)
				return false;
		}
		value = store_value(type, values, fast->count++, value);
		fast->max = value > fast->max ? value : fast->max;
	}
	return true;
}

FAST_INLINE uint64_t fast_max(const struct fast *fast)
{
	__m128i words = _mm_max_epu16(_mm256_castsi256_si128(fast->words_max),
				      _mm256_extracti128_si256(fast->words_max, 1));
	__m128i bytes = _mm_max_epu8(_mm256_castsi256_si128(fast->bytes_max),
				     _mm256_extracti128_si256(fast->bytes_max, 1));
	bytes = _mm_max_epu8(bytes, _mm_srli_si128(bytes, 8));
	words = _mm_max_epu16(words, _mm_cvtepu8_epi16(bytes));
	__m256i lanes = _mm256_max_epu32(fast->lanes_max, _mm256_cvtepu16_epi32(words));
	__m128i four =
		_mm_max_epu32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
	four = _mm_max_epu32(four, _mm_srli_si128(four, 8));
	four = _mm_max_epu32(four, _mm_srli_si128(four, 4));
	uint32_t max = (uint32_t)_mm_cvtsi128_si32(four);
	return fast->max > max ? fast->max : max;
}

/* The values that end in the block; only its first `length` bytes are the column's. */
FAST_INLINE bool read_block(enum varint_type type, struct fast *fast, void *values, size_t length)
{
	uint32_t valid = (uint32_t)(0xffffffffULL >> (BLOCK - length));
	__m256i block = _mm256_loadu_si256((const __m256i *)fast->at);
	uint32_t ends = ~(uint32_t)_mm256_movemask_epi8(block) & valid;
	uint32_t more = ends ^ valid;
	if (!more) {
		read_bytes(type, fast, values, block, length);
		return true;
	}
	/* bits of bytes that go on, as the one or the three before them do */
	uint32_t two = more & more >> 1, four = two & two >> 2;
	if (four)
		return read_long(type, fast, values, ends);
	if (two)
		read_windows(type, fast, values, ends);
	else
		read_pairs(type, fast, values, ends);
	return true;
}

/* The rest of the column, less than a block or close to readable_end. */
FAST_INLINE bool read_rest(enum varint_type type, struct fast *fast, const uint8_t *end,
			   const uint8_t *readable_end, void *values)
{
	uint8_t tail[2 * READ_AHEAD];
	while (fast->at < end) {
		size_t left = (size_t)(end - fast->at);
		if (readable_end - fast->at < READ_AHEAD) {
			memset(tail, 0, sizeof(tail));
			memcpy(tail, fast->at, left);
			fast->at = tail;
			end = tail + left;
			readable_end = tail + sizeof(tail);
		}
		if (!read_block(type, fast, values, left < BLOCK ? left : BLOCK))
			return false;
	}
	return true;
}

FAST_INLINE bool read_fast(enum varint_type type, const struct varint_packed *packed, void *values,
			   struct varint_found *found)
{
	struct fast fast = {
		.at = packed->bytes,
		.bytes_max = _mm256_setzero_si256(),
		.words_max = _mm256_setzero_si256(),
		.lanes_max = _mm256_setzero_si256(),
	};
	while (packed->end - fast.at >= BLOCK && packed->readable_end - fast.at >= READ_AHEAD)
		if (!read_block(type, &fast, values, BLOCK))
			return false;
	if (!read_rest(type, &fast, packed->end, packed->readable_end, values))
		return false;
	*found = (struct varint_found){fast.count, packed->bounded ? fast_max(&fast) : 0};
	return true;
}

FAST static bool varint_read_fast(const struct varint_packed *packed, void *values,
				  struct varint_found *found)
{
	if (!is_finished(packed))
		return false;
	switch (packed->type) {
	case VARINT_U32:
		return read_fast(VARINT_U32, packed, values, found);
	case VARINT_U64:
		return read_fast(VARINT_U64, packed, values, found);
	case VARINT_S32:
		return read_fast(VARINT_S32, packed, values, found);
	case VARINT_S64:
		return read_fast(VARINT_S64, packed, values, found);
	}
	return false;
}

varint_reader *varint_reader_here(void)
{
	bool fast = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
		    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
	return fast ? varint_read_fast : varint_read_portable;
}

#else

varint_reader *varint_reader_here(void)
{
	return varint_read_portable;
}

#endif
