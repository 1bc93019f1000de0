/* What something costs that is measured now and then, because measuring costs too: between samples
 * it goes on at the rate of the last one. Never falls. Plain data; one thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct meter {
	uint64_t total; /* at at_ns */
	uint64_t at_ns; /* where the sample began, or the last one ended */
	uint64_t raw;	/* while sampling: the counter at at_ns */
	double rate;	/* a ns, else */
	bool sampling;
};

/* raw: a counter that moves while samples are taken, by all that is to be counted. */
void meter_begin(struct meter *meter, uint64_t now_ns, uint64_t raw);
void meter_end(struct meter *meter, uint64_t now_ns, uint64_t raw);
uint64_t meter_total(const struct meter *meter, uint64_t now_ns, uint64_t raw);
