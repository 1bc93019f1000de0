#include "bench/drive/anomaly.h"

#include "anomaly/anomaly.h"

void __real_anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
			 const struct names *names);
void __real_anomaly_advance(struct anomaly *anomaly, uint64_t now_ns);
void __wrap_anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
			 const struct names *names);
void __wrap_anomaly_advance(struct anomaly *anomaly, uint64_t now_ns);

static bool is_on;
static struct cost total;

void anomaly_meter(bool on)
{
	is_on = on;
	total = (struct cost){0};
}

struct cost anomaly_metered(void)
{
	return total;
}

void __wrap_anomaly_push(struct anomaly *anomaly, const struct rollup *rollups, size_t count,
			 const struct names *names)
{
	struct cost before;

	if (!is_on)
		return;
	before = cost_now();
	__real_anomaly_push(anomaly, rollups, count, names);
	cost_add(&total, cost_since(before));
}

void __wrap_anomaly_advance(struct anomaly *anomaly, uint64_t now_ns)
{
	struct cost before;

	if (!is_on)
		return;
	before = cost_now();
	__real_anomaly_advance(anomaly, now_ns);
	cost_add(&total, cost_since(before));
}
