/* What this host lets the agent do, before it tries: each finding is one sentence that says what is
 * missing, what goes without it, and what to do. Reads files only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { FINDINGS_MAX = 32, FINDING_BYTES = 256 };

struct finding {
	bool fatal; /* nothing useful works without it */
	char sentence[FINDING_BYTES];
};

struct preflight {
	size_t count;
	struct finding findings[FINDINGS_MAX];
};

/* docker_root: whose containers' files are to be read. root: "" or where another /proc and /sys are
 * (tests). */
void preflight_run(struct preflight *preflight, const char *docker_root, const char *root);
bool preflight_fatal(const struct preflight *preflight);
/* Whether the kernel's pids are those that this process knows; also where nothing tells. */
bool preflight_pids_are_the_hosts(const char *root);
/* What the running agent finds missing besides. Whether it is new: told before, or no room, is not.
 */
bool preflight_add(struct preflight *preflight, const char *sentence);
/* All sentences, lent for preflight's life, for who tells them elsewhere; how many. */
size_t preflight_sentences(const struct preflight *preflight, const char *sentences[FINDINGS_MAX]);
