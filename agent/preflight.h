/* What this host lets the agent do, before it tries: each finding is one sentence that says what is
 * missing, what goes without it, and what to do. Reads files only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { FINDINGS_MAX = 16, FINDING_BYTES = 256 };

struct finding {
	bool fatal; /* nothing useful works without it */
	char sentence[FINDING_BYTES];
};

struct preflight {
	size_t count;
	struct finding findings[FINDINGS_MAX];
};

/* root: "" or where another /proc and /sys are (tests). */
void preflight_run(struct preflight *preflight, const char *root);
bool preflight_fatal(const struct preflight *preflight);
