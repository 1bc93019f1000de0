/* millraced's configuration: the struct, and the one table that describes it (settings.c). */
#pragma once

#include <stdint.h>

#include "anomaly/monitor.h"
#include "api/notify/notify.h"
#include "config/config.h"
#include "daemon/range.h"
#include "kafka/options.h"
#include "kafka/signing.h"

struct settings_monitor {
	char *name;
	struct config_strings client, server, client_namespace, server_namespace;
	struct config_strings client_zone, server_zone, client_version, server_version;
	uint32_t kind, metric, comparison, severity, per, protocol;
	double threshold, clear, objective, sensitivity;
	uint64_t window_ns, clear_after_ns, minimum, absent_for_ns, learn_ns, port;
	bool silent;
};

struct settings_receiver {
	char *name, *url, *routing_key, *secret, *former_secret, *token, *channel, *title, *text;
	uint32_t type, severity;
	struct config_strings match[ROUTE_FIELDS];
	bool cause_only;
	bool self_alerts;
	uint64_t per_minute, burst, resolve_after_ns;
};

struct settings_range {
	char *cidr, *name, *zone;
};

enum settings_carrier { CARRIER_MEMORY, CARRIER_KAFKA };

enum settings_data_loss { DATA_LOSS_CONTINUE, DATA_LOSS_STOP };

struct settings {
	char *listen;
	char *tls_certificate, *tls_key;
	char *external_url;
	struct config_strings kafka_brokers;
	struct kafka_options kafka;
	char *kafka_group;
	bool kafka_create_time;
	char *embedded_listen;
	uint64_t workers, tasks, lateness_ns, keep_ns, one_sided_ns;
	uint64_t nodes_max, halves_max, nats_max, processes_max, containers_max, facts_max,
		listeners_max, answers_max, amendments_max, names_max, events_max;
	uint64_t instances_max, lanes_max;
	uint64_t fetched_mib;
	uint64_t rows_max, edges_max, episodes_max;
	struct signing_options signing;
	uint32_t kubernetes; /* enum watcher_source */
	char *kubeconfig, *kubernetes_context, *kubernetes_cluster;
	struct config_strings kubernetes_labels, kubernetes_annotations;
	uint64_t kubernetes_objects_max, metadata_keep_ns, changes_max;
	uint64_t events_learn_ns, events_gone_ns;
	struct config_list ranges; /* of struct settings_range */
	char *asn_database, *country_database;
	char *control_token; /* NULL: only loopback may change anything */
	uint32_t carrier;    /* enum settings_carrier */
	char *instance;	     /* empty: the host's name */
	uint64_t session_ns;
	char *snapshots_folder;
	uint32_t on_data_loss; /* enum settings_data_loss */
	uint64_t hang_ns;
	uint64_t snapshots_period_ns;
	double snapshots_share;
	char *history_path;
	uint64_t history_1s_ns, history_10s_ns, history_60s_ns, history_1h_ns;
	uint64_t history_rate, history_rows_max;
	uint32_t rollups_finest; /* settings_finest_ns */
	bool baselines;
	double baselines_sensitivity;
	uint64_t baselines_warmup;
	uint64_t reopen_ns;
	double baselines_objective;
	bool allow_http, allow_private;
	uint64_t notify_timeout_ns, notify_life_ns, notify_pending_max;
	uint64_t notify_retry_min_ns, notify_retry_max_ns, notify_breaker_failures;
	char *notify_journal; /* empty: none */
	uint64_t notify_journal_bytes;
	uint64_t notify_blind_after_ns, notify_lag_max_ns, notify_failing_after_ns;
	char *notify_heartbeat_url; /* empty: none */
	uint64_t notify_heartbeat_period_ns;
	uint64_t silences_max, silences_keep_ns, acknowledgements_max;
	struct config_list monitors;  /* of struct settings_monitor */
	struct config_list receivers; /* of struct settings_receiver */
};

extern const struct config_table settings_table;

/* Problems that one entry alone does not show: a receiver without its URL, a ratio above 1. 0 or
 * -EINVAL with the first of them in error, as a sentence. */
int settings_check(const struct settings *settings, char *error, size_t size);

/* One of the list `monitors`, in the configuration or as the API is given it. */
extern const struct config_table settings_monitor_table;
int settings_check_monitor(const struct settings_monitor *from, char *error, size_t size);
/* Of one that was checked. */
struct monitor settings_monitor(const struct settings_monitor *from);
/* What settings say of a monitor, in their words. */
const char *settings_severity_name(uint32_t severity);
const char *settings_protocol_name(uint8_t protocol);
const char *settings_metric_name(uint32_t metric);

/* The shortest windows that go to millrace.rollups. */
uint64_t settings_finest_ns(const struct settings *settings);
/* The configured monitors as the anomaly stage takes them; the caller frees the array. */
struct monitor *settings_monitors(const struct settings *settings, size_t *count);
/* Points into settings; the caller frees the array. */
struct receiver *settings_receivers(const struct settings *settings, size_t *count);
/* Likewise. */
struct range *settings_ranges(const struct settings *settings, size_t *count);
/* As Kafka's clients take them, a comma between; the caller frees them. */
char *settings_brokers(const struct settings *settings);
