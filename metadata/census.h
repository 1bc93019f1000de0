/* The census: who held an address when, and what pods and nodes are, as the records of
 * millrace.metadata tell. Asked for the time at which a flow began, it answers with the one fact
 * that held there then, or says that it cannot tell:
 *
 *	pod A  |------------|                         an address's holders over time
 *	pod B                  |----------------
 *	        A  A  A  A  ?  B  B  B  B  B  B        ? none, or two: never the latest
 *
 * Clocks of agents and of the cluster differ by CENSUS_SLACK_NS: so near to a change of hands two
 * may hold. Facts of one object (a pod whose record goes on under the next number) do not rival
 * each other. Pods come before nodes, these before services, and these before ranges, of which the
 * longest prefix answers.
 *
 * A fact that ended stays for CENSUS_LATE_NS, as flows of its time may be told late; one that was
 * not told for CENSUS_KEEP_NS is not believed any more and leaves. Bounds: facts_max facts, four
 * times as many addresses; what finds no room is counted and comes again when it is told again.
 * Pure: time is told. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "metadata/fact.h"

#define CENSUS_SLACK_NS (20 * NS_PER_MS)
#define CENSUS_LATE_NS	(122 * NS_PER_S) /* 120 s for late flows, and slack */
#define CENSUS_KEEP_NS	(180 * NS_PER_S)

enum census_answer { CENSUS_NONE, CENSUS_ONE, CENSUS_AMBIGUOUS };

/* Who may be answered anew: the object, or what is at the address. */
struct census_change {
	uint64_t object;
	struct address address;
	uint8_t kind, prefix; /* prefix: of the address; without an address: UINT8_MAX */
};

struct census_stats {
	uint64_t facts, addresses; /* live now */
	uint64_t refused;	   /* tellings that found no room */
	uint64_t outdated;	   /* tellings older than what is known */
	uint64_t expired;	   /* not told again */
	uint64_t bytes;
};

struct census;

struct census *census_new(uint32_t facts_max);
void census_free(struct census *census);

/* now_ns: the end of the pane in which it was told. addresses: fact->addresses_count. */
void census_take(struct census *census, const struct fact *fact, const struct address *addresses,
		 uint64_t now_ns);
/* Lets go what ended or was not told again, once a pane. */
void census_advance(struct census *census, uint64_t now_ns);

/* Facts are lent until the next take or advance. */
enum census_answer census_address(const struct census *census, const struct address *address,
				  uint64_t time_ns, const struct fact **fact);
/* The newest of this uid's hash; of the node of this name. NULL: nothing is known. */
const struct fact *census_pod(const struct census *census, uint64_t uid);
const struct fact *census_node(const struct census *census, uint64_t name);

/* Whether it knows any pod, node or service. */
bool census_has_cluster(const struct census *census);

/* What was taken since the last census_settle and differs from before. */
const struct census_change *census_changes(const struct census *census, size_t *count);
void census_settle(struct census *census);
struct census_stats census_stats(const struct census *census);
