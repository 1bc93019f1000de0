/* A server over a small world that is the same each time, for independent clients: the API's tests
 * and the command line's. Prints its port, then serves until SIGTERM.
 * Arguments: now in seconds since 1970 [empty | many | rows an answer may read [long-past]]. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "api/history/history.h"
#include "api/http/server.h"
#include "api/query/query.h"
#include "base/clock.h"

extern const uint8_t mr_descriptors[], mr_descriptors_end[];

enum { SECONDS = 120, MANY = 2100 };

static uint64_t now_s;
static struct names *names;
static struct history *history;
static struct server *server;

static uint64_t now_ns(void)
{
	return now_s * NS_PER_S;
}

static uint64_t name(const char *text)
{
	return names_put(names, text, strlen(text), 1);
}

static struct edge edge(const char *client, const char *to, uint16_t port)
{
	struct edge made = {.client = name(client),
			    .server = name(to),
			    .port = port,
			    .protocol = 6,
			    .client_resolution = RESOLUTION_WORKLOAD,
			    .server_resolution = RESOLUTION_WORKLOAD};

	made.id = edge_id(&made);
	return made;
}

static struct instance instance(const char *workload, const char *version, const char *zone,
				const char *node, const char *container)
{
	struct instance made = {.workload = name(workload),
				.version = name(version),
				.zone = name(zone),
				.node = name(node),
				.container = name(container),
				.process = name("server"),
				.resolution = RESOLUTION_WORKLOAD};

	made.id = instance_id(&made);
	return made;
}

static struct lane lane(const char *client_zone, const char *server_zone)
{
	struct lane made = {.client_zone = name(client_zone),
			    .server_zone = name(server_zone),
			    .client_version = name("v1"),
			    .server_version = name("v2")};

	made.id = lane_id(&made);
	return made;
}

/* A second of an edge, `weight` times; times of 10 for a 10 s row. */
static struct rollup row(struct edge about, uint64_t start_s, uint32_t window_s, int64_t weight)
{
	static struct sketch_cell cells[2];
	struct rollup made = {
		.window_start_ns = start_s * NS_PER_S, .window_ms = window_s * 1000, .edge = about};
	int64_t times = weight * window_s;

	/* Nine of ten connect in 1 ms, one in 50 ms. */
	cells[0] = (struct sketch_cell){(uint16_t)sketch_index(NS_PER_MS), 9 * window_s};
	cells[1] = (struct sketch_cell){(uint16_t)sketch_index(50 * NS_PER_MS), window_s};
	made.connect = cells;
	made.connect_cells = 2;
	made.counters[COUNTER_TX_BYTES] = 1000 * times;
	made.counters[COUNTER_RX_BYTES] = 5000 * times;
	made.counters[COUNTER_CLIENT_TX_BYTES] = 1000 * times;
	made.counters[COUNTER_CLIENT_RX_BYTES] = 5000 * times;
	made.counters[COUNTER_SERVER_TX_BYTES] = 990 * times;
	made.counters[COUNTER_SERVER_RX_BYTES] = 5010 * times;
	made.counters[COUNTER_TX_SEGMENTS] = 10 * times;
	made.counters[COUNTER_RX_SEGMENTS] = 10 * times;
	made.counters[COUNTER_RETRANSMITS] = times;
	made.counters[COUNTER_OPENED] = 9 * times;
	made.counters[COUNTER_JOINED] = 8 * times;
	made.counters[COUNTER_CLOSED] = 9 * times;
	made.counters[COUNTER_FAILED] = times;
	made.counters[COUNTER_RESETS] = times;
	made.counters[COUNTER_ACTIVE] = 20 + window_s;
	made.counters[COUNTER_SRTT_US] = 2000 * times;
	made.counters[COUNTER_SRTT_COUNT] = times;
	made.counters[COUNTER_AGENT_RECEIVED] = 19 * times;
	made.counters[COUNTER_AGENT_ISSUED] = 20 * times;
	made.last_event_ns = made.window_start_ns + NS_PER_MS;
	return made;
}

static void append(struct rollup made)
{
	history_append(history, &made, 1, names);
}

static void append_all(struct edge about, uint64_t start_s, uint32_t window_s, int64_t weight,
		       struct lane by, struct instance client, struct instance at)
{
	struct rollup made = row(about, start_s, window_s, weight);

	append(made);
	if (window_s != 10) /* parts are told in 10 s only */
		return;
	made.scope = SCOPE_LANE;
	made.lane = by;
	append(made);
	made.scope = SCOPE_CLIENT;
	made.lane = (struct lane){0};
	made.instance = client;
	append(made);
	made.scope = SCOPE_SERVER;
	made.instance = at;
	append(made);
}

static void fill(uint64_t start_s, uint32_t window_s)
{
	struct instance web = instance("shop/web", "v1", "zone-a", "node-1", "web-0");
	struct instance api = instance("shop/api", "v2", "zone-a", "node-2", "api-0");
	struct instance db = instance("shop/db", "15.4", "zone-b", "node-3", "db-0");
	struct instance batch = instance("ops/batch", "v1", "zone-b", "node-3", "batch-0");

	append_all(edge("shop/web", "shop/api", 8080), start_s, window_s, 3,
		   lane("zone-a", "zone-a"), web, api);
	append_all(edge("shop/api", "shop/db", 5432), start_s, window_s, 2,
		   lane("zone-a", "zone-b"), api, db);
	append_all(edge("ops/batch", "shop/db", 5432), start_s, window_s, 1,
		   lane("zone-b", "zone-b"), batch, db);
}

/* The windows of that length that are closed, back to `seconds` ago, and what came late: 700 bytes
 * of one window move from one edge to another. */
static void fill_windows(uint32_t window_s, uint64_t seconds)
{
	uint64_t late_s = (now_s - 40) / window_s * window_s;

	for (uint64_t at = (now_s - seconds + window_s - 1) / window_s * window_s;
	     at + window_s <= now_s; at += window_s)
		fill(at, window_s);
	if (window_s == 1 || late_s + window_s > now_s)
		return;

	struct rollup moved = {.window_start_ns = late_s * NS_PER_S,
			       .window_ms = window_s * 1000,
			       .amendment = true};

	moved.edge = edge("shop/web", "shop/api", 8080);
	moved.counters[COUNTER_TX_BYTES] = 700;
	append(moved);
	moved.edge = edge("shop/api", "shop/db", 5432);
	moved.counters[COUNTER_TX_BYTES] = -700;
	append(moved);
}

/* long_past: hours, as a cluster has them where seconds are too many. */
static void fill_history(bool long_past)
{
	if (!long_past)
		fill_windows(1, SECONDS);
	fill_windows(10, long_past ? 1200 : SECONDS);
	fill_windows(60, 3 * 3600);
	fill_windows(3600, 20 * 3600);
}

/* More edges than one answer takes, of the newest second: all with more bytes than the world's but
 * one, over which nothing gets. */
static void fill_many(void)
{
	struct rollup made = row(edge("ops/probe", "shop/gone", 9), now_s - 1, 1, 0);
	char client[32];

	made.counters[COUNTER_FAILED] = 70;
	append(made);
	for (int i = 0; i < MANY; i++) {
		snprintf(client, sizeof(client), "load/client-%d", i);
		made = row(edge(client, "load/sink", 80), now_s - 1, 1, 10000);
		made.counters[COUNTER_FAILED] = 0;
		append(made);
	}
}

static struct alert alert(const char *key, uint64_t sequence, uint32_t state)
{
	struct alert made = {.sequence = sequence,
			     .state = state,
			     .severity = ALERT_ERROR,
			     .subject = {.port = 8080, .protocol = 6},
			     .value = 0.25,
			     .threshold = 0.1,
			     .window_ms = 1000,
			     .started_ns = (now_s - 30) * NS_PER_S,
			     .last_event_ns = (now_s - 30) * NS_PER_S - 300 * NS_PER_MS,
			     .completeness = 1,
			     .suspects_count = 1};

	snprintf(made.key, sizeof(made.key), "%s", key);
	snprintf(made.monitor, sizeof(made.monitor), "failing");
	snprintf(made.subject.client, sizeof(made.subject.client), "shop/web");
	snprintf(made.subject.server, sizeof(made.subject.server), "shop/api");
	snprintf(made.metric, sizeof(made.metric), "failure_ratio");
	snprintf(made.unit, sizeof(made.unit), "ratio");
	snprintf(made.summary, sizeof(made.summary), "25 %% of attempts from shop/web fail");
	made.suspects[0] =
		(struct suspect){.kind = SUSPECT_SERVER_INSTANCE, .share = 0.9, .excess = 3};
	snprintf(made.suspects[0].name, sizeof(made.suspects[0].name), "api-0");
	return made;
}

static void fill_alerts(struct query *query)
{
	struct delivery sent = {.sequence = 1,
				.sent_ns = (now_s - 30) * NS_PER_S + 500 * NS_PER_MS,
				.delivered_ns = (now_s - 30) * NS_PER_S + 600 * NS_PER_MS,
				.attempts = 1};
	struct alert first = alert("firing-key", 1, ALERT_FIRING);
	struct alert second = alert("firing-key", 2, ALERT_FIRING);
	struct alert resolved = alert("resolved-key", 3, ALERT_RESOLVED);

	snprintf(sent.receiver, sizeof(sent.receiver), "pager");
	snprintf(sent.key, sizeof(sent.key), "firing-key");
	second.value = 0.5;
	resolved.started_ns -= 60 * NS_PER_S;
	resolved.ended_ns = resolved.started_ns + 10 * NS_PER_S;
	snprintf(resolved.subject.client, sizeof(resolved.subject.client), "ops/batch");
	snprintf(resolved.subject.server, sizeof(resolved.subject.server), "shop/db");
	query_delivery(query, &sent); /* before its alert, as after a start */
	query_alert(query, &second);
	query_alert(query, &first);
	query_alert(query, &resolved);
	query_alert(query, &second);
}

/* Messages are written by nobody here. */
static char *text(const char *words)
{
	return (char *)(uintptr_t)words;
}

/* Packs what is told of a node into its view; one at a time. */
static void tell(struct agent_view *view, Millrace__V1__AgentResponse *about,
		 Millrace__V1__Agent *agent)
{
	static uint8_t bytes[3][4096];
	static size_t next;
	uint8_t *to = bytes[next++ % 3];

	agent->node = text(view->node);
	agent->version = text("0.1.0");
	agent->boot_id = text("00112233445566778899aabbccddeeff");
	about->agent = agent;
	view->about_length = millrace__v1__agent_response__pack(about, to);
	view->about = to;
}

/* A node that is well, with all that there is to be told. */
static void tell_well(struct agent_view *view)
{
	Millrace__V1__Loss losses[2], *told_losses[2];
	Millrace__V1__Ledger ledger;
	static Millrace__V1__Label labels[2];
	static Millrace__V1__Listener listeners[2];
	Millrace__V1__Label *told_labels[] = {&labels[0], &labels[1]};
	Millrace__V1__Listener *told_listeners[] = {&listeners[0], &listeners[1]};
	char *features[] = {text("tcp"), text("udp"),	    text("dns"),       text("drops"),
			    text("nat"), text("processes"), text("containers")};
	Millrace__V1__AgentResponse about = MILLRACE__V1__AGENT_RESPONSE__INIT;
	Millrace__V1__Agent agent = MILLRACE__V1__AGENT__INIT;

	for (int i = 0; i < 2; i++) {
		millrace__v1__label__init(&labels[i]);
		millrace__v1__listener__init(&listeners[i]);
	}
	labels[0].key = text("rack");
	labels[0].value = text("r7");
	labels[1].key = text("team");
	labels[1].value = text("shop");
	listeners[0].address = text("0.0.0.0");
	listeners[0].port = 8080;
	listeners[0].program = text("server");
	listeners[0].pid = 4242;
	listeners[0].workload = text("shop/api");
	listeners[0].backlog = 3;
	listeners[0].backlog_max = 128;
	listeners[0].drops = 17;
	listeners[0].netns = listeners[1].netns = 4026531840U;
	listeners[1].address = text("::");
	listeners[1].port = 22;
	listeners[1].program = text("sshd");
	listeners[1].pid = 801;
	listeners[1].workload = text("ssh.service");
	listeners[1].backlog_max = 128;
	about.n_listeners = 2;
	about.listeners = told_listeners;
	agent.listeners = 2;
	agent.zone = text("zone-a");
	agent.region = text("eu-1");
	agent.role = text("worker");
	agent.booted_s = (double)now_s - 86400 * 12;
	agent.kernel = text("6.1.0-37-amd64");
	agent.os = text("Debian GNU/Linux 12 (bookworm)");
	agent.architecture = text("x86_64");
	agent.cpus = 8;
	agent.memory_bytes = 16ULL << 30;
	agent.cloud = text("aws");
	agent.instance_id = text("i-0123456789abcdef0");
	agent.instance_type = text("m5.2xlarge");
	agent.n_labels = 2;
	agent.labels = told_labels;
	agent.cpu_share = 0.00042;
	agent.cpu_budget = 0.005;
	agent.n_features = sizeof(features) / sizeof(features[0]);
	agent.features = features;
	agent.programs = agent.programs_wanted = 14;
	agent.self_tests = 340;
	agent.control_id = text("c-8a751d3fde94");
	millrace__v1__ledger__init(&ledger);
	for (size_t i = 0; i < 2; i++) {
		millrace__v1__loss__init(&losses[i]);
		told_losses[i] = &losses[i];
	}
	losses[0].place = text("ring");
	losses[0].kind = text("close");
	losses[0].events = 12;
	losses[1].place = text("netlink");
	losses[1].kind = text("nat");
	losses[1].events = 3;
	ledger.n_losses = 2;
	ledger.losses = told_losses;
	agent.ledger = &ledger;
	tell(view, &about, &agent);
}

static void fill_agents(struct query *query)
{
	char *features[] = {text("tcp"), text("nat")};
	char *missing[] = {
		text("BPF run times are not measured (features.run_stats, CAP_SYS_ADMIN)")};
	Millrace__V1__AgentResponse about = MILLRACE__V1__AGENT_RESPONSE__INIT;
	Millrace__V1__Agent silent = MILLRACE__V1__AGENT__INIT,
			    degraded = MILLRACE__V1__AGENT__INIT;
	struct agent_view agents[] = {
		{.node = "node-1",
		 .ledger = {.issued = 905,
			    .received = 903,
			    .lost = 5,
			    .duplicate = 3,
			    .late = 20,
			    .aggregated = 880,
			    .dropped_ring = 7,
			    .dropped_spool = 2},
		 .minute = {.received = 95, .issued = 100},
		 .hour = {.received = 99999, .issued = 100000},
		 .last_seen_ns = (now_s - 60) * NS_PER_S,
		 .told_ns = (now_s - 60) * NS_PER_S,
		 .clock_offset_ns = -2000000,
		 .scan_period_ms = 1000},
		{.node = "node-2",
		 .ledger = {.issued = 1000, .received = 1000, .aggregated = 1000},
		 .last_seen_ns = now_s * NS_PER_S - 200 * NS_PER_MS,
		 .told_ns = now_s * NS_PER_S - 250 * NS_PER_MS,
		 .sockets = 12,
		 .scan_period_ms = 1000},
	};
	struct agent_view other = agents[1];
	struct ledger all = {0};

	silent.zone = text("zone-a");
	tell(&agents[0], &about, &silent);
	tell_well(&agents[1]);
	query_agents(query, 0, now_s * NS_PER_S, agents, 2);
	all.quarantined = all.received = 10; /* of nobody known */
	ledger_add(&all, &agents[0].ledger);
	ledger_add(&all, &agents[1].ledger);
	query_ledger(query, 0, &all);
	agents[0].about = agents[1].about = NULL; /* as it was told */
	query_agents(query, 0, now_s * NS_PER_S, agents, 2);

	other.node = "node-3";
	degraded.zone = text("zone-b");
	degraded.kernel = text("5.10.0-30-arm64");
	degraded.level = 2;
	degraded.degraded = text("to keep the CPU budget counters of open sockets are read four "
				 "times as rarely; dropped packets are not told");
	degraded.cpu_share = 0.0048;
	degraded.cpu_budget = 0.005;
	degraded.n_features = 2;
	degraded.features = features;
	degraded.n_missing = 1;
	degraded.missing = missing;
	degraded.programs = degraded.programs_wanted = 9;
	tell(&other, &about, &degraded);
	other.ledger.aggregated -= 3; /* a fault, to be told */
	query_ledger(query, 1, &other.ledger);
	query_agents(query, 1, now_s * NS_PER_S, &other, 1);
}

/* All should apply one record. */
static const char *on_control_asked(void *context, const Millrace__V1__Agent *agent)
{
	(void)context;
	(void)agent;
	return "c-8a751d3fde94";
}

static size_t on_silences_asked(void *context, const struct alert *alert, const char **ids,
				size_t max)
{
	(void)context;
	if (max < 2 || strcmp(alert->key, "firing-key") != 0)
		return 0;
	ids[0] = "s-0123456789ab";
	ids[1] = "disks";
	return 2;
}

static bool on_acknowledgement_asked(void *context, const struct alert *alert,
				     Millrace__V1__Acknowledgement *message)
{
	(void)context;
	if (strcmp(alert->key, "firing-key") != 0)
		return false;
	message->key = (char *)(uintptr_t)alert->key;
	message->created_by = text("ann");
	message->author = text("192.0.2.7");
	message->comment = text("looking");
	message->acknowledged_ns = now_s * NS_PER_S;
	return true;
}

static size_t on_receivers_asked(void *context, struct receiver_view *views, size_t max)
{
	(void)context;
	if (max < 2)
		return 0;
	views[0] = (struct receiver_view){.name = "team",
					  .type = "slack",
					  .state = "ok",
					  .delivered = 12,
					  .open = 1,
					  .delivered_ns = (now_s - 30) * NS_PER_S,
					  .last_error = ""};
	views[1] = (struct receiver_view){.name = "on-call",
					  .type = "pagerduty",
					  .state = "open",
					  .waiting = 7,
					  .retried = 9,
					  .failed = 2,
					  .failing_since_ns = (now_s - 90) * NS_PER_S,
					  .resumes_in_ms = 12500,
					  .last_error = "the receiver answered 503; trying again "
							"in 12.5 s"};
	return 2;
}

/* What the daemon serves beside the API. */
static void on_ready(struct request *request, struct response *response, void *context)
{
	static const char body[] =
		"{\"ready\":false,\"state\":\"catching_up\",\"reasons\":[\"reading state\"]}";

	(void)request;
	(void)context;
	response_send(response, 503, "application/json", body, sizeof(body) - 1);
}

static void on_metrics(struct request *request, struct response *response, void *context)
{
	static const char body[] = "# HELP millrace_agents Agents known.\n"
				   "# TYPE millrace_agents gauge\nmillrace_agents 3\n"
				   "millrace_lag_seconds 0.75\nmillrace_edges 3\n"
				   "millrace_events_lost_total 5\n"
				   "millrace_events_received_total 2900\n"
				   "millrace_episodes 6\n";

	(void)request;
	(void)context;
	response_send(response, 200, "text/plain; version=0.0.4", body, sizeof(body) - 1);
}

static void on_signal(uv_signal_t *signal, int number)
{
	(void)number;
	uv_close((uv_handle_t *)signal, NULL);
	server_close(server, NULL, NULL);
}

static int serve(struct query *query)
{
	struct server_options options = {
		.drain_timeout_ms = 1000,
		.descriptor_set = mr_descriptors,
		.descriptor_set_size = (size_t)(mr_descriptors_end - mr_descriptors),
	};
	uv_signal_t term;
	int error = server_new(uv_default_loop(), &options, &server);

	if (error)
		return error;
	server_route(server, "GET", "/readyz", on_ready, NULL);
	server_route(server, "GET", "/healthz", on_metrics, NULL);
	server_route(server, "GET", "/metrics", on_metrics, NULL);
	query_routes(query, server);
	error = server_listen(server);
	if (error)
		return error;
	uv_signal_init(uv_default_loop(), &term);
	uv_signal_start(&term, on_signal, SIGTERM);
	printf("%u\n", server_port(server));
	fflush(stdout);
	uv_run(uv_default_loop(), UV_RUN_DEFAULT);
	uv_loop_close(uv_default_loop());
	return 0;
}

/* A deployment a minute ago, and a node that was added an hour before. */
static void fill_changes(struct query *query)
{
	uint8_t bytes[256];

	for (uint64_t i = 0; i < 2; i++) {
		Millrace__V1__Metadata record = MILLRACE__V1__METADATA__INIT;
		Millrace__V1__Change change = MILLRACE__V1__CHANGE__INIT;

		record.id = (char *)(i ? "/change/b/0" : "/change/a/0");
		record.version = 1;
		record.from_ns = record.until_ns = change.time_ns =
			(now_s - (i ? 3660 : 60)) * NS_PER_S;
		record.change = &change;
		change.kind = i ? MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_NODE_ADDED
				: MILLRACE__V1__CHANGE_KIND__CHANGE_KIND_DEPLOYED;
		change.namespace_ = (char *)(i ? "" : "shop");
		change.workload = (char *)(i ? "" : "cart");
		change.workload_kind = (char *)(i ? "" : "Deployment");
		change.before = (char *)(i ? "" : "v3");
		change.after = (char *)(i ? "" : "v4");
		change.node = (char *)(i ? "node-1" : "");
		query_change(query, i + 1, bytes, millrace__v1__metadata__pack(&record, bytes));
	}
}

int main(int count, char **arguments)
{
	struct history_options options = {.keep_1s_ns = 600 * NS_PER_S,
					  .keep_10s_ns = 6 * 3600 * NS_PER_S,
					  .rows_max = 1000000};
	const char *error;

	bool long_past = count > 3 && strcmp(arguments[3], "long-past") == 0;

	if (long_past) {
		options.keep_10s_ns = 1200 * NS_PER_S;
		options.keep_60s_ns = 10800 * NS_PER_S;
		options.keep_1h_ns = 90 * 86400 * NS_PER_S;
	}
	now_s = count > 1 ? strtoull(arguments[1], NULL, 10) : 1800000000;
	signal(SIGPIPE, SIG_IGN);
	names = names_new(2 * MANY, 0);
	history = history_new(&options, &error);

	struct query *query = query_new(&(struct query_options){
		.history = history,
		.tasks = 2,
		.episodes_max = 100,
		.changes_max = 100,
		.now_ns = now_ns,
		.control = on_control_asked,
		.receivers = on_receivers_asked,
		.silences = on_silences_asked,
		.acknowledged = on_acknowledgement_asked,
		.read_rows_max = count > 2 ? (uint32_t)strtoul(arguments[2], NULL, 10) : 0});

	if (count <= 2 || strcmp(arguments[2], "empty") != 0) {
		fill_history(long_past);
		if (count > 2 && strcmp(arguments[2], "many") == 0)
			fill_many();
		fill_alerts(query);
		fill_agents(query);
		fill_changes(query);
	}

	int failed = serve(query);

	if (failed)
		fprintf(stderr, "query-world: %s\n", uv_strerror(failed));
	query_free(query);
	history_free(history);
	names_free(names);
	return failed != 0;
}
