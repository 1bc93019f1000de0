/* What the agent knows and says of itself: the node's facts, its state (AgentState), and what
 * follows from them. It asks what the node is and tells it; measures its own cost and steps down
 * when the budget wants it; obeys control records; tests whether it still sees.
 *
 * Most is looked at once a second. Facts are told at the start, when they change and within
 * each key frame period; the state at each window of the budget (10 s) too. The loop's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <uv.h>

#include "agent/cloud.h"
#include "agent/controls.h"
#include "agent/controlwatch.h"
#include "agent/options.h"
#include "agent/tracer.h"

struct batch_sender;
struct cgroups;
struct losses;
struct preflight;
struct probe;
struct recorder;
struct security;
struct signer;
struct self;

/* All lent for its life. */
struct self_options {
	uv_loop_t *loop;
	const struct agent_options *agent;
	struct tracer *tracer;
	struct recorder *recorder;
	struct cgroups *cgroups;
	struct batch_sender *sender; /* its zone and region are set from the cloud's */
	struct probe *probe;	     /* NULL: no self-test */
	const char *brokers;
	struct security *security;
	const struct signer *signer;		     /* whose keys sign control records */
	const struct losses *losses;		     /* as they are counted */
	struct preflight *preflight;		     /* gets what is found missing */
	bool nat;				     /* conntrack is being watched */
	bool containers;			     /* a cgroup tree is mounted */
	int (*nat_switched)(void *context, bool on); /* 0 or -errno */
	void (*batch_interval)(void *context, uint64_t interval_ns); /* changed */
	void *context;
};

struct self_stats {
	double cpu_share, cpu_budget;
	uint32_t level;
	uint64_t steps_down, steps_up, windows_over;
	uint64_t self_tests, self_tests_failed;
	struct tracer_links links;
	struct controls_stats controls;
	struct controlwatch_stats controlwatch;
	bool controlled; /* a control record is applied */
	enum cloud cloud;
	uint64_t metadata_asked, metadata_failed;
};

/* After the tracer is open and before the first batch is sealed. Tells what is wrong with the
 * control topic's client and goes on without. */
struct self *self_open(const struct self_options *options);
struct self_stats self_stats(const struct self *self);
/* The configured period, or the control record's, longer when the budget wants it. */
uint64_t self_scan_period_ns(const struct self *self);
/* One sentence and false when the agent does not see what it should. */
bool self_sees(const struct self *self, FILE *file);
/* The state once more, for the last batch: it tells of all losses. */
void self_tell(struct self *self);
/* What was lent is not used after this call, but its own texts stay in the sender: free it after
 * the last batch, when the loop has run until its handles are gone. */
void self_close(struct self *self);
void self_free(struct self *self);
