#include "agent/meter.h"

/* Since at_ns. A counter that went back belongs to a program that was taken away. */
static uint64_t moved(const struct meter *meter, uint64_t now_ns, uint64_t raw)
{
	uint64_t since_ns = now_ns > meter->at_ns ? now_ns - meter->at_ns : 0;
	if (!meter->sampling)
		return (uint64_t)(meter->rate * (double)since_ns);
	return raw > meter->raw ? raw - meter->raw : 0;
}

void meter_begin(struct meter *meter, uint64_t now_ns, uint64_t raw)
{
	meter->total += moved(meter, now_ns, meter->raw);
	meter->at_ns = now_ns;
	meter->raw = raw;
	meter->sampling = true;
}

void meter_end(struct meter *meter, uint64_t now_ns, uint64_t raw)
{
	uint64_t in_sample = moved(meter, now_ns, raw);
	if (now_ns > meter->at_ns)
		meter->rate = (double)in_sample / (double)(now_ns - meter->at_ns);
	meter->total += in_sample;
	meter->at_ns = now_ns;
	meter->sampling = false;
}

uint64_t meter_total(const struct meter *meter, uint64_t now_ns, uint64_t raw)
{
	return meter->total + moved(meter, now_ns, raw);
}
