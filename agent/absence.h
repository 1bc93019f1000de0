/* Whether sockets are gone whose end nobody told: a scan visits fewer than are known, again and
 * again. Plain data; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Of so many scans in a row; one alone may have met ends on their way. */
enum { ABSENCE_SCANS = 2 };

struct absence {
	uint32_t scans; /* in a row that found too few */
};

/* A scan is done and read. known: sockets before it; visited: by it; ended: ends that were told
 * since known was counted. Openings meanwhile can only hide an absence, till the next scan. */
bool absence_push(struct absence *absence, uint64_t known, uint64_t visited, uint64_t ended);
