#include "bench/drive/cost.h"

#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static int counter(void)
{
	static int descriptor = -2;
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	if (descriptor == -2)
		descriptor = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0UL);
	return descriptor;
}

bool cost_counts_instructions(void)
{
	return counter() >= 0;
}

struct cost cost_now(void)
{
	struct cost cost = {0};
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	cost.ns = (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
	if (counter() >= 0 && read(counter(), &cost.instructions, sizeof(cost.instructions)) !=
				      sizeof(cost.instructions))
		cost.instructions = 0;
	return cost;
}

struct cost cost_since(struct cost before)
{
	struct cost now = cost_now();

	return (struct cost){now.ns - before.ns, now.instructions - before.instructions};
}

void cost_add(struct cost *sum, struct cost cost)
{
	sum->ns += cost.ns;
	sum->instructions += cost.instructions;
}
