/* The one ring buffer that all programs write to, and what each object needs beside it: the loss
 * counters and the scope. The maps are made by the first object and reused by the second. */
#pragma once

#include "agent/bpf/kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

#include "agent/bpf/event.h"

struct lost {
	__u64 counts[MR_LOST_COUNTERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, MR_RING_BYTES);
} ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lost);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MR_SCOPE_MAX);
	__type(key, __u32); /* inode of a network namespace */
	__type(value, __u32);
} scope SEC(".maps");

const volatile struct mr_settings settings = {};

static __always_inline _Bool in_scope(__u32 netns)
{
	return !settings.scoped || bpf_map_lookup_elem(&scope, &netns);
}

static __always_inline void count_lost(__u32 counter)
{
	__u32 zero = 0;
	struct lost *counts = bpf_map_lookup_elem(&lost, &zero);
	if (counts && counter < MR_LOST_COUNTERS)
		counts->counts[counter]++;
}

/* NULL when the ring is full: counted by kind. */
static __always_inline void *ring_reserve(__u32 kind, __u64 bytes)
{
	void *record = bpf_ringbuf_reserve(&ring, bytes, 0);
	if (!record)
		count_lost(kind);
	return record;
}

/* A wake-up costs ten times the record: the reader comes by itself at each tick unless the ring
 * fills sooner. */
static __always_inline void ring_submit(void *record)
{
	__u64 flags = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > MR_WAKE_BYTES
			      ? BPF_RB_FORCE_WAKEUP
			      : BPF_RB_NO_WAKEUP;
	bpf_ringbuf_submit(record, flags);
}

/* The cgroup that says most: in the v2 tree, or where that has only a root (hybrid hosts) the
 * memory controller's. */
static __always_inline __u64 task_cgroup(struct task_struct *task)
{
	__u64 id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	if (id > 1 || !bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return id;
	__u32 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct css_set *sets = BPF_CORE_READ(task, cgroups);
	struct cgroup_subsys_state *state = 0;
	bpf_probe_read_kernel(&state, sizeof(state), (void *)&sets->subsys + index * sizeof(state));
	__u64 v1 = BPF_CORE_READ(state, cgroup, kn, id);
	return v1 > 1 ? v1 | MR_CGROUP_V1 : id;
}

char gpl[] SEC("license") = "GPL";
