/* The self-probe: a loopback connection to a listener of our own, every few seconds or when asked,
 * which the recorder marks, and which the pipeline measures the way from kernel to rollup with. A
 * stranger that connects is held until the next probe at most, one at once. The loop's thread. */
#pragma once

#include <stdint.h>
#include <uv.h>

struct probe;
/* 0 or -errno. period_ms 0: only when asked. */
int probe_open(struct probe **out, uv_loop_t *loop, uint64_t period_ms);
void probe_connect(struct probe *probe); /* now, unless the one before is still under way */
uint16_t probe_port(const struct probe *probe);
/* The loop must run until its handles are gone. Frees itself then. */
void probe_close(struct probe *probe);
