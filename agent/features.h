/* What the agent does beyond telling of TCP openings and ends, and how each part is put on and off
 * while it runs: BPF programs attached or detached, a bit that programs look at, or a function of
 * the agent's. A feature is on when it can be (configured, and the kernel has what it needs), the
 * control record does not put it off, and the budget has not taken it back.
 *
 * The steps that the budget takes back, in their order, are here too (features_degraded says them).
 * TCP openings and ends are no feature: nothing takes them back. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum feature {
	FEATURE_OWNERS,	   /* who first sends or receives: fork servers' workers */
	FEATURE_PROCESSES, /* starts, programs, ends */
	FEATURE_CMDLINES,  /* arguments of executed programs */
	FEATURE_NAT,	   /* from conntrack */
	FEATURE_UDP,	   /* datagrams by peer */
	FEATURE_DNS,	   /* names looked up */
	FEATURE_SNI,	   /* names in TLS handshakes */
	FEATURE_DROPS,	   /* dropped packets by reason, ICMP errors */
	FEATURES,
};

struct tracer;
struct features;

struct features_options {
	struct tracer *tracer;	   /* lent for its life */
	bool configured[FEATURES]; /* what is not cannot be put on */
	/* What the tracer's programs are not all of: told after they were put on or off. 0 or
	 * -errno. */
	int (*switched)(void *context, enum feature feature, bool on);
	void *context;
};

struct features *features_new(const struct features_options *options);
void features_free(struct features *features);

const char *feature_name(enum feature feature);
bool feature_parse(const char *name, enum feature *feature);

/* Whether it can be on at all. */
bool feature_possible(const struct features *features, enum feature feature);
bool feature_on(const struct features *features, enum feature feature);
/* What the control record wants: bits by feature; others stay as configured. */
void features_control(struct features *features, uint32_t off);

/* Steps that mean something here: those whose feature could be on, and longer scan periods. */
uint32_t features_steps(const struct features *features);
/* The budget's level: that many of these steps are taken back. */
void features_level(struct features *features, uint32_t level);
/* By how much scan periods are longer at this level; 0: to their bound. */
uint32_t features_scan_factor(const struct features *features);
/* What the level leaves out, a sentence without its end; empty at level 0. */
void features_degraded(const struct features *features, FILE *file);

/* Brings the kernel in line with what is wanted. Called after any change; what failed is tried
 * again at the next. The first -errno. */
int features_apply(struct features *features);
