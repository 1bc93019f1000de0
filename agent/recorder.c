#include "agent/recorder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/listeners.h"
#include "agent/processes.h"
#include "agent/record.h"
#include "agent/sni.h"
#include "agent/slots.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/tuple.h"

/* An idle agent still says that it lives. */
#define HEARTBEAT_NS NS_PER_S

/* A cgroup that is gone is forgotten when nothing of it was told again for so many key frames. */
enum { UNUSED_FRAMES = 2 };
enum { LISTENERS_MAX = 65536 }; /* as many as one address has ports */

/* Walks a table's rows once in `period` ticks, a share each tick. */
struct cursor {
	uint32_t at;
	uint64_t carry;
};

struct recorder {
	struct recorder_options options;
	struct slots *slots;
	struct listeners *listeners;
	struct processes *processes;
	struct lookups *lookups; /* NULL: none are told */
	uint32_t *redefine;	 /* slot numbers */
	uint32_t redefine_count;
	uint32_t cycle_ticks;
	struct cursor sockets_cursor, processes_cursor, cgroups_cursor, listeners_cursor;
	uint64_t boottime_ns, realtime_ns, sealed_ns;
	uint32_t self;
	uint16_t probe_port;
	struct recorder_stats stats;
};

/* Puts, and when the batch is full seals it and puts again: an empty batch takes any one event. */
#define PUT(recorder, put)                                                       \
	do {                                                                     \
		if (!(put)) {                                                    \
			recorder_seal(recorder);                                 \
			if (!(put))                                              \
				assert(!"an event does not fit an empty batch"); \
		}                                                                \
	} while (0)

void recorder_pace(struct recorder *recorder, uint64_t tick_ns)
{
	/* one tick is lost to rounding, one to the batch's own wait */
	uint64_t ticks = recorder->options.key_frame_ns / tick_ns;
	recorder->cycle_ticks = ticks > 3 ? (uint32_t)ticks - 2 : 1;
}

static void tell_lookup(void *context, const struct lookup *lookup,
			const struct dns_message *answer, uint64_t ended_ns);

struct recorder *recorder_new(const struct recorder_options *options)
{
	struct recorder *recorder = memory_zeroed(1, sizeof(*recorder));
	recorder->options = *options;
	recorder->slots = slots_new(options->sockets_max);
	recorder->processes = processes_new(options->processes_max, options->process_text_bytes);
	if (options->lookups_max)
		recorder->lookups = lookups_new(&(struct lookups_options){
			.lookups_max = options->lookups_max,
			.slots_max = options->sockets_max,
			.timeout_ns = options->lookup_timeout_ns,
			.told = tell_lookup,
			.context = recorder,
		});
	recorder->listeners = listeners_new(LISTENERS_MAX);
	recorder->redefine = memory_zeroed(options->sockets_max, sizeof(*recorder->redefine));
	recorder_pace(recorder, options->tick_ns);
	recorder->self = (uint32_t)getpid();
	return recorder;
}

void recorder_free(struct recorder *recorder)
{
	if (!recorder)
		return;
	slots_free(recorder->slots);
	listeners_free(recorder->listeners);
	processes_free(recorder->processes);
	lookups_free(recorder->lookups);
	free(recorder->redefine);
	free(recorder);
}

void recorder_clock(struct recorder *recorder, uint64_t boottime_ns, uint64_t realtime_ns)
{
	recorder->boottime_ns = boottime_ns;
	recorder->realtime_ns = realtime_ns;
}

static uint64_t to_realtime(const struct recorder *recorder, uint64_t boottime_ns)
{
	return recorder->realtime_ns + boottime_ns - recorder->boottime_ns;
}

void recorder_seal(struct recorder *recorder)
{
	struct batch_bytes bytes = batch_seal(recorder->options.batch, recorder->options.sender,
					      recorder->boottime_ns, recorder->realtime_ns);
	recorder->stats.batches++;
	recorder->stats.events += bytes.events;
	recorder->sealed_ns = recorder->boottime_ns;
	slots_release(recorder->slots);
	recorder->options.sealed(recorder->options.context, &bytes);
}

/* What the runtime says comes before what the path says: a pod's uid, for one, is in both. */
static void tell_container(struct recorder *recorder, struct cgroup_place *place)
{
	static const struct description unknown;
	const char *id = place->container.id;
	const struct description *known =
		id[0] ? containers_get(recorder->options.containers, id, recorder->boottime_ns)
		      : NULL;
	if (!known)
		known = &unknown;
	struct batch_label labels[DESCRIPTION_LABELS_MAX];
	for (uint16_t i = 0; i < known->labels_count; i++)
		labels[i] = (struct batch_label){known->text + known->keys[i],
						 known->text + known->values[i]};
	const char *runtime = description_get(known, DESCRIPTION_RUNTIME),
		   *pod_uid = description_get(known, DESCRIPTION_POD_UID);
	PUT(recorder,
	    batch_container(recorder->options.batch,
			    &(struct batch_container){
				    .cgroup = place->id,
				    .id = id,
				    .name = description_get(known, DESCRIPTION_NAME),
				    .image = description_get(known, DESCRIPTION_IMAGE),
				    .pod = description_get(known, DESCRIPTION_POD),
				    .namespace = description_get(known, DESCRIPTION_NAMESPACE),
				    .workload = description_get(known, DESCRIPTION_WORKLOAD),
				    .unit = place->container.unit,
				    .path = place->path,
				    .version = description_get(known, DESCRIPTION_VERSION),
				    .runtime = runtime[0] ? runtime : place->container.runtime,
				    .pod_uid = pod_uid[0] ? pod_uid : place->container.pod,
				    .labels = labels,
				    .labels_count = known->labels_count,
				    .oom_kills = known->oom_kills,
			    }));
	place->announced = true;
}

/* Whether what belongs to this cgroup is told; tells the cgroup first. An unknown one is in scope
 * if all are. */
static bool tell_cgroup(struct recorder *recorder, uint64_t cgroup, uint32_t pid)
{
	struct cgroup_place *place =
		cgroup ? cgroups_get(recorder->options.cgroups, cgroup, pid, recorder->boottime_ns)
		       : NULL;
	if (!place)
		return cgroups_all_in_scope(recorder->options.cgroups);
	if (place->in_scope && !place->announced)
		tell_container(recorder, place);
	return place->in_scope;
}

static void tell_process(struct recorder *recorder, struct process *process, uint64_t time_ns)
{
	process->announced = true;
	PUT(recorder,
	    batch_process(recorder->options.batch, &(struct batch_process){
							   .pid = process->pid,
							   .parent = process->parent,
							   .started_ns = process->started_ns,
							   .cgroup = process->cgroup,
							   .comm = process->comm,
							   .uid = process->uid,
							   .exe = process_exe(process),
							   .cmdline = process_cmdline(process),
							   .time_ns = time_ns,
						   }));
	process_settle(recorder->processes, process);
}

static void tell_owner(struct recorder *recorder, uint32_t pid, uint64_t time_ns)
{
	struct process *process = pid ? processes_get(recorder->processes, pid) : NULL;
	if (process && !process->announced)
		tell_process(recorder, process, time_ns);
}

/* Readers take a socket's events in the order of their times: a record that the kernel stamped just
 * before a key frame, and that came just after it, is told with the key frame's. */
static uint64_t slot_time(struct slot *slot, uint64_t boottime_ns)
{
	if (boottime_ns > slot->told_ns)
		slot->told_ns = boottime_ns;
	return slot->told_ns;
}

static void tell_definition(struct recorder *recorder, struct slot *slot, uint32_t flags,
			    uint64_t boottime_ns)
{
	boottime_ns = slot_time(slot, boottime_ns);
	struct batch_definition definition = {
		.slot = slots_number(recorder->slots, slot),
		.generation = slot->generation,
		.protocol = slot->protocol,
		.role = slot->role,
		.flags = slot->flags | flags,
		.local = slot->local,
		.remote = slot->remote,
		.local_port = slot->local_port,
		.remote_port = slot->remote_port,
		.pid = slot->pid,
		.cgroup = slot->cgroup,
		.age_ns = boottime_ns > slot->opened_ns ? boottime_ns - slot->opened_ns : 0,
		.connect_ns = slot->connect_ns,
		.total = slot->total,
		.srtt_us = slot->srtt_us,
		.min_rtt_us = slot->min_rtt_us,
		.time_ns = to_realtime(recorder, boottime_ns),
	};
	slot->told_pid = slot->pid;
	PUT(recorder, batch_define(recorder->options.batch, &definition));
	recorder->stats.defined++;
}

/* An event of its slot, told by what the slot's role says: who asked, or who answered. */
static void tell_lookup(void *context, const struct lookup *lookup,
			const struct dns_message *answer, uint64_t ended_ns)
{
	struct recorder *recorder = context;
	struct slot *slot = slots_at(recorder->slots, lookup->slot);
	assert(slot); /* its lookups end with it */
	char name[DNS_TEXT_BYTES];
	dns_name_format(&lookup->name, name);
	struct batch_dns dns = {
		.slot = lookup->slot,
		.name = name,
		.type = lookup->type,
		.flags = BATCH_DNS_TIMEOUT,
		.latency_ns = ended_ns > lookup->asked_ns ? ended_ns - lookup->asked_ns : 0,
		.time_ns = to_realtime(recorder, slot_time(slot, ended_ns)),
	};
	if (answer) {
		dns.flags = answer->truncated ? BATCH_DNS_TRUNCATED : 0;
		dns.rcode = answer->rcode;
		dns.answers = answer->answers;
		dns.answers_count = answer->answers_count;
	}
	PUT(recorder, batch_dns(recorder->options.batch, &dns));
}

static void push_dns(struct recorder *recorder, const struct mr_message *dns)
{
	if (!recorder->lookups)
		return;
	struct dns_message message;
	enum dns_verdict verdict = dns_parse(dns->message, dns->length, &message);
	recorder->stats.dns_malformed +=
		verdict == DNS_MALFORMED || (verdict == DNS_READ && message.damaged);
	recorder->stats.dns_other += verdict == DNS_OTHER;
	if (verdict != DNS_READ)
		return;
	struct slot *slot = slots_get(recorder->slots, dns->cookie);
	if (!slot) {
		recorder->stats.dns_unplaced++;
		return;
	}
	lookups_push(recorder->lookups, slots_number(recorder->slots, slot),
		     dns->head.flags & MR_SENT, &message, dns->head.time_ns);
}

static void tell_name(struct recorder *recorder, const struct mr_message *hello, const char *name)
{
	struct slot *slot = slots_get(recorder->slots, hello->cookie);
	if (!slot || slot->role == BATCH_ROLE_SERVER) {
		recorder->stats.sni_unplaced++;
		return;
	}
	if (slot->named) {
		recorder->stats.sni_repeated++;
		return;
	}
	slot->named = true;
	recorder->stats.sni++;
	PUT(recorder, batch_sni(recorder->options.batch,
				&(struct batch_sni){
					.slot = slots_number(recorder->slots, slot),
					.name = name,
					.time_ns = to_realtime(
						recorder, slot_time(slot, hello->head.time_ns)),
				}));
}

static void push_hello(struct recorder *recorder, const struct mr_message *hello)
{
	struct recorder_stats *stats = &recorder->stats;
	char name[SNI_TEXT_BYTES];
	switch (sni_parse(hello->message, hello->length, name)) {
	case SNI_NAME:
		tell_name(recorder, hello, name);
		break;
	case SNI_NONE:
		stats->sni_without++;
		break;
	case SNI_CUT:
		stats->sni_cut++;
		break;
	case SNI_OTHER:
		stats->sni_other++;
		break;
	case SNI_MALFORMED:
		stats->sni_malformed++;
		break;
	}
}

static uint32_t close_flags(uint32_t flags)
{
	return (flags & MR_RESET_RECEIVED ? BATCH_RESET_RECEIVED : 0) |
	       (flags & MR_RESET_SENT ? BATCH_RESET_SENT : 0) |
	       (flags & MR_ZERO_WINDOW ? BATCH_ZERO_WINDOW : 0);
}

/* flags: of the record, enum mr_socket_flag. */
static void tell_close(struct recorder *recorder, struct slot *slot, uint32_t reason,
		       uint32_t flags, uint64_t boottime_ns)
{
	if (recorder->lookups)
		lookups_end(recorder->lookups, slots_number(recorder->slots, slot), boottime_ns);
	struct batch_close end = {
		.slot = slots_number(recorder->slots, slot),
		.reason = reason,
		.pid = slot->pid == slot->told_pid ? 0 : slot->pid,
		.total = slot->total,
		.min_rtt_us = slot->min_rtt_us,
		.connect_ns = close_reason_is_failure(reason) ? slot->connect_ns : 0,
		.flags = close_flags(flags),
		.time_ns = to_realtime(recorder, slot_time(slot, boottime_ns)),
	};
	PUT(recorder, batch_close(recorder->options.batch, &end));
	recorder->stats.connections -= slot->protocol == PROTOCOL_TCP;
	slots_end(recorder->slots, slot);
	recorder->stats.closed++;
}

/* A socket that was disconnected has no counters any more: what is known of it stays. */
static void take_counters(struct slot *slot, const struct mr_counters *counters)
{
	if (!counters->tx_segments && !counters->rx_segments)
		return;
	slot->total = (struct traffic){
		.tx_bytes = counters->tx_bytes,
		.rx_bytes = counters->rx_bytes,
		.tx_segments = counters->tx_segments,
		.rx_segments = counters->rx_segments,
		.retransmits = counters->retransmits,
	};
	if (counters->srtt_us)
		slot->srtt_us = counters->srtt_us;
	if (counters->min_rtt_us)
		slot->min_rtt_us = counters->min_rtt_us;
}

static bool is_probe(const struct recorder *recorder, const struct mr_open *open)
{
	return recorder->probe_port && open->head.pid == recorder->self &&
	       (open->local_port == recorder->probe_port ||
		open->remote_port == recorder->probe_port);
}

static void push_open(struct recorder *recorder, const struct mr_open *open)
{
	if (open->role == MR_ROLE_CLIENT && is_probe(recorder, open))
		recorder->stats.own_openings++;
	if (!tell_cgroup(recorder, open->cgroup, open->head.pid))
		return;
	struct slot *slot = slots_get(recorder->slots, open->cookie);
	if (slot) /* its end was lost; a socket may connect again */
		tell_close(recorder, slot, CLOSE_VANISHED, 0, slot->told_ns);
	slot = slots_add(recorder->slots, open->cookie);
	if (!slot)
		return;
	slot->pid = open->head.pid;
	slot->cgroup = open->cgroup;
	slot->local = address_v6(open->local);
	slot->remote = address_v6(open->remote);
	slot->local_port = open->local_port;
	slot->remote_port = open->remote_port;
	slot->protocol = open->protocol ? open->protocol : PROTOCOL_TCP;
	recorder->stats.connections += slot->protocol == PROTOCOL_TCP;
	slot->role = open->role == MR_ROLE_CLIENT   ? BATCH_ROLE_CLIENT
		     : open->role == MR_ROLE_SERVER ? BATCH_ROLE_SERVER
						    : BATCH_ROLE_UNKNOWN;
	slot->flags = (open->head.flags & MR_EXISTED ? BATCH_EXISTED : 0) |
		      (open->head.flags & MR_ROLE_GUESSED ? BATCH_ROLE_GUESSED : 0) |
		      (is_probe(recorder, open) ? BATCH_SELF_PROBE : 0);
	slot->opened_ns = open->opened_ns;
	if (slot->protocol == PROTOCOL_UDP)
		slots_put_peer(recorder->slots, slot, open->socket);
	else
		slot->connect_ns = open->connect_ns;
	slot->present = true;
	take_counters(slot, &open->counters);
	tell_owner(recorder, slot->pid, to_realtime(recorder, open->head.time_ns));
	bool failed = open->head.kind == MR_FAIL;
	if (failed)
		slot->connect_ns = 0; /* a definition's is the time to established */
	tell_definition(recorder, slot, 0, open->head.time_ns);
	if (!failed)
		return;
	slot->connect_ns = open->connect_ns;
	tell_close(recorder, slot, open->counters.reason, open->head.flags, open->head.time_ns);
	recorder->stats.failed++;
}

static uint64_t rise(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

static void push_update(struct recorder *recorder, const struct mr_moved *record)
{
	struct slot *slot = slots_get(recorder->slots, record->cookie);
	if (!slot) {
		recorder->stats.unknown_sockets++;
		return;
	}
	slot->present = true;
	struct traffic before = slot->total;
	take_counters(slot, &record->counters);
	struct batch_update update = {
		.slot = slots_number(recorder->slots, slot),
		.moved =
			{
				.tx_bytes = rise(slot->total.tx_bytes, before.tx_bytes),
				.rx_bytes = rise(slot->total.rx_bytes, before.rx_bytes),
				.tx_segments = rise(slot->total.tx_segments, before.tx_segments),
				.rx_segments = rise(slot->total.rx_segments, before.rx_segments),
				.retransmits = rise(slot->total.retransmits, before.retransmits),
			},
		.srtt_us = slot->srtt_us,
		.zero_window = record->head.flags & MR_ZERO_WINDOW,
		.time_ns = to_realtime(recorder, slot_time(slot, record->head.time_ns)),
	};
	const struct traffic none = {0};
	if (memcmp(&update.moved, &none, sizeof(none)) == 0 && !update.zero_window)
		return;
	PUT(recorder, batch_update(recorder->options.batch, &update));
	recorder->stats.updated++;
}

static void push_close(struct recorder *recorder, const struct mr_moved *record)
{
	struct slot *slot = slots_get(recorder->slots, record->cookie);
	if (!slot) {
		recorder->stats.unknown_sockets++;
		return;
	}
	take_counters(slot, &record->counters);
	if (record->head.pid)
		slot->pid = record->head.pid;
	tell_owner(recorder, slot->pid, to_realtime(recorder, record->head.time_ns));
	tell_close(recorder, slot, record->counters.reason, record->head.flags,
		   record->head.time_ns);
}

static void push_owner(struct recorder *recorder, const struct mr_owner *owner)
{
	struct slot *slot = slots_get(recorder->slots, owner->cookie);
	if (!slot)
		return;
	slot->pid = owner->head.pid;
	slot->cgroup = owner->cgroup;
	if (slot->redefine || recorder->redefine_count == recorder->options.sockets_max)
		return; /* or its key frame tells it */
	slot->redefine = true;
	recorder->redefine[recorder->redefine_count++] = slots_number(recorder->slots, slot);
}

static void tell_listener(struct recorder *recorder, struct listener *listener, uint32_t flags,
			  uint64_t boottime_ns)
{
	struct batch_listener told = {
		.cookie = listener->cookie,
		.flags = flags | (listener->told_ns ? BATCH_LISTENER_AGAIN : 0),
		.address = listener->address,
		.port = listener->port,
		.netns = listener->netns,
		.pid = listener->pid,
		.cgroup = listener->cgroup,
		.backlog = listener->backlog,
		.backlog_max = listener->backlog_max,
		.drops = listener->drops,
		.time_ns = to_realtime(recorder, boottime_ns),
	};
	listener->told_ns = boottime_ns;
	PUT(recorder, batch_listener(recorder->options.batch, &told));
	if (flags & BATCH_LISTENER_ENDED)
		listeners_end(recorder->listeners, listener);
}

static void push_listen(struct recorder *recorder, const struct mr_listen *listen)
{
	if (!tell_cgroup(recorder, listen->cgroup, listen->head.pid))
		return;
	struct listener *listener = listeners_put(recorder->listeners, listen->cookie);
	if (!listener)
		return;
	listener->cgroup = listen->cgroup;
	listener->pid = listen->head.pid;
	listener->address = address_v6(listen->address);
	listener->port = listen->port;
	listener->netns = listen->netns;
	listener->backlog = listen->backlog;
	listener->backlog_max = listen->backlog_max;
	listener->drops = listen->drops;
	listener->present = true;
	tell_owner(recorder, listener->pid, to_realtime(recorder, listen->head.time_ns));
	tell_listener(recorder, listener, listen->head.flags & MR_ENDED ? BATCH_LISTENER_ENDED : 0,
		      listen->head.time_ns);
}

static struct process *put_process(struct recorder *recorder, const struct mr_task *task)
{
	if (!task->head.pid)
		return NULL;
	struct process *process =
		processes_put(recorder->processes, task->head.pid, task->started_ns);
	if (!process)
		return NULL;
	process->parent = task->parent;
	process->cgroup = task->cgroup;
	process->uid = task->uid;
	process->present = true;
	process_set_comm(process, task->comm, sizeof(task->comm));
	return process;
}

static void push_fork(struct recorder *recorder, const struct mr_task *task)
{
	struct process *process = put_process(recorder, task);
	struct process *parent = processes_get(recorder->processes, task->parent);
	if (process && parent)
		process_share_program(recorder->processes, process, parent);
}

static void push_task(struct recorder *recorder, const struct mr_task *task)
{
	if (!tell_cgroup(recorder, task->cgroup, task->head.pid))
		return;
	struct process *process = put_process(recorder, task);
	if (!process || process->announced)
		return;
	process_read_program(recorder->processes, process);
	tell_process(recorder, process, to_realtime(recorder, task->head.time_ns));
}

/* Pages of the arguments may have been away when the kernel looked. */
static void set_program(struct recorder *recorder, struct process *process,
			const struct mr_exec *exec)
{
	char exe[MR_PATH_BYTES];
	if (exec->task.head.flags & MR_ARGUMENTS_CUT)
		recorder->stats.arguments_cut++;
	if (exec->task.head.flags & MR_ARGUMENTS_UNREAD) {
		if (process_read_program(recorder->processes, process))
			return;
		recorder->stats.arguments_unread++;
	}
	process_set_program(recorder->processes, process, exe, record_path(exec, exe),
			    exec->text + exec->path_length, exec->arguments_length);
}

static void push_exec(struct recorder *recorder, const struct mr_exec *exec)
{
	if (!tell_cgroup(recorder, exec->task.cgroup, exec->task.head.pid))
		return;
	struct process *process = put_process(recorder, &exec->task);
	if (!process)
		return;
	set_program(recorder, process, exec);
	tell_process(recorder, process, to_realtime(recorder, exec->task.head.time_ns));
}

static void push_move(struct recorder *recorder, const struct mr_task *task)
{
	struct process *process = processes_get(recorder->processes, task->head.pid);
	if (!process || process->started_ns != task->started_ns || process->cgroup == task->cgroup)
		return;
	process->cgroup = task->cgroup;
	if (tell_cgroup(recorder, process->cgroup, process->pid) && process->announced)
		tell_process(recorder, process, to_realtime(recorder, task->head.time_ns));
}

/* A fork that executed nothing. */
static void tell_unannounced(struct recorder *recorder, struct process *process, uint64_t time_ns)
{
	if (!process->announced && tell_cgroup(recorder, process->cgroup, process->pid))
		tell_process(recorder, process, time_ns);
}

static void push_exit(struct recorder *recorder, const struct mr_exit *record)
{
	struct process *process = processes_get(recorder->processes, record->head.pid);
	if (!process || process->started_ns != record->started_ns)
		return;
	struct batch_exit end = {
		.pid = record->head.pid,
		.started_ns = record->started_ns,
		.status = (record->code >> 8) & 0xff,
		.signal = record->code & 0x7f,
		.time_ns = to_realtime(recorder, record->head.time_ns),
	};
	tell_unannounced(recorder, process, end.time_ns);
	if (process->announced)
		PUT(recorder, batch_exit(recorder->options.batch, &end));
	processes_remove(recorder->processes, process);
}

void recorder_push(struct recorder *recorder, const struct mr_head *record)
{
	switch (record->kind) {
	case MR_OPEN:
	case MR_FAIL:
		push_open(recorder, (const struct mr_open *)record);
		break;
	case MR_UPDATE:
		push_update(recorder, (const struct mr_moved *)record);
		break;
	case MR_CLOSE:
		push_close(recorder, (const struct mr_moved *)record);
		break;
	case MR_OWNER:
		push_owner(recorder, (const struct mr_owner *)record);
		break;
	case MR_FORK:
		push_fork(recorder, (const struct mr_task *)record);
		break;
	case MR_TASK:
		push_task(recorder, (const struct mr_task *)record);
		break;
	case MR_EXEC:
		push_exec(recorder, (const struct mr_exec *)record);
		break;
	case MR_HELLO:
		push_hello(recorder, (const struct mr_message *)record);
		break;
	case MR_DNS:
		push_dns(recorder, (const struct mr_message *)record);
		break;
	case MR_LISTEN:
		push_listen(recorder, (const struct mr_listen *)record);
		break;
	case MR_EXIT:
		push_exit(recorder, (const struct mr_exit *)record);
		break;
	case MR_CGROUP:
		cgroups_made(recorder->options.cgroups, ((const struct mr_cgroup *)record)->id,
			     ((const struct mr_cgroup *)record)->path, recorder->boottime_ns);
		break;
	case MR_CGROUP_END:
		cgroups_ended(recorder->options.cgroups, ((const struct mr_cgroup *)record)->id,
			      ((const struct mr_cgroup *)record)->path, recorder->boottime_ns);
		break;
	case MR_MOVE:
		push_move(recorder, (const struct mr_task *)record);
		break;
	}
}

void recorder_nat(struct recorder *recorder, const struct batch_nat *nat)
{
	PUT(recorder, batch_nat(recorder->options.batch, nat));
}

void recorder_facts(struct recorder *recorder, const struct batch_facts *facts)
{
	PUT(recorder, batch_facts(recorder->options.batch, facts));
}

void recorder_state(struct recorder *recorder, const struct batch_state *state)
{
	PUT(recorder, batch_state(recorder->options.batch, state));
}

void recorder_forget_processes(struct recorder *recorder)
{
	for (uint32_t i = 0; i < processes_high(recorder->processes); i++) {
		struct process *process = processes_at(recorder->processes, i);
		if (process)
			processes_remove(recorder->processes, process);
	}
}

/* The packet came from the peer, or went to it. */
static struct slot *drop_peer(struct recorder *recorder, const struct batch_drop *drop,
			      uint64_t socket)
{
	struct slot *slot =
		slots_get_peer(recorder->slots, socket, &drop->source, drop->source_port);
	if (slot && slot->local_port == drop->destination_port)
		return slot;
	slot = slots_get_peer(recorder->slots, socket, &drop->destination, drop->destination_port);
	return slot && slot->local_port == drop->source_port ? slot : NULL;
}

void recorder_drop(struct recorder *recorder, const struct batch_drop *drop, uint64_t cookie)
{
	struct batch_drop told = *drop;
	struct slot *slot = cookie ? slots_get(recorder->slots, cookie) : NULL;
	if (!slot && cookie && drop->protocol == PROTOCOL_UDP)
		slot = drop_peer(recorder, drop, cookie);
	told.socket = slot ? 1 + slots_number(recorder->slots, slot) : 0;
	told.time_ns = to_realtime(recorder, drop->time_ns);
	PUT(recorder, batch_drop(recorder->options.batch, &told));
}

/* How many of `rows` this tick walks, so that all are walked once in a cycle whatever their number.
 */
static uint32_t cursor_share(struct cursor *cursor, uint32_t rows, uint32_t cycle_ticks)
{
	cursor->carry += rows;
	uint32_t share = (uint32_t)(cursor->carry / cycle_ticks);
	cursor->carry %= cycle_ticks;
	return share;
}

static uint32_t cursor_next(struct cursor *cursor, uint32_t rows)
{
	if (cursor->at >= rows)
		cursor->at = 0;
	return cursor->at++;
}

static void again(struct recorder *recorder, struct slot *slot)
{
	cgroups_touch(recorder->options.cgroups, slot->cgroup, recorder->boottime_ns);
	tell_definition(recorder, slot, BATCH_AGAIN, recorder->boottime_ns);
}

static void tell_redefined(struct recorder *recorder)
{
	for (uint32_t i = 0; i < recorder->redefine_count; i++) {
		struct slot *slot = slots_at(recorder->slots, recorder->redefine[i]);
		if (!slot || !slot->redefine)
			continue;
		slot->redefine = false;
		tell_cgroup(recorder, slot->cgroup, slot->pid);
		tell_owner(recorder, slot->pid, recorder->realtime_ns);
		again(recorder, slot);
	}
	recorder->redefine_count = 0;
}

static void tell_key_frames(struct recorder *recorder)
{
	uint32_t rows = cgroups_high(recorder->options.cgroups);
	for (uint32_t n = cursor_share(&recorder->cgroups_cursor, rows, recorder->cycle_ticks); n;
	     n--) {
		struct cgroup_place *place = cgroups_at(
			recorder->options.cgroups, cursor_next(&recorder->cgroups_cursor, rows));
		if (!place ||
		    cgroups_forget(recorder->options.cgroups, place, recorder->boottime_ns,
				   UNUSED_FRAMES * recorder->options.key_frame_ns))
			continue;
		if (place->announced)
			tell_container(recorder, place);
	}
	rows = processes_high(recorder->processes);
	for (uint32_t n = cursor_share(&recorder->processes_cursor, rows, recorder->cycle_ticks); n;
	     n--) {
		struct process *process = processes_at(
			recorder->processes, cursor_next(&recorder->processes_cursor, rows));
		if (!process)
			continue;
		cgroups_touch(recorder->options.cgroups, process->cgroup, recorder->boottime_ns);
		if (process->announced)
			tell_process(recorder, process, recorder->realtime_ns);
		else
			tell_unannounced(recorder, process, recorder->realtime_ns);
	}
	rows = listeners_high(recorder->listeners);
	for (uint32_t n = cursor_share(&recorder->listeners_cursor, rows, recorder->cycle_ticks); n;
	     n--) {
		struct listener *listener = listeners_at(
			recorder->listeners, cursor_next(&recorder->listeners_cursor, rows));
		if (listener)
			tell_listener(recorder, listener, 0, recorder->boottime_ns);
	}
	rows = slots_high(recorder->slots);
	for (uint32_t n = cursor_share(&recorder->sockets_cursor, rows, recorder->cycle_ticks); n;
	     n--) {
		struct slot *slot =
			slots_at(recorder->slots, cursor_next(&recorder->sockets_cursor, rows));
		if (slot)
			again(recorder, slot);
	}
}

void recorder_tick(struct recorder *recorder)
{
	if (recorder->lookups)
		lookups_expire(recorder->lookups, recorder->boottime_ns);
	if (batch_events(recorder->options.batch) ||
	    recorder->boottime_ns - recorder->sealed_ns >= HEARTBEAT_NS)
		recorder_seal(recorder);
	tell_redefined(recorder);
	tell_key_frames(recorder);
}

uint32_t recorder_cycle_ticks(const struct recorder *recorder)
{
	return recorder->cycle_ticks;
}

void recorder_roll_call(struct recorder *recorder)
{
	for (uint32_t i = 0; i < slots_high(recorder->slots); i++) {
		struct slot *slot = slots_at(recorder->slots, i);
		if (slot)
			slot->present = false;
	}
	for (uint32_t i = 0; i < listeners_high(recorder->listeners); i++) {
		struct listener *listener = listeners_at(recorder->listeners, i);
		if (listener)
			listener->present = false;
	}
}

void recorder_roll_called(struct recorder *recorder, uint64_t started_ns)
{
	for (uint32_t i = 0; i < slots_high(recorder->slots); i++) {
		struct slot *slot = slots_at(recorder->slots, i);
		if (!slot || slot->present || slot->opened_ns >= started_ns)
			continue;
		tell_close(recorder, slot, CLOSE_VANISHED, 0, recorder->boottime_ns);
		recorder->stats.vanished++;
	}
	for (uint32_t i = 0; i < listeners_high(recorder->listeners); i++) {
		struct listener *listener = listeners_at(recorder->listeners, i);
		if (listener && !listener->present)
			tell_listener(recorder, listener, BATCH_LISTENER_ENDED,
				      recorder->boottime_ns);
	}
}

void recorder_described(struct recorder *recorder, const char *id)
{
	for (uint32_t i = 0; i < cgroups_high(recorder->options.cgroups); i++) {
		struct cgroup_place *place = cgroups_at(recorder->options.cgroups, i);
		if (place && place->announced && strcmp(place->container.id, id) == 0)
			tell_container(recorder, place);
	}
}

void recorder_process_call(struct recorder *recorder)
{
	for (uint32_t i = 0; i < processes_high(recorder->processes); i++) {
		struct process *process = processes_at(recorder->processes, i);
		if (process)
			process->present = false;
	}
}

void recorder_process_called(struct recorder *recorder, uint64_t started_ns)
{
	for (uint32_t i = 0; i < processes_high(recorder->processes); i++) {
		struct process *process = processes_at(recorder->processes, i);
		if (!process || process->present || process->started_ns >= started_ns)
			continue;
		processes_remove(recorder->processes, process);
		recorder->stats.processes_vanished++;
	}
}

void recorder_probe_port(struct recorder *recorder, uint16_t port)
{
	recorder->probe_port = port;
}

struct recorder_stats recorder_stats(const struct recorder *recorder)
{
	struct recorder_stats stats = recorder->stats;
	struct slots_stats slots = slots_stats(recorder->slots);
	stats.sockets = slots.live;
	if (recorder->lookups)
		stats.lookups = lookups_stats(recorder->lookups);
	stats.sockets_refused = slots.refused;
	stats.listeners = listeners_live(recorder->listeners);
	stats.listeners_refused = listeners_refused(recorder->listeners);
	struct processes_stats processes = processes_stats(recorder->processes);
	stats.processes = processes.live;
	stats.processes_refused = processes.refused;
	stats.process_text_bytes = processes.text_bytes;
	stats.process_texts_cut = processes.texts_cut;
	return stats;
}
