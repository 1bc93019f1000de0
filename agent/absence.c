#include "agent/absence.h"

bool absence_push(struct absence *absence, uint64_t known, uint64_t visited, uint64_t ended)
{
	absence->scans = known > visited + ended ? absence->scans + 1 : 0;
	return absence->scans >= ABSENCE_SCANS;
}
