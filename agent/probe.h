/* The self-probe: a loopback connection to a listener of our own every few seconds, which the
 * recorder marks, and which the pipeline measures the way from kernel to rollup with. The loop's
 * thread. */
#pragma once

#include <stdint.h>
#include <uv.h>

struct probe;
int probe_open(struct probe **out, uv_loop_t *loop, uint64_t period_ms); /* 0 or -errno */
uint16_t probe_port(const struct probe *probe);
/* The loop must run until its handles are gone. Frees itself then. */
void probe_close(struct probe *probe);
