/* The one ring buffer that all programs write to, and what each object needs beside it: the loss
 * counters and the scope. The maps are made by the first object and reused by the others. */
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

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32); /* bits of enum mr_without */
} without SEC(".maps");

const volatile struct mr_settings settings = {};

static __always_inline _Bool left_out(__u32 what)
{
	__u32 zero = 0;
	__u32 *bits = bpf_map_lookup_elem(&without, &zero);
	return bits && *bits & what;
}

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

/* Whether the reader is to be woken: asked by one record in 16, by its time, since asking costs as
 * much as the record. A wake-up costs ten times that: the reader comes by itself at each tick
 * unless the ring fills sooner. */
static __always_inline __u64 ring_wake(__u64 time_ns)
{
	if (time_ns >> 4 & 15 || bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) <= MR_WAKE_BYTES)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void ring_submit(void *record)
{
	bpf_ringbuf_submit(record, ring_wake(((struct mr_head *)record)->time_ns));
}

/* The bytes of a record that was built elsewhere because its length is known last. */
static __always_inline void ring_output(__u32 kind, void *record, __u64 bytes)
{
	if (bpf_ringbuf_output(&ring, record, bytes,
			       ring_wake(((struct mr_head *)record)->time_ns)))
		count_lost(kind);
}

static __always_inline void tell_owner(__u64 cookie, __u32 pid, __u64 cgroup)
{
	struct mr_owner *owner = ring_reserve(MR_OWNER, sizeof(*owner));
	if (!owner)
		return;
	owner->head.kind = MR_OWNER;
	owner->head.flags = 0;
	owner->head.pid = pid;
	owner->head.time_ns = bpf_ktime_get_boot_ns();
	owner->cookie = cookie;
	owner->cgroup = cgroup;
	ring_submit(owner);
}

/* As base/address.h holds it. */
static __always_inline void map_v4(__u8 *address, __be32 v4)
{
	__builtin_memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	__builtin_memcpy(address + 12, &v4, 4);
}

/* Kernel threads own nothing: NULL. One of them closes, say, what an io_uring leaves behind, long
 * after its process; io_uring's workers are threads of their process. */
static __always_inline struct task_struct *current_process(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	return task->flags & PF_KTHREAD ? 0 : task;
}

/* The cgroup that says most. In hybrid hierarchies a container may be in the v2 tree, in the memory
 * controller's v1 tree or in both, and one of them may have only its runtime's service: the deeper
 * one says more. */
static __always_inline __u64 task_cgroup(struct task_struct *task)
{
	struct css_set *sets = task->cgroups;
	struct cgroup *v2 = sets->dfl_cgrp;
	__u64 id = v2->kn->id;
	if (!bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))
		return id;
	__u32 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);
	struct cgroup_subsys_state *state =
		*(struct cgroup_subsys_state **)((void *)&sets->subsys + index * sizeof(state));
	struct cgroup *v1 = state->cgroup;
	if (v1 == v2 || v1->root->hierarchy_id == 0)
		return id;
	int level = v1->level;
	if (level == 0 || level < v2->level)
		return id;
	return v1->kn->id | MR_CGROUP_V1;
}

char gpl[] SEC("license") = "GPL";
