/* What vectors need beside their operators, as both compilers spell it: gcc builds what runs, clang
 * the fuzzers. */
#pragma once

/* The places of a vector's elements changed by constants: numbers from the first operand's 0 on,
 * through the second's. */
#ifdef __clang__
#define VECTOR_SHUFFLE(first, second, ...) __builtin_shufflevector(first, second, __VA_ARGS__)
#else
#define VECTOR_SHUFFLE(first, second, ...) \
	__builtin_shuffle(first, second, (__typeof__(first)){__VA_ARGS__})
#endif

/* For a function that is worth two bodies, with all that is in line in it: one for processors with
 * AVX2, chosen when the program is loaded. Integers only, so both give the same. */
#if defined(__x86_64__) && !defined(__clang__)
#define VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR_CLONES
#endif
