/* The places of a vector's elements changed by constants, as both compilers spell it: gcc builds
 * what runs, clang the fuzzers. Numbers from the first operand's 0 on, through the second's. */
#pragma once

#ifdef __clang__
#define VECTOR_SHUFFLE(first, second, ...) __builtin_shufflevector(first, second, __VA_ARGS__)
#else
#define VECTOR_SHUFFLE(first, second, ...) \
	__builtin_shuffle(first, second, (__typeof__(first)){__VA_ARGS__})
#endif
