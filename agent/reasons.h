/* Names of why packets are dropped: the running kernel's own (its enum skb_drop_reason, whose
 * numbers differ between kernels), and of ICMP errors. Plain data; any thread. */
#pragma once

#include <stdint.h>

#include "agent/bpf/drop.h"

enum { REASON_NAME_BYTES = 40 };

struct reasons {
	char names[MR_DROP_REASONS][REASON_NAME_BYTES]; /* without SKB_DROP_REASON_; empty: none */
	uint32_t ignored[MR_DROP_REASONS / 32];		/* a bit each: no loss */
	uint32_t purge; /* what waits in a socket that closes: no loss if empty; 0: none */
};

struct btf;
/* 0, or -ENOENT: this kernel tells no reasons (before Linux 5.17). */
int reasons_read(struct reasons *reasons, const struct btf *kernel);

/* The name of a kernel reason or of an MR_DROP_ICMP_REASON, in text if it has none of its own. */
const char *reason_name(const struct reasons *reasons, uint32_t reason,
			char text[REASON_NAME_BYTES]);
