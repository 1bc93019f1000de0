/* A map of workloads for the detection bench: gateways call front ends, these services, these
 * stores; all ask DNS; batch jobs and a few seldom-used clients stand beside. Pods stand on nodes
 * in zones, have versions, are replaced, scaled and deployed anew. What passes between them is
 * bench/detection/traffic.h's. Everything comes from the seed. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/identity.h"
#include "base/name.h"
#include "bench/detection/chance.h"

enum {
	ZONES = 3,
	PODS_MAX = 12, /* of a workload */
	TOWN_NODES = 24,
	SPREADS = 4,
	DNS_PORT = 53,
};

enum role { ROLE_GATEWAY, ROLE_FRONT, ROLE_SERVICE, ROLE_STORE, ROLE_DNS, ROLE_BATCH, ROLES };

struct pod {
	struct instance instance;
	uint32_t node, zone;
	uint64_t since_pane; /* of its start */
};

struct workload {
	char name[48];
	uint64_t id;
	enum role role;
	uint32_t version, serial; /* the newest */
	uint32_t pods_count;
	struct pod pods[PODS_MAX];
	/* A deployment on its way: pods before this one are of the newest version. */
	uint32_t deployed;
	uint64_t next_pane; /* of the deployment's next pod; 0: none */
};

/* What usually passes over an edge. */
struct habit {
	double rate;	 /* requests a second */
	double opens;	 /* connections a request */
	double tx, rx;	 /* bytes of a request and its response, medians */
	uint32_t spread; /* of these, and how far they scatter */
	double connect_us, srtt_us;
	double fails;		/* share of attempts that fail every day, */
	bool refuses;		/* by being refused */
	uint32_t timeout_panes; /* until an attempt that nobody answers is given up */
	/* The day: 1 + day * a wave, its peak at this hour; and times so much at weekends. */
	double day, peak_hour, weekend;
	/* Of a batch job: it runs so long every so often; else 0. */
	uint32_t period_s, run_s, offset_s;
};

struct link {
	struct edge edge;
	uint32_t client, server; /* workloads */
	struct habit habit;
};

struct town {
	struct dice dice;
	struct names *names;
	uint64_t zones[ZONES], nodes[TOWN_NODES];
	struct workload *workloads;
	struct link *links; /* by edge id */
	uint32_t workloads_count, links_count, links_capacity;
	struct spread spreads[SPREADS];
	double spread_means[SPREADS];
	bool node_silent[TOWN_NODES]; /* its agent starts anew */
	uint64_t silent_until[TOWN_NODES];
	uint64_t pane;
};

/* scale: 1 has some 60 workloads and 200 edges. */
struct town *town_new(uint64_t seed, double scale);
void town_free(struct town *town);
/* What happens every day, in this pane: deployments, scaling, pods replaced, agents that start
 * anew. */
void town_live(struct town *town, uint64_t pane);
/* Another pod in this place, of the newest version. */
void town_replace(struct town *town, struct workload *workload, uint32_t pod);
/* The next version begins; its pods take their places one by one by town_live. */
void town_deploy(struct workload *workload, uint64_t pane);
uint32_t node_zone(uint32_t node);
