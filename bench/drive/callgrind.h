/* Instructions where the machine's counters may not be read: a program runs under valgrind, which
 * counts while one of its functions runs. A run takes some fifty times as long. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool callgrind_is_here(void);
/* Runs arguments[0] with the rest, NULL at the end; what it prints (its first line) is in output.
 * Returns the instructions within calls of function, 0 if the run failed. */
uint64_t callgrind_count(const char *function, const char *const arguments[], char *output,
			 size_t size);
