#include "agent/self.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "agent/batch/batch.h"
#include "agent/budget.h"
#include "agent/cgroups.h"
#include "agent/clocks.h"
#include "agent/facts.h"
#include "agent/features.h"
#include "agent/losses.h"
#include "agent/metadata.h"
#include "agent/preflight.h"
#include "agent/probe.h"
#include "agent/recorder.h"
#include "agent/selftest.h"
#include "agent/signer.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
	SECOND_MS = 1000,
	FACTS_EVERY = 5, /* seconds */
	LINKS_EVERY = 2, /* seconds: a lost program is known within 5 */
	SENTENCE_BYTES = 256,
	METADATA_TRIES = 4,
};
#define SCAN_PERIOD_MAX_NS (15 * NS_PER_S)

/* A network that comes up after the agent. */
static const uint32_t metadata_after_s[METADATA_TRIES] = {0, 10, 60, 300};

struct self {
	struct self_options options;
	uv_timer_t timer;
	uint64_t seconds, now_ns; /* boottime */

	struct facts facts;
	struct cloud_facts cloud;
	struct batch_label labels[BATCH_LABELS_MAX];
	uint32_t labels_count;
	struct metadata *metadata; /* being asked */
	enum cloud asked_cloud;
	uint64_t facts_told_ns;

	struct features *features;
	struct budget budget;
	struct selftest selftest;

	struct controls *controls;
	struct controlwatch *controlwatch; /* NULL: none */
	struct control applied;		   /* id empty: the configuration */
	const char *scope[CONTROL_SCOPE_MAX];
	char control_error[CONTROLS_WHY_BYTES];
	uint64_t batch_interval_ns;
	bool state_due;
	uint64_t losses_told; /* all that was lost when the state was told */
	struct self_stats stats;
};

/* --- facts --- */

static const char *given(const char *configured, const char *found)
{
	return configured && configured[0] ? configured : found;
}

static void tell_facts(struct self *self)
{
	const struct facts *facts = &self->facts;
	self->facts_told_ns = self->now_ns;
	recorder_facts(self->options.recorder, &(struct batch_facts){
						       .kernel = facts->kernel,
						       .os = facts->os,
						       .architecture = facts->architecture,
						       .cpus = facts->cpus,
						       .memory_bytes = facts->memory_bytes,
						       .booted_ns = facts->booted_ns,
						       .cloud = cloud_name(self->cloud.cloud),
						       .instance_id = self->cloud.instance_id,
						       .instance_type = self->cloud.instance_type,
						       .labels = self->labels,
						       .labels_count = self->labels_count,
					       });
}

static void take_cloud(struct self *self, const struct cloud_facts *facts)
{
	const struct agent_options *options = self->options.agent;
	self->cloud = *facts;
	self->options.sender->zone = given(options->zone, self->cloud.zone);
	self->options.sender->region = given(options->region, self->cloud.region);
}

static void on_metadata(void *context, bool found, const struct cloud_facts *facts, const char *why)
{
	struct self *self = context;
	self->metadata = NULL;
	if (!found) {
		self->stats.metadata_failed++;
		fprintf(stderr, "millrace-agent: the metadata service of %s: %s\n",
			cloud_name(self->asked_cloud), why);
		return;
	}
	take_cloud(self, facts);
	tell_facts(self);
}

static enum cloud cloud_to_ask(const struct self *self)
{
	switch (self->options.agent->cloud) {
	case AGENT_CLOUD_OFF:
		return CLOUD_NONE;
	case AGENT_CLOUD_AUTO:
		return self->cloud.cloud ? self->cloud.cloud : cloud_of_firmware("");
	default:
		return (enum cloud)(self->options.agent->cloud - AGENT_CLOUD_AWS + CLOUD_AWS);
	}
}

static void ask_cloud(struct self *self)
{
	const char *endpoint = self->options.agent->cloud_endpoint;
	self->asked_cloud = cloud_to_ask(self);
	if (!self->asked_cloud || self->metadata || cloud_complete(&self->cloud))
		return;
	self->stats.metadata_asked++;
	struct metadata_options options = {
		.loop = self->options.loop,
		.cloud = self->asked_cloud,
		.endpoint = endpoint && endpoint[0] ? endpoint : NULL,
		.known = self->cloud,
		.done = on_metadata,
		.context = self,
	};
	if (metadata_ask(&self->metadata, &options))
		self->stats.metadata_failed++;
}

static void look_for_cloud(struct self *self)
{
	for (int i = 0; i < METADATA_TRIES; i++)
		if (self->seconds == metadata_after_s[i])
			ask_cloud(self);
}

static void open_facts(struct self *self)
{
	const struct config_map *labels = &self->options.agent->labels;
	struct cloud_facts found = {0};
	facts_read(&self->facts, "", self->now_ns, clock_ns(CLOCK_REALTIME));
	for (size_t i = 0; i < labels->count && i < BATCH_LABELS_MAX; i++)
		self->labels[self->labels_count++] = (struct batch_label){
			.key = labels->items[i].key, .value = labels->items[i].value};
	if (self->options.agent->cloud != AGENT_CLOUD_OFF)
		cloud_of_file("", &found);
	take_cloud(self, &found);
	tell_facts(self);
}

/* CPUs and memory may come and go; the time of the boot is what it was at the start, whatever the
 * clock does since. */
static void look_at_facts(struct self *self)
{
	uint64_t period_ns = self->options.agent->key_frame_ns;
	uint64_t every = period_ns > 2 * FACTS_EVERY * NS_PER_S ? FACTS_EVERY : 1;
	struct facts facts;
	if (self->seconds % every)
		return;
	facts_read(&facts, "", self->now_ns, clock_ns(CLOCK_REALTIME));
	facts.booted_ns = self->facts.booted_ns;
	bool changed = memcmp(&facts, &self->facts, sizeof(facts)) != 0;
	self->facts = facts;
	/* The next look, and two seconds for the batch, would be too late. */
	if (changed || self->now_ns - self->facts_told_ns + (every + 2) * NS_PER_S >= period_ns)
		tell_facts(self);
}

/* --- state --- */

static void find_missing(struct self *self)
{
	struct preflight *preflight = self->options.preflight;
	if (!tracer_measured(self->options.tracer))
		preflight_add(preflight,
			      "BPF run times are not measured (features.run_stats, CAP_SYS_ADMIN): "
			      "the budget sees only the agent's own process");
	if (self->options.agent->scope_netns.count)
		preflight_add(preflight,
			      "no self-test: the agent's own loopback connections are outside of "
			      "scope.netns");
}

static uint64_t all_losses(const struct losses *losses)
{
	return losses_ring(losses) + losses->events[LOSS_NETLINK] + losses->events[LOSS_SPOOL];
}

static uint32_t list_losses(const struct losses *losses, struct batch_loss list[LOSSES])
{
	uint32_t count = 0;
	for (int loss = 0; loss < LOSSES; loss++)
		if (losses->events[loss])
			list[count++] = (struct batch_loss){loss_place(loss), loss_kind(loss),
							    losses->events[loss]};
	return count;
}

static void tell_state(struct self *self)
{
	struct batch_loss losses[LOSSES];
	const char *features[BATCH_FEATURES_MAX] = {"tcp"}, *missing[FINDINGS_MAX];
	uint32_t features_count = 1;
	char degraded[2 * SENTENCE_BYTES] = "";
	FILE *file = fmemopen(degraded, sizeof(degraded), "w");
	for (int i = 0; i < FEATURES; i++)
		if (feature_on(self->features, (enum feature)i))
			features[features_count++] = feature_name((enum feature)i);
	if (self->options.containers)
		features[features_count++] = "containers";
	size_t missing_count = preflight_sentences(self->options.preflight, missing);
	if (file) {
		features_degraded(self->features, file);
		fclose(file);
	}
	self->state_due = false;
	self->losses_told = all_losses(self->options.losses);
	uint32_t losses_count = list_losses(self->options.losses, losses);
	recorder_state(self->options.recorder, &(struct batch_state){
						       .level = self->budget.level,
						       .degraded = degraded,
						       .cpu_share = self->budget.used,
						       .cpu_budget = self->budget.share,
						       .features = features,
						       .features_count = features_count,
						       .missing = missing,
						       .missing_count = (uint32_t)missing_count,
						       .control_id = self->applied.id,
						       .control_error = self->control_error,
						       .programs = self->stats.links.attached,
						       .programs_wanted = self->stats.links.wanted,
						       .self_tests = self->selftest.tests,
						       .self_tests_failed = self->selftest.failed,
						       .losses = losses,
						       .losses_count = losses_count,
					       });
}

/* --- budget --- */

static uint64_t cpu_ns(const struct self *self)
{
	struct rusage usage;
	struct tracer_cost cost = tracer_cost(self->options.tracer);
	getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NS_PER_S +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * NS_PER_US +
	       cost.run_ns;
}

static void apply_features(struct self *self)
{
	features_level(self->features, self->budget.level);
	int error = features_apply(self->features);
	if (error)
		fprintf(stderr, "millrace-agent: a feature could not be switched: %s\n",
			strerror(-error));
	self->state_due = true;
}

static void look_at_cost(struct self *self)
{
	uint32_t before = self->budget.level;
	if (self->now_ns - self->budget.began_ns < BUDGET_WINDOW_NS)
		return; /* each program is asked what it cost */
	if (!budget_advance(&self->budget, self->now_ns, cpu_ns(self)))
		return;
	self->state_due = true;
	if (self->budget.level == before)
		return;
	apply_features(self);
	fprintf(stderr, "millrace-agent: %.3f %% of the node's CPUs, budget %.3f %%: level %u\n",
		self->budget.used * 100, self->budget.share * 100, self->budget.level);
}

/* What the agent itself does for a feature, beside its programs. */
static int on_switched(void *context, enum feature feature, bool on)
{
	struct self *self = context;
	if (feature == FEATURE_NAT)
		return self->options.nat_switched(self->options.context, on);
	if (feature == FEATURE_PROCESSES && on)
		return tracer_list_processes(self->options.tracer);
	if (feature == FEATURE_PROCESSES)
		recorder_forget_processes(self->options.recorder);
	return 0;
}

/* --- control --- */

static void set_scope(struct self *self, const struct control_settings *settings)
{
	const struct config_strings *configured = &self->options.agent->scope_cgroups;
	if (!settings->scoped) {
		cgroups_scope(self->options.cgroups, (const char *const *)configured->items,
			      (uint32_t)configured->count);
		return;
	}
	for (uint32_t i = 0; i < settings->scope_count; i++)
		self->scope[i] = settings->scope[i];
	cgroups_scope(self->options.cgroups, self->scope, settings->scope_count);
}

static void set_features(struct self *self, const struct control_settings *settings)
{
	uint32_t off = 0;
	for (uint32_t i = 0; i < settings->features_count; i++) {
		enum feature feature;
		if (!feature_parse(settings->features[i].name, &feature))
			snprintf(self->control_error, sizeof(self->control_error),
				 "this agent has no feature %s; the rest is applied",
				 settings->features[i].name);
		else if (!settings->features[i].on)
			off |= 1U << feature;
		else if (!feature_possible(self->features, feature))
			snprintf(self->control_error, sizeof(self->control_error),
				 "%s cannot be put on: the agent's configuration or the kernel "
				 "leaves it out; the rest is applied",
				 settings->features[i].name);
	}
	features_control(self->features, off);
}

/* What the record sets, and of the rest what is configured. */
static void apply(struct self *self)
{
	const struct control_settings *settings = &self->applied.settings;
	const struct agent_options *options = self->options.agent;
	uint64_t interval_ns = settings->batch_interval_ms ? settings->batch_interval_ms * NS_PER_MS
							   : options->batch_interval_ns;
	set_features(self, settings);
	set_scope(self, settings);
	budget_set(&self->budget,
		   settings->cpu_budget > 0 ? settings->cpu_budget
					    : options->budget_cpu_percent / 100,
		   features_steps(self->features));
	if (interval_ns != self->batch_interval_ns) {
		self->batch_interval_ns = interval_ns;
		recorder_pace(self->options.recorder, interval_ns);
		self->options.batch_interval(self->options.context, interval_ns);
	}
	apply_features(self);
}

static void look_at_controls(struct self *self)
{
	const struct batch_sender *sender = self->options.sender;
	const struct control_target target = {
		.node = sender->node,
		.zone = sender->zone,
		.region = sender->region,
		.role = sender->role,
		.labels = self->labels,
		.labels_count = self->labels_count,
	};
	const struct control *found =
		controls_find(self->controls, &target, clock_ns(CLOCK_REALTIME));
	bool was = self->applied.id[0];
	if (!found && !was)
		return;
	if (found && was && found->issued_ns == self->applied.issued_ns &&
	    strcmp(found->id, self->applied.id) == 0)
		return;
	if (found)
		self->applied = *found;
	else
		memset(&self->applied, 0, sizeof(self->applied));
	self->control_error[0] = 0;
	apply(self);
	if (found)
		fprintf(stderr, "millrace-agent: control record %s applied%s%s\n", self->applied.id,
			self->control_error[0] ? ": " : "", self->control_error);
	else
		fprintf(stderr, "millrace-agent: as configured again: no control record holds\n");
}

/* An old record that the topic still has is no news. Nobody signs a tombstone, so it says nothing:
 * what is withdrawn is withdrawn by a record. */
static void on_control(void *context, const uint8_t *value, size_t length, uint64_t append_ns)
{
	struct self *self = context;
	char why[CONTROLS_WHY_BYTES];
	if (!value)
		return;
	uint64_t expired = controls_stats(self->controls).expired;
	bool taken = controls_take(self->controls, signer_keys(self->options.signer), value, length,
				   append_ns, clock_ns(CLOCK_REALTIME), why);
	if (taken) {
		self->control_error[0] = 0;
	} else if (controls_stats(self->controls).expired == expired) {
		snprintf(self->control_error, sizeof(self->control_error), "%s", why);
		self->state_due = true;
	}
}

static void open_control(struct self *self)
{
	const struct agent_options *options = self->options.agent;
	char why[CONTROLWATCH_WHY_BYTES];
	self->controls = controls_new();
	if (!options->control_topic || !options->control_topic[0])
		return;
	int error = controlwatch_open(&self->controlwatch,
				      &(struct controlwatch_options){
					      .loop = self->options.loop,
					      .brokers = self->options.brokers,
					      .topic = options->control_topic,
					      .security = self->options.security,
					      .record = on_control,
					      .context = self,
				      },
				      why);
	if (error)
		fprintf(stderr, "millrace-agent: no runtime control: %s\n", why);
}

/* --- once a second --- */

static void look_at_sight(struct self *self)
{
	uint64_t failed = self->selftest.failed;
	bool was_blind = self->selftest.blind;
	if (self->options.probe &&
	    selftest_advance(&self->selftest, self->now_ns,
			     recorder_stats(self->options.recorder).own_openings))
		probe_connect(self->options.probe);
	self->state_due = self->state_due || failed != self->selftest.failed ||
			  was_blind != self->selftest.blind;
	if (self->seconds % LINKS_EVERY)
		return;
	struct tracer_links links = tracer_links(self->options.tracer);
	if (links.attached != self->stats.links.attached ||
	    links.wanted != self->stats.links.wanted)
		self->state_due = true;
	if (links.attached < links.wanted && self->stats.links.attached != links.attached)
		fprintf(stderr, "millrace-agent: the BPF program %s is no longer attached\n",
			links.gone);
	self->stats.links = links;
}

static void on_second(uv_timer_t *timer)
{
	struct self *self = timer->data;
	self->now_ns = clock_ns(CLOCK_BOOTTIME);
	look_for_cloud(self);
	look_at_facts(self);
	look_at_controls(self);
	look_at_sight(self);
	look_at_cost(self);
	if (self->state_due || all_losses(self->options.losses) != self->losses_told)
		tell_state(self);
	self->seconds++;
}

void self_tell(struct self *self)
{
	tell_state(self);
}

struct self *self_open(const struct self_options *options)
{
	const struct agent_options *agent = options->agent;
	struct self *self = memory_zeroed(1, sizeof(*self));
	self->options = *options;
	self->now_ns = clock_ns(CLOCK_BOOTTIME);
	self->batch_interval_ns = agent->batch_interval_ns;
	self->features = features_new(&(struct features_options){
		.tracer = options->tracer,
		.configured =
			{
				[FEATURE_OWNERS] = true,
				[FEATURE_PROCESSES] = agent->processes,
				[FEATURE_CMDLINES] = agent->processes,
				[FEATURE_NAT] = options->nat,
				[FEATURE_UDP] = agent->udp,
				[FEATURE_DNS] = agent->dns,
				[FEATURE_SNI] = agent->sni && agent->sni_ports[0],
				[FEATURE_DROPS] = agent->drops,
			},
		.switched = on_switched,
		.context = self,
	});
	open_facts(self);
	find_missing(self);
	open_control(self);
	budget_init(&self->budget, agent->budget_cpu_percent / 100, features_steps(self->features),
		    self->facts.cpus, self->now_ns, cpu_ns(self));
	selftest_init(&self->selftest, self->now_ns);
	self->stats.links = tracer_links(options->tracer);
	tell_state(self);
	uv_timer_init(options->loop, &self->timer);
	self->timer.data = self;
	uv_timer_start(&self->timer, on_second, 0, SECOND_MS);
	return self;
}

struct self_stats self_stats(const struct self *self)
{
	struct self_stats stats = self->stats;
	stats.cpu_share = self->budget.used;
	stats.cpu_budget = self->budget.share;
	stats.level = self->budget.level;
	stats.steps_down = self->budget.down;
	stats.steps_up = self->budget.up;
	stats.windows_over = self->budget.over;
	stats.self_tests = self->selftest.tests;
	stats.self_tests_failed = self->selftest.failed;
	stats.controls = controls_stats(self->controls);
	if (self->controlwatch)
		stats.controlwatch = controlwatch_stats(self->controlwatch);
	stats.controlled = self->applied.id[0];
	stats.cloud = self->cloud.cloud;
	return stats;
}

uint64_t self_scan_period_ns(const struct self *self)
{
	uint32_t factor = features_scan_factor(self->features);
	uint64_t period_ns = self->applied.settings.scan_period_ms
				     ? self->applied.settings.scan_period_ms * NS_PER_MS
				     : self->options.agent->scan_period_ns;
	return !factor || period_ns * factor > SCAN_PERIOD_MAX_NS ? SCAN_PERIOD_MAX_NS
								  : period_ns * factor;
}

bool self_sees(const struct self *self, FILE *file)
{
	const struct tracer_links *links = &self->stats.links;
	if (links->attached < links->wanted) {
		fprintf(file,
			"%u of %u BPF programs are attached, %s is not: somebody detached or "
			"replaced it; restart the agent\n",
			links->attached, links->wanted, links->gone);
		return false;
	}
	if (!self->selftest.blind)
		return true;
	fprintf(file, "the last self-test failed: a connection of the agent's own did not come out "
		      "of the kernel within 5 s\n");
	return false;
}

void self_free(struct self *self)
{
	if (!self)
		return;
	features_free(self->features);
	controls_free(self->controls);
	free(self);
}

void self_close(struct self *self)
{
	if (!self)
		return;
	controlwatch_close(self->controlwatch);
	metadata_close(self->metadata);
	uv_close((uv_handle_t *)&self->timer, NULL);
}
