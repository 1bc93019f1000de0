/* The stamps of a sealed batch, changed in place: its clocks and its epoch are fixed64 fields of
 * the header, so a recorded batch can be told at another time, by a wrong clock or by an agent that
 * began anew. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct stamp {
	int64_t realtime_ns; /* added to base time and sent real time; whole microseconds */
	int64_t boottime_ns; /* added to the sent boottime */
	uint64_t epoch;	     /* XORed */
	const uint8_t *key;  /* the node's, to sign anew; NULL: the batch is not signed */
};

/* The bytes must be a batch that batch_seal made. */
void stamp_batch(uint8_t *bytes, size_t length, const struct stamp *stamp);
