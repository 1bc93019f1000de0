/* The join puts the halves of a flow together and labels each half. It is keyed by what the
 * server's socket sees; client halves are re-keyed here through NAT mappings that other nodes told
 * (an alias at the key's owner), one hop a round, at most HOPS_MAX. Every half is labelled in the
 * pane that first shows it, from that half alone if need be; when its peer comes, both get the
 * final label. Halves pair by key and overlapping life (PAIR_SLACK_NS), never by arrival order.
 *
 * Several candidates (a reused port): a stable matching on the distance of openings; a pair may
 * still be parted by a nearer half until it is one_sided_ns old or its flow is told, and then its
 * halves are labelled again. A failed attempt never pairs and is told in its pane. A half of
 * guessed role that nobody meets is tried once the other way round (key reversed, side flipped) for
 * three panes, the greater of two such keys first; a peer found there settles the roles, else it
 * comes back. A told or settled half is not re-keyed under its peer.
 *
 * A label tells the half's number in the task where it is now; closes and key frames name it there.
 * So what hops leaves nothing behind, and takes a close of the same pane along. A close is unknown
 * (counted) where its number is another half's, and so is another owner; a key frame begins the
 * half anew then, at its key's owner. Numbers are given again: a half's own is good until its next
 * label. The source of a half is not told of the half's own instance, which it told itself.
 *
 * An end without an agent is whom the census names for the time at which the flow began, else whom
 * its client's node looked up, a range, its network, and last its address or what kind of address
 * that is. A half that is labelled so and told of nobody else is labelled again when the census is
 * told more of that address, for keep_ns; a flow that was told is not.
 *
 * Labels of a pair are final unless a half waits for what the cluster tells of its owner
 * (HALF_WAITS), until it is announced again without that, at most keep_ns. A pair of which both
 * halves closed meanwhile, or an attempt that failed, is told and stays for that; nobody pairs with
 * it.
 *
 * The client's half of a pair counts, or the server's while the client's node is out: nodes that
 * are mute or heard again come with the buckets, and in the last pane of ten seconds all pairs
 * whose side changes are labelled, for the next ten seconds (failover.c).
 *
 * Memory of a settled pair is 56 B and 7 to 8 B of index (state.h). Bounds: halves_max halves,
 * aliases_max aliases, instances_max descriptors at once. A descriptor too many is nobody's. At the
 * other bounds the oldest leaves and is counted: pairs that are over first, then halves told
 * one-sided, closed ones (told as they go), those whose flow is over, lone ones, pairs of which one
 * is closed (told; the other stays until its close), pairs that may still part, those that wait,
 * this round's newcomers, and last settled pairs, both halves at once, by a hand that goes round.
 * Of one key at most 2,048 halves and 64 aliases either way. Pure: time comes in with the panes.
 * One thread.
 *
 * In pane k push the hop buckets that are left from pane k - 1 in the order of their tasks, then
 * the ingest buckets of pane k in the order of theirs, then advance. That is the pane's first
 * round. While any task is unfinished its hops may be pushed and all tasks advanced again with the
 * same time: further rounds, so that a half reaches its key in the pane that shows it; what is left
 * goes to the next pane. A later round's label of a half replaces an earlier one's. Sinks are
 * called from join_advance only, in a fixed order: labels as they were decided, flows by their
 * closing and id. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/label.h"
#include "base/roster.h"
#include "ingest/half.h"
#include "join/flow.h"

struct census;
struct join;

struct join_sinks {
	void *context;
	/* All labels decided in the round for one ingest task; called at most once a task and
	 * round. instances: those that the labels name and this task was not told of lately. */
	void (*labels)(void *context, uint32_t source, const struct label *labels, size_t count,
		       const struct instance *instances, size_t instances_count);
	/* Halves (with their closes and descriptors) whose key another join task owns; at most once
	 * a task and round. */
	void (*hops)(void *context, uint32_t task, const struct half_bucket *bucket);
	void (*flows)(void *context, const struct flow *flows, size_t count);
	/* Whether more is known of a public address: sets workload, zone and resolution, which are
	 * those of a stranger. A function of the address alone; NULL: nothing is. */
	bool (*network)(void *context, const struct address *address, struct instance *instance);
};

struct join_options {
	uint32_t tasks; /* join tasks; this one owns keys with hash_owner(tuple_hash(key), tasks) ==
			   task */
	uint32_t task;
	uint32_t sources; /* ingest tasks */
	uint32_t halves_max;
	uint32_t aliases_max;
	uint32_t instances_max;
	uint64_t seed;	       /* of its tables' hashes, secret; nothing that goes out shows it */
	uint64_t one_sided_ns; /* a closed half without a peer becomes a flow after this (2 s) */
	const struct census *census; /* who held an address when; NULL: nobody tells */
	uint64_t keep_ns; /* a one-sided half still finds a late peer for this (120 s); an alias
			   * lives this long past its last announcement or its deletion */
	struct join_sinks sinks;
};

struct join_stats {
	uint64_t halves, flows, aliases;    /* live now */
	uint64_t opened, paired, one_sided; /* halves so far */
	uint64_t amended;		    /* flows emitted again after a late peer */
	uint64_t hops, hops_exhausted;
	uint64_t evicted_halves, evicted_aliases;
	uint64_t closes_unknown;    /* closes of halves that are not here */
	uint64_t news_unknown;	    /* other owners of such halves */
	uint64_t servers_refused;   /* told, and no room for: an attempt there has no name yet */
	uint64_t instances_refused; /* descriptors too many */
	uint64_t instances_unknown; /* halves whose owner no descriptor told of: nobody's */
	uint64_t bytes;		    /* of halves, keys, mappings and their index, in use so far */
	uint64_t flows_emitted, flows_joined;
};

struct join *join_new(const struct join_options *options);
void join_free(struct join *join);
/* The stage is as another process left it, at the same addresses (base/heap.h): what is of the
 * process is set anew. */
void join_bind(struct join *join, const struct join_sinks *sinks);
/* What the bucket lends must stay until join_advance returns. */
void join_push(struct join *join, const struct half_bucket *bucket);
void join_advance(struct join *join, uint64_t now_ns); /* now_ns: end of the pane */
/* Whether the last round sent hops, to whatever task. */
bool join_unfinished(const struct join *join);
/* Of this task; the caller advances it and sends names along with descriptors. */
struct roster *join_roster(struct join *join);
struct join_stats join_stats(const struct join *join);
