/* An alert transition: of an episode, as an owner's anomaly stage tells it to the incidents, or of
 * an incident, which is what people see. The topic millrace.alerts is a sequence of the latter; the
 * notifier and the API are its readers. Plain data. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/identity.h"
#include "metadata/change.h"

enum alert_state {
	ALERT_FIRING,
	ALERT_RESOLVED,
};

enum alert_severity { ALERT_INFO, ALERT_WARNING, ALERT_ERROR, ALERT_CRITICAL };

enum {
	ALERT_KEY_TEXT = 53,	/* 52 characters of base32 and a NUL */
	ALERT_MONITOR_MAX = 64, /* bytes of a monitor's name with its NUL */
	ALERT_TEXT_MAX = 512,
	ALERT_SUSPECTS_MAX = 5,
	ALERT_MEMBERS_MAX = 8,
	ALERT_NAME_MAX = 256, /* base/name.h: 255 and a NUL */
};

/* Which dimension of the edge concentrates the change. */
enum suspect_kind {
	SUSPECT_CLIENT_INSTANCE,
	SUSPECT_SERVER_INSTANCE,
	SUSPECT_CLIENT_VERSION,
	SUSPECT_SERVER_VERSION,
	SUSPECT_CLIENT_ZONE,
	SUSPECT_SERVER_ZONE,
	SUSPECT_CLIENT_NODE,
	SUSPECT_SERVER_NODE,
	SUSPECT_ZONE, /* what passes between it and others, either way */
	SUSPECT_PATH, /* between two zones: "a - b" */
	SUSPECT_KINDS,
};

struct suspect {
	uint32_t kind; /* enum suspect_kind */
	double share;  /* of the change that lies in it, 0..1 */
	double excess; /* its share of the change over its share of the traffic: > 1 concentrates */
	char name[ALERT_NAME_MAX];
};

/* What is likely wrong (anomaly/diagnosis.h). */
enum diagnosis_kind {
	DIAGNOSIS_NONE,	       /* not known */
	DIAGNOSIS_DROPPED,     /* attempts that no agent at the server saw: a policy or a route */
	DIAGNOSIS_SERVER_GONE, /* ... and none there tells of anything */
	DIAGNOSIS_NO_LISTENER, /* refused */
	DIAGNOSIS_NO_ROUTE,    /* a router answered */
	DIAGNOSIS_LOSSY_PATH,  /* segments sent again */
	DIAGNOSIS_SLOW_PATH,   /* round trips */
	DIAGNOSIS_SLOW_SERVER, /* connecting takes longer, round trips do not */
	DIAGNOSIS_CLIENTS,     /* they ask less or more, and nothing is wrong otherwise */
	DIAGNOSIS_DNS,	       /* lookups */
	DIAGNOSES,
};

/* With its evidence: part of whole (attempts, segments, lookups; seconds in all of so many round
 * trips or connects; bytes), and what that share usually is. */
struct diagnosis {
	uint32_t kind; /* enum diagnosis_kind */
	bool crossing; /* it is between zones only */
	double part, whole, usual;
};

/* An edge in words. Empty strings are unknown. */
struct alert_subject {
	char client[ALERT_NAME_MAX],
		server[ALERT_NAME_MAX]; /* workloads; client empty: all clients */
	uint16_t port;			/* 0: all ports */
	uint8_t protocol;		/* 0: all */
};

/* An open episode of an incident: enough to find it again. */
struct alert_member {
	char monitor[ALERT_MONITOR_MAX];
	struct alert_subject subject;
	char metric[ALERT_MONITOR_MAX];
	uint32_t severity;
	uint64_t started_ns;
};

struct alert {
	char key[ALERT_KEY_TEXT]; /* base32(SHA-256(monitor, subject, start)) of the episode, or of
				     the one that named the incident when it began: the dedup key */
	uint64_t sequence;	  /* of this transition: 1 firing, 2 .. updates, last resolved */
	uint32_t state;		  /* enum alert_state */
	uint32_t severity;	  /* enum alert_severity */
	/* Threshold monitor's name, "baseline/<metric>" or "burn-rate/<window>". */
	char monitor[ALERT_MONITOR_MAX];
	struct alert_subject subject;
	char metric[ALERT_MONITOR_MAX]; /* what was measured: a counter's name or a derived one */
	char unit[32];
	double value;	  /* measured over the window */
	double threshold; /* what it was compared with */
	/* Of a baseline, 0 for thresholds: what was expected, what is usual, and how surprising the
	 * value was when this was told, in decades (-log10 of its probability). */
	double expected, usual_low, usual_high, score;
	uint32_t window_ms;
	uint64_t started_ns;	      /* end of the pane in which the episode began */
	uint64_t ended_ns;	      /* 0 while firing */
	uint64_t reopened_ns;	      /* of an incident: when it fired again, last; 0: never */
	uint64_t pane_end_ns;	      /* of this transition */
	uint64_t last_event_ns;	      /* newest kernel event in the rows that decided it */
	double completeness;	      /* of those rows, 0..1 */
	char summary[ALERT_TEXT_MAX]; /* one sentence: what, where, how much against what */
	uint32_t suspects_count;
	struct suspect suspects[ALERT_SUSPECTS_MAX]; /* best first */
	struct diagnosis diagnosis;
	/* Of an incident: its open episodes, and the first of them, the cause first. */
	uint32_t episodes, members_count;
	struct alert_member members[ALERT_MEMBERS_MAX];
	/* What was changed there shortly before (cause.h); CHANGE_NONE: nothing that is known. */
	struct change_event cause;
};

/* Fills the key from monitor, subject and started_ns. */
void alert_key(struct alert *alert);
/* A member of an incident as the transition that told of it, as far as the incident's does. */
struct alert alert_member(const struct alert *alert, uint32_t number);

/* Of the first ones; also if neither has one. */
bool alert_same_suspect(const struct alert *a, const struct alert *b);
/* Also if neither has one. */
bool alert_same_diagnosis(const struct alert *a, const struct alert *b);

const char *alert_state_name(uint32_t state);	    /* firing, resolved */
const char *alert_severity_name(uint32_t severity); /* info, warning, error, critical */
const char *suspect_kind_name(uint32_t kind);	    /* server_instance, ... */
const char *diagnosis_name(uint32_t kind);	    /* dropped, no_listener, ...; none */
