/* Faults of the detection bench: ten kinds, three strengths, and what each does to an attempt or a
 * request from one pod to another. Where a fault strikes is drawn among places that are used: one
 * that touches fewer than FAULT_TOUCHED_MIN attempts or requests a minute is no fault that anybody
 * could notice. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "aggregate/rollup.h"
#include "anomaly/alert.h"
#include "bench/detection/town.h"

enum { FAULT_TOUCHED_MIN = 60 };

enum fault_kind {
	FAULT_VERSION,	/* a new version refuses, or resets what it accepted */
	FAULT_INSTANCE, /* one pod refuses, is deaf, or resets */
	FAULT_NODE,	/* dead, deaf by turns, or slow */
	FAULT_ZONE,	/* cut off from the others */
	FAULT_PATH,	/* between two zones segments are lost */
	FAULT_POLICY,	/* SYNs of one edge are dropped */
	FAULT_LISTENER, /* nobody listens at a workload's ports */
	FAULT_SLOW,	/* a server's accept queue is full, clients give up waiting */
	FAULT_DNS,	/* lookups fail or time out, and what would have followed them does not */
	FAULT_TRAFFIC,	/* a client is gone, or asks far too often */
	FAULT_KINDS,
};

enum { STRENGTHS = 3 }; /* the strongest first */

struct fault {
	enum fault_kind kind;
	uint32_t strength, mode; /* of a kind: how it shows */
	uint64_t start_pane, end_pane;
	uint32_t client, server;	 /* workloads */
	uint64_t pod, pod_name, version; /* instance id; name ids */
	uint32_t node, zones[2];
};

/* To an attempt and a request from pod to pod. */
struct effect {
	double fails;	     /* share of attempts that fail, */
	enum counter reason; /* by this */
	double syn_lost;     /* share of attempts that take a second longer */
	double slower;	     /* connecting and round trips, times so much */
	double lost;	     /* share of segments */
	double resets;	     /* of connections after they were established, a request */
	double volume;	     /* of requests */
	double dns_fails;    /* share of lookups */
	enum counter dns_reason;
};

/* Draws where it strikes. */
struct fault fault_draw(struct town *town, enum fault_kind kind, uint32_t strength,
			uint64_t start_pane, uint64_t end_pane);
/* What must happen to the town itself in this pane: a rollout, a dead node's agent. */
void fault_live(struct fault *fault, struct town *town, uint64_t pane);
struct effect fault_effect(const struct fault *fault, const struct town *town,
			   const struct link *link, uint32_t client_pod, uint32_t server_pod,
			   uint64_t pane);
/* Attempts and requests a minute that it touches on this edge. */
double fault_touches(const struct fault *fault, const struct town *town, const struct link *link);
/* Whether it touches the edge at all, or did before its pods were replaced. */
bool fault_concerns(const struct fault *fault, const struct town *town, const struct link *link);
/* Whether that is where it is: of an incident's cause, and the first suspect if there is any. */
bool fault_named(const struct fault *fault, const struct town *town, const struct alert *alert);
/* Whether what is said to be wrong is. */
bool fault_diagnosed(const struct fault *fault, const struct diagnosis *diagnosis);
const char *fault_kind_name(enum fault_kind kind);
