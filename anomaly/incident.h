/* Incidents: what people are told. Each owner's anomaly stage finds episodes, a rule that holds on
 * one edge or server; one fault makes many of them. Here they meet, those of all owners, and what
 * belongs together is one incident with one key, told at once when its first episodes begin and
 * again only when something about it changed.
 *
 * Episodes belong together when
 *
 *   - they have one server: a failing backend and all its callers;
 *
 *   - the server of one is the client of the other: a backend and what its callers' callers notice.
 *     Not where one is of traffic, which is no fault that others would suffer from;
 *
 *   - their first suspects that are a node, a zone or a path between two are the same, with at
 *     least half of the change;
 *
 *   - they began within two seconds at one client and at least INCIDENT_SERVERS_MIN servers;
 *
 *   - they began within 30 s, of what is merely slow or unusual within 60 s; and where three
 * servers are concerned already, within two minutes of the newest of them: something that they
 * share, and that those who are seldom used notice later. Not what fails or is slow with what is
 * only unusual traffic, nor a monitor of people's own with what another says of less than that;
 *
 *   - unusual traffic, and what fails or is slow at one of its ends: its effect.
 *
 * Failures are told at once, and so is what a monitor of people's own says; of baselines, what is
 * merely slow or unusual waits until it is known where it is, 12 s at most, or an incident has it.
 *
 * By chain, node, zone and time only what began within five minutes does, and nothing by the name
 * _other. An error budget that was used up longer ago draws other budgets of its server alone.
 * An episode stays in the incident that it came to; two incidents are never made one. What begins
 * again within reopen_ns of the end of its incident opens it again, under its key, with all that
 * belongs to it, unless that belongs to an open one: a fault that comes and goes is one incident.
 * Likewise what comes back after others of it did.
 *
 * An incident is named by its cause, which is one of its open episodes: one whose server is not the
 * client of another, rather of failures than of latency than of volume, of connections than of
 * lookups, of one edge than of its server's sum unless several edges say the same, the severest,
 * the earliest. Its key is that of the episode that named it when it began, its severity the
 * highest of all. It is told again at once when it is severer or fails where it was slow or
 * unusual, and at most every update_ns when its cause is of another server or kind, the first
 * suspect or the diagnosis is another, twice as many episodes are open, or what was changed before
 * it (anomaly/cause.h) comes to be known; it is resolved when none is.
 *
 * In pane k push the transitions of all owners in the order of their tasks, then advance. What
 * comes out depends on these alone. Bounds: episodes_max open episodes (11 KB each while open, and
 * 11 KB an incident); one beyond is counted as unlisted and makes no incident. INCIDENTS_CLOSED_MAX
 * that may be opened again; of more the oldest is forgotten early, and counted. Pure; one thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "anomaly/alert.h"
#include "metadata/change.h"

enum {
	INCIDENT_SERVERS_MIN = 3,
	INCIDENTS_CLOSED_MAX = 1024,
};

struct incidents;

struct incident_sinks {
	void *context;
	void (*alerts)(void *context, const struct alert *alerts, size_t count);
};

struct incident_options {
	uint64_t update_ns; /* 10 s */
	uint64_t reopen_ns; /* 0: never */
	uint32_t episodes_max;
	struct incident_sinks sinks;
};

struct incident_stats {
	uint64_t incidents, episodes; /* open now */
	uint64_t closed;	      /* that may be opened again */
	uint64_t opened, resolved, updated, unlisted;
	uint64_t reopened, forgotten;
};

struct incidents *incidents_new(const struct incident_options *options);
void incidents_free(struct incidents *incidents);
/* As another process left it, at the same addresses (base/heap.h). */
void incidents_bind(struct incidents *incidents, const struct incident_sinks *sinks);
/* Transitions of one owner's episodes in the pane. */
void incidents_push(struct incidents *incidents, const struct alert *alerts, size_t count);
/* Something that happened to a workload or node, as causes_tell. */
void incidents_change(struct incidents *incidents, uint64_t id, const struct change_event *change,
		      uint64_t told_ns);
void incidents_advance(struct incidents *incidents, uint64_t now_ns); /* end of the pane */
/* Before the first pane: an incident that still fires, as its latest transition told it. Its
 * members that no owner tells of in that pane (anomaly_resume) are over. False if it is none or
 * there is no room. */
bool incidents_resume(struct incidents *incidents, const struct alert *alert);
struct incident_stats incidents_stats(const struct incidents *incidents);
