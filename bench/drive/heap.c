#include "bench/drive/heap.h"

#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <unistd.h>

uint64_t heap_allocated(void)
{
	uint64_t epoch = 1;
	size_t allocated = 0, size = sizeof(allocated);

	if (mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) ||
	    mallctl("stats.allocated", &allocated, &size, NULL, 0))
		return 0;
	return allocated;
}

void heap_purge(void)
{
	char name[32];

	snprintf(name, sizeof(name), "arena.%d.purge", MALLCTL_ARENAS_ALL);
	mallctl(name, NULL, NULL, NULL, 0);
}

uint64_t heap_resident(void)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long pages = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%*u %lu", &pages) != 1)
		pages = 0;
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}
