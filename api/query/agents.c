#include "api/query/agents.h"

#include <stdlib.h>
#include <string.h>

#include "api/query/answer.h"
#include "base/clock.h"
#include "base/glob.h"
#include "base/memory.h"

struct agent {
	Millrace__V1__AgentResponse *about; /* as it came, but for figures of the moment */
	struct agent_view view;		    /* without texts */
	const struct task_agents *task;
	bool gone; /* its task has forgotten it */
};

/* Of one task, by name. */
struct task_agents {
	struct agent *items;
	size_t count, gone;
	uint64_t clock_ns;
	struct ledger ledger; /* of all its records */
};

struct agents {
	uint32_t tasks;
	uint64_t evicted;
	struct task_agents items[];
};

/* --- what tasks tell --- */

static void agent_done(struct agent *agent)
{
	millrace__v1__agent_response__free_unpacked(agent->about, NULL);
}

struct agents *agents_new(uint32_t tasks)
{
	struct agents *agents =
		memory_zeroed(1, sizeof(struct agents) + tasks * sizeof(struct task_agents));

	agents->tasks = tasks;
	return agents;
}

void agents_free(struct agents *agents)
{
	for (uint32_t task = 0; task < agents->tasks; task++) {
		for (size_t i = 0; i < agents->items[task].count; i++)
			agent_done(&agents->items[task].items[i]);
		free(agents->items[task].items);
	}
	free(agents);
}

static void take_about(struct agent *agent, const struct agent_view *view)
{
	Millrace__V1__AgentResponse *about =
		millrace__v1__agent_response__unpack(NULL, view->about_length, view->about);

	if (!about || !about->agent)
		abort(); /* ours: it was packed by the task */
	if (agent->about)
		agent_done(agent);
	agent->about = about;
}

static const char *name_of(const struct agent *agent)
{
	return agent->about->agent->node;
}

static struct agent *place(struct task_agents *task, const struct agent *agent)
{
	struct agent *placed = &task->items[task->count++];

	*placed = *agent;
	placed->task = task;
	return placed;
}

static void take_view(struct task_agents *task, const struct agent *before,
		      const struct agent_view *view)
{
	struct agent *agent;

	if (!before && !view->about)
		return; /* who it is comes with its first view */
	agent = place(task, before ? before : &(struct agent){0});
	if (view->about)
		take_about(agent, view);
	agent->view = *view;
	agent->view.node = NULL;
	agent->view.about = NULL;
	agent->gone = false;
}

/* Its task has no such agent any more. */
static void take_gone(struct task_agents *task, struct agent *agent)
{
	if (agent->view.last_seen_ns + AGENT_KEEP_S * NS_PER_S < task->clock_ns) {
		agent_done(agent);
		return;
	}
	place(task, agent)->gone = true;
	task->gone++;
}

static size_t longest_gone(const struct task_agents *task)
{
	size_t found = SIZE_MAX;

	for (size_t i = 0; i < task->count; i++) {
		if (task->items[i].gone &&
		    (found == SIZE_MAX ||
		     task->items[i].view.last_seen_ns < task->items[found].view.last_seen_ns))
			found = i;
	}
	return found;
}

static void evict(struct agents *agents, struct task_agents *task)
{
	for (; task->gone > AGENTS_GONE_MAX; task->gone--) {
		size_t at = longest_gone(task);

		agent_done(&task->items[at]);
		memmove(&task->items[at], &task->items[at + 1],
			(--task->count - at) * sizeof(task->items[0]));
		agents->evicted++;
	}
}

void agents_take(struct agents *agents, uint32_t task, uint64_t clock_ns,
		 const struct agent_view *views, size_t count)
{
	struct task_agents *kept = &agents->items[task], before = *kept;
	size_t i = 0, j = 0;

	*kept = (struct task_agents){
		.items = memory_zeroed(count + before.count, sizeof(struct agent)),
		.clock_ns = clock_ns,
		.ledger = before.ledger,
	};
	while (i < count || j < before.count) {
		int order = i == count		? 1
			    : j == before.count ? -1
						: strcmp(views[i].node, name_of(&before.items[j]));

		if (order > 0)
			take_gone(kept, &before.items[j++]);
		else if (order < 0)
			take_view(kept, NULL, &views[i++]);
		else
			take_view(kept, &before.items[j++], &views[i++]);
	}
	free(before.items);
	evict(agents, kept);
}

void agents_ledger(struct agents *agents, uint32_t task, const struct ledger *ledger)
{
	agents->items[task].ledger = *ledger;
}

/* --- how an agent does --- */

static const char *const state_names[AGENT_STATES] = {"live", "degraded", "behind", "silent"};

const char *agent_state_name(enum agent_state state)
{
	return state_names[state];
}

/* How far the log has gone on since. */
static uint64_t since(const struct agent *agent, uint64_t time_ns)
{
	return agent->task->clock_ns > time_ns ? agent->task->clock_ns - time_ns : 0;
}

static bool is_failing(const struct agent *agent)
{
	return agent->view.self_test_failed_ns &&
	       since(agent, agent->view.self_test_failed_ns) < AGENT_BLIND_S * NS_PER_S;
}

static enum agent_state state_of(const struct agent *agent)
{
	const Millrace__V1__Agent *about = agent->about->agent;

	if (since(agent, agent->view.last_seen_ns) >= AGENT_SILENT_S * NS_PER_S)
		return AGENT_SILENT;
	if (since(agent, agent->view.told_ns) >= AGENT_SILENT_S * NS_PER_S)
		return AGENT_BEHIND;
	return about->level || about->programs < about->programs_wanted || is_failing(agent)
		       ? AGENT_DEGRADED
		       : AGENT_LIVE;
}

static const char *degraded_reason(struct arena *arena, const struct agent *agent)
{
	const Millrace__V1__Agent *about = agent->about->agent;

	if (is_failing(agent))
		return "a self-test failed: it did not see its own connection";
	if (about->programs < about->programs_wanted)
		return arena_format(arena, "%u of its %u BPF programs are attached",
				    about->programs, about->programs_wanted);
	return *about->degraded
		       ? about->degraded
		       : arena_format(arena, "level %u: it keeps its CPU budget", about->level);
}

static const char *age_text(struct arena *arena, uint64_t age_ns)
{
	double seconds = (double)age_ns / 1e9;

	return seconds < 100 ? arena_format(arena, "%.0f s", seconds)
			     : arena_format(arena, "%.0f min", seconds / 60);
}

static const char *reason_of(struct arena *arena, const struct agent *agent)
{
	switch (state_of(agent)) {
	case AGENT_SILENT:
		return arena_format(arena, "nothing came for %s",
				    age_text(arena, since(agent, agent->view.last_seen_ns)));
	case AGENT_BEHIND:
		return arena_format(arena, "what comes is %s old",
				    age_text(arena, since(agent, agent->view.told_ns)));
	case AGENT_DEGRADED:
		return degraded_reason(arena, agent);
	default:
		return "";
	}
}

/* The record that it should apply; NULL: not known. */
static const char *control_wanted(const struct query *query, const struct agent *agent)
{
	const struct query_options *options = &query->options;

	return options->control ? options->control(options->context, agent->about->agent) : NULL;
}

/* Who is silent cannot answer, and who refused has answered. */
static bool is_pending(const struct agent *agent, const char *wanted)
{
	const Millrace__V1__Agent *about = agent->about->agent;

	return wanted && !*about->control_error && strcmp(wanted, about->control_id) != 0 &&
	       state_of(agent) != AGENT_SILENT;
}

struct agents_stats query_agents_stats(const struct query *query)
{
	const struct agents *agents = query->agents;
	struct agents_stats stats = {.evicted = agents->evicted};

	for (uint32_t task = 0; task < agents->tasks; task++) {
		for (size_t i = 0; i < agents->items[task].count; i++) {
			const struct agent *agent = &agents->items[task].items[i];

			stats.states[state_of(agent)]++;
			stats.self_test_failing += is_failing(agent);
			stats.control_pending += is_pending(agent, control_wanted(query, agent));
			stats.control_refused += *agent->about->agent->control_error != '\0';
		}
	}
	return stats;
}

/* --- ledgers --- */

static Millrace__V1__Ledger *ledger_message(struct arena *arena, const struct ledger *ledger,
					    const struct arrival *minute,
					    const struct arrival *hour)
{
	Millrace__V1__Ledger *message = arena_take(arena, 1, sizeof(*message));

	millrace__v1__ledger__init(message);
	message->issued = ledger->issued;
	message->received = ledger->received;
	message->lost = ledger->lost;
	message->lost_spool = ledger->dropped_spool;
	message->duplicate = ledger->duplicate;
	message->quarantined = ledger->quarantined;
	message->refused = ledger->refused;
	message->late = ledger->late;
	message->pending = ledger->pending;
	message->aggregated = ledger->aggregated;
	message->unexplained = ledger_unexplained(ledger);
	message->dropped_ring = ledger->dropped_ring;
	message->dropped_netlink = ledger->dropped_netlink;
	message->completeness_1m = arrival_share(minute);
	message->completeness_1h = arrival_share(hour);
	return message;
}

static Millrace__V1__Ledger *agent_ledger(struct arena *arena, const struct agent *agent)
{
	const struct agent_view *view = &agent->view;
	const Millrace__V1__Ledger *told = agent->about->agent->ledger;
	Millrace__V1__Ledger *message =
		ledger_message(arena, &view->ledger, &view->minute, &view->hour);

	if (told) {
		message->n_losses = told->n_losses;
		message->losses = told->losses;
	}
	return message;
}

/* What no agent that is kept stands for. Who went may have been looked at last while events of his
 * were pending: they are not any more. */
static struct ledger others_of(const struct ledger *all, const struct ledger *listed)
{
	struct ledger others = *all;

	ledger_subtract(&others, listed);
	if (listed->pending > all->pending) {
		others.aggregated += others.pending; /* less, as it is below 0 */
		others.pending = 0;
	}
	return others;
}

/* Of all tasks, and what of it no agent that is kept stands for. */
static void add_totals(struct query *query, Millrace__V1__AgentsResponse *message)
{
	const struct agents *agents = query->agents;
	struct ledger all = {0}, listed = {0}, others;
	struct arrival minute = {0}, hour = {0};

	for (uint32_t task = 0; task < agents->tasks; task++) {
		ledger_add(&all, &agents->items[task].ledger);
		for (size_t i = 0; i < agents->items[task].count; i++) {
			const struct agent_view *view = &agents->items[task].items[i].view;

			ledger_add(&listed, &view->ledger);
			minute.received += view->minute.received;
			minute.issued += view->minute.issued;
			hour.received += view->hour.received;
			hour.issued += view->hour.issued;
		}
	}
	message->total = ledger_message(&query->arena, &all, &minute, &hour);
	others = others_of(&all, &listed);
	message->others =
		ledger_message(&query->arena, &others, &(struct arrival){0}, &(struct arrival){0});
}

/* --- answers --- */

static Millrace__V1__Agent *agent_message(struct query *query, const struct agent *agent)
{
	struct arena *arena = &query->arena;
	const struct agent_view *view = &agent->view;
	const char *wanted = control_wanted(query, agent);
	Millrace__V1__Agent *message = arena_take(arena, 1, sizeof(*message));

	*message = *agent->about->agent;
	message->epoch = view->epoch;
	message->last_seen_s = (double)view->last_seen_ns / 1e9;
	message->clock_offset_s = (double)view->clock_offset_ns / 1e9;
	message->events = view->ledger.received;
	message->lost = view->ledger.lost;
	message->dropped_ring = view->ledger.dropped_ring;
	message->dropped_netlink = view->ledger.dropped_netlink;
	message->dropped_spool = view->ledger.dropped_spool;
	message->ledger = NULL;
	message->sockets = view->sockets;
	message->scan_period_s = view->scan_period_ms / 1e3;
	message->state = (char *)agent_state_name(state_of(agent));
	message->reason = (char *)reason_of(arena, agent);
	message->lag_s = (double)since(agent, view->told_ns) / 1e9;
	message->self_test_failing = is_failing(agent);
	message->control_wanted = arena_text(arena, wanted ? wanted : "");
	message->control_pending = is_pending(agent, wanted);
	return message;
}

static bool same(const char *wanted, const char *found)
{
	return !*wanted || strcmp(wanted, found) == 0;
}

static bool is_wanted(const Millrace__V1__AgentsRequest *asked, const struct agent *agent)
{
	const Millrace__V1__Agent *about = agent->about->agent;

	return (!*asked->node || glob_match(asked->node, about->node)) &&
	       (!*asked->after || strcmp(about->node, asked->after) > 0) &&
	       same(asked->zone, about->zone) && same(asked->region, about->region) &&
	       same(asked->role, about->role) &&
	       same(asked->state, agent_state_name(state_of(agent)));
}

/* Of two of one name the one that was heard last comes first. */
static int by_node(const void *one, const void *other)
{
	const struct agent *a = *(const struct agent *const *)one;
	const struct agent *b = *(const struct agent *const *)other;
	int order = strcmp(name_of(a), name_of(b));

	if (order)
		return order;
	return a->view.last_seen_ns < b->view.last_seen_ns   ? 1
	       : a->view.last_seen_ns > b->view.last_seen_ns ? -1
							     : 0;
}

static const struct agent **find(struct query *query, const Millrace__V1__AgentsRequest *asked,
				 size_t *count)
{
	const struct agents *agents = query->agents;
	const struct agent **found;
	size_t all = 0;

	for (uint32_t task = 0; task < agents->tasks; task++)
		all += agents->items[task].count;
	found = arena_take(&query->arena, all, sizeof(struct agent *));
	*count = 0;
	for (uint32_t task = 0; task < agents->tasks; task++) {
		for (size_t i = 0; i < agents->items[task].count; i++) {
			const struct agent *agent = &agents->items[task].items[i];

			if (is_wanted(asked, agent))
				found[(*count)++] = agent;
		}
	}
	qsort(found, *count, sizeof(struct agent *), by_node);
	return found;
}

const ProtobufCMessage *answer_agents(struct query *query, const ProtobufCMessage *request,
				      struct refusal *refusal)
{
	const Millrace__V1__AgentsRequest *asked = (const Millrace__V1__AgentsRequest *)request;
	struct arena *arena = &query->arena;
	Millrace__V1__AgentsResponse *message = arena_take(arena, 1, sizeof(*message));
	bool with_ledgers = strcmp(asked->view, "loss") == 0;
	size_t count;
	const struct agent **found = find(query, asked, &count);

	(void)refusal;
	millrace__v1__agents_response__init(message);
	message->n_agents = count < asked->limit ? count : asked->limit;
	message->agents_left_out = (uint32_t)(count - message->n_agents);
	message->agents = arena_take(arena, message->n_agents, sizeof(*message->agents));
	for (size_t i = 0; i < message->n_agents; i++) {
		message->agents[i] = agent_message(query, found[i]);
		if (with_ledgers)
			message->agents[i]->ledger = agent_ledger(arena, found[i]);
	}
	if (with_ledgers)
		add_totals(query, message);
	return &message->base;
}

static const struct agent *find_one(const struct agents *agents, const char *node)
{
	const struct agent *found = NULL;

	for (uint32_t task = 0; task < agents->tasks; task++) {
		for (size_t i = 0; i < agents->items[task].count; i++) {
			const struct agent *agent = &agents->items[task].items[i];

			if (strcmp(name_of(agent), node) == 0 &&
			    (!found || agent->view.last_seen_ns > found->view.last_seen_ns))
				found = agent;
		}
	}
	return found;
}

const ProtobufCMessage *answer_agent(struct query *query, const ProtobufCMessage *request,
				     struct refusal *refusal)
{
	const Millrace__V1__AgentRequest *asked = (const Millrace__V1__AgentRequest *)request;
	const struct agent *agent = find_one(query->agents, asked->node);
	Millrace__V1__AgentResponse *message;

	if (!agent) {
		refuse(refusal, REFUSED_UNKNOWN,
		       "no agent of a node \"%.255s\" reports, nor did within the last hour",
		       asked->node);
		return NULL;
	}
	message = arena_take(&query->arena, 1, sizeof(*message));
	*message = *agent->about;
	message->agent = agent_message(query, agent);
	message->agent->ledger = agent_ledger(&query->arena, agent);
	return &message->base;
}
