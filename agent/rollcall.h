/* When all of a kind are asked to answer, since records of theirs were lost: who does not answer is
 * gone, who was not known is found. It tells of everyone, so not at each loss of a storm; and
 * answers may be lost, too: then nobody is judged, and it is done again. Times are boottime ns.
 * Plain data; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define ROLLCALL_EVERY_NS (UINT64_C(30) * 1000000000)

struct rollcall {
	uint64_t anyway_ns; /* without a loss: at once and then so often; 0: never */
	bool waiting;	    /* for the answers; mark: of the last one in the ring */
	uint64_t began_ns, mark;
	uint64_t lost, unanswered; /* records and answers, before it began */
	uint64_t mended;	   /* as many of the lost */
};

/* lost: records so far. wanted: for another reason. */
bool rollcall_due(const struct rollcall *call, uint64_t now_ns, uint64_t lost, bool wanted);
/* All were asked after these losses. */
void rollcall_begin(struct rollcall *call, uint64_t began_ns, uint64_t lost, uint64_t unanswered);
/* All answers were read, but those lost by now. Whether there is none of these: who did not answer
 * is gone. */
bool rollcall_end(struct rollcall *call, uint64_t unanswered);
