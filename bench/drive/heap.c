#include "bench/drive/heap.h"

#include <inttypes.h>
#include <jemalloc/jemalloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/heap.h"

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

uint64_t heap_of_tasks(void)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	char line[512];
	uint64_t begin, end, kib, bytes = 0;
	bool of_a_task = false;

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &begin, &end) == 2)
			of_a_task = begin >= HEAP_BASE &&
				    begin < HEAP_BASE + HEAP_NUMBERS * HEAP_BYTES_MAX;
		else if (of_a_task && sscanf(line, "Rss: %" SCNu64 " kB", &kib) == 1)
			bytes += kib << 10;
	}
	fclose(file);
	return bytes;
}
