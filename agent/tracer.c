#include "agent/tracer.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/clocks.h"
#include "agent/keeper.h"
#include "agent/meter.h"
#include "agent/privileges.h"
#include "agent/record.h"
#include "base/memory.h"

extern const char mr_bpf_socket[], mr_bpf_socket_end[];
extern const char mr_bpf_process[], mr_bpf_process_end[];
extern const char mr_bpf_cgroup[], mr_bpf_cgroup_end[];
extern const char mr_bpf_drop[], mr_bpf_drop_end[];
extern const char mr_bpf_datagram[], mr_bpf_datagram_end[];

enum {
	LINKS_MAX = 64,
	CPUS_MAX = 4096,
	RECORDS_A_LOOK = 64, /* at the clock: some 0.1 ms */
	MEASURING_RUNS = 1000,
};

/* The BPF objects. The first makes the maps that all share. */
enum part { SOCKETS, PROCESSES, CGROUPS, DATAGRAMS, DROPS, PARTS };

static const struct {
	const char *name, *bytes, *end;
	const char *effect; /* of doing without it; NULL: the agent does not start */
} parts[PARTS] = {
	[SOCKETS] = {"mr_socket", mr_bpf_socket, mr_bpf_socket_end, NULL},
	[PROCESSES] = {"mr_process", mr_bpf_process, mr_bpf_process_end, NULL},
	[CGROUPS] = {"mr_cgroup", mr_bpf_cgroup, mr_bpf_cgroup_end, NULL},
	[DATAGRAMS] = {"mr_datagram", mr_bpf_datagram, mr_bpf_datagram_end,
		       "no UDP and no name lookups"},
	[DROPS] = {"mr_drop", mr_bpf_drop, mr_bpf_drop_end, "no dropped packets"},
};

struct tracer {
	struct tracer_options options;
	struct bpf_object *objects[PARTS]; /* NULL: not wanted */
	struct attachment {
		struct bpf_program *program;
		struct bpf_link *link;	/* NULL: switched off, or it did not attach again */
		struct bpf_link *loose; /* of a claim: not taken yet, or given away */
		enum part part;
		bool off;
		bool claim, asleep; /* tells owners, now and then */
	} attachments[LINKS_MAX];
	unsigned attachments_count;
	struct bpf_link *scan, *list, *list_tasks, *scan_peers, *scan_more_peers, *list_users;
	uint64_t *released;	  /* room for what a scan of peers finds in the map of that name */
	uint64_t released_before; /* were put there, of which none is left */
	struct ring_buffer *ring;
	const unsigned long *consumed,
		*produced; /* the ring's positions (kernel/bpf/ringbuf.c): its first pages */
	struct bpf_map *lost;
	uint64_t (*lost_cpus)[MR_LOST_COUNTERS];
	uint64_t malformed; /* records that were not as long as they said */
	uint64_t records, slice_end_ns;
	int cpus;
	bool measured;
	int stats_fd;	   /* while a sample is taken; else -1 */
	uint64_t stats_ns; /* that measuring adds to a run */
	struct meter run_ns, runs;
	int cgroup2_fd;
	struct reasons reasons;
	char missing[1024];
};

/* What each tracepoint is for; without `vital` there is nothing to tell. */
static const struct {
	const char *program, *tracepoint, *effect;
	bool vital;
} tracepoints[] = {
	{"on_set_state", "inet_sock_set_state", "no TCP connections", true},
	{"on_destroy", "tcp_destroy_sock", "some connections have no end", false},
	{"on_error", "inet_sk_error_report", "some failed connects look aborted", false},
	{"on_reset", "tcp_receive_reset", "resets look like normal closes", false},
	{"on_send_reset", "tcp_send_reset", "only some of the resets sent are told", false},
	{"on_send", "sock_send_length", "the owner is known by who closes", false},
	{"on_receive", "sock_recv_length", "the owner is known by who closes", false},
	{"on_datagram_sent", "sock_send_length", "UDP's owner is who made the socket", false},
	{"on_datagram_received", "sock_recv_length", "UDP's owner is who made the socket", false},
	{"on_fork", "sched_process_fork", "workers have no program until they execute one", false},
	{"on_exec", "sched_process_exec", "no new processes", false},
	{"on_exit", "sched_process_exit", "no process ends", false},
	{"on_cgroup_made", "cgroup_mkdir", "containers of a moment are not known", false},
	{"on_cgroup_renamed", "cgroup_rename", "a renamed cgroup keeps its name", false},
	{"on_cgroup_removed", "cgroup_rmdir", "cgroups that are gone stay known for longer", false},
	{"on_cgroup_entered", "cgroup_attach_task", "who moves is known by what it executes next",
	 false},
	{"on_kfree_socket", "kfree_skb", "no dropped packets", false},
	{"on_kfree", "kfree_skb", "no dropped packets", false},
	{"on_consume", "consume_skb", "no ICMP errors", false},
};

/* libbpf's last warning: the verifier's or the loader's word for what failed. */
static char last_warning[TRACER_WHY_BYTES / 2];

static int keep_warning(enum libbpf_print_level level, const char *format, va_list arguments)
{
	if (level != LIBBPF_WARN || strstr(format, "ulimit")) /* that advice follows any EPERM */
		return 0;
	vsnprintf(last_warning, sizeof(last_warning), format, arguments);
	last_warning[strcspn(last_warning, "\n")] = 0;
	return 0;
}

static int fail(char why[TRACER_WHY_BYTES], int error, const char *what)
{
	snprintf(why, TRACER_WHY_BYTES, "%s: %s%s%s%s", what, strerror(-error),
		 last_warning[0] ? " (" : "", last_warning, last_warning[0] ? ")" : "");
	return error;
}

__attribute__((format(printf, 2, 3))) static void miss(struct tracer *tracer, const char *format,
						       ...)
{
	size_t length = strlen(tracer->missing);
	if (length && length < sizeof(tracer->missing) - 1)
		tracer->missing[length++] = '\n';
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(tracer->missing + length, sizeof(tracer->missing) - length, format, arguments);
	va_end(arguments);
}

static bool section_is(const struct bpf_program *program, const char *kind)
{
	return strncmp(bpf_program__section_name(program), kind, strlen(kind)) == 0;
}

/* Programs for kernels whose tracepoint has so many arguments. */
static const struct {
	const char *program;
	int arguments_min, arguments_max;
} variants[] = {
	{"on_kfree_socket", 4, 12},
	{"on_kfree", 3, 3},
};

/* Of a tracepoint, without its context; -1: this kernel has no such tracepoint. */
static int count_arguments(const struct btf *kernel, const char *tracepoint)
{
	char name[128];
	snprintf(name, sizeof(name), "btf_trace_%s", tracepoint);
	int id = btf__find_by_name_kind(kernel, name, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -1;
	const struct btf_type *type = btf__type_by_id(kernel, (uint32_t)id);
	type = btf__type_by_id(kernel, type->type); /* typedef, pointer, prototype */
	type = type ? btf__type_by_id(kernel, type->type) : NULL;
	return type && btf_is_func_proto(type) ? btf_vlen(type) - 1 : -1;
}

static bool is_variant(const char *program, int arguments)
{
	for (size_t i = 0; i < sizeof(variants) / sizeof(variants[0]); i++)
		if (strcmp(variants[i].program, program) == 0)
			return arguments >= variants[i].arguments_min &&
			       arguments <= variants[i].arguments_max;
	return true;
}

/* Leaves out the programs whose tracepoint this kernel does not have. */
static int choose_programs(struct tracer *tracer, const struct btf *kernel,
			   struct bpf_object *object, char why[TRACER_WHY_BYTES])
{
	for (size_t i = 0; i < sizeof(tracepoints) / sizeof(tracepoints[0]); i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(object, tracepoints[i].program);
		int arguments = program ? count_arguments(kernel, tracepoints[i].tracepoint) : 0;
		if (!program || arguments >= 0) {
			if (program && !is_variant(tracepoints[i].program, arguments))
				bpf_program__set_autoload(program, false);
			continue;
		}
		if (tracepoints[i].vital) {
			snprintf(why, TRACER_WHY_BYTES,
				 "this kernel has no tracepoint %s: Millrace needs Linux 5.12 or "
				 "newer",
				 tracepoints[i].tracepoint);
			return -ENOTSUP;
		}
		bpf_program__set_autoload(program, false);
		miss(tracer, "this kernel has no tracepoint %s: %s", tracepoints[i].tracepoint,
		     tracepoints[i].effect);
	}
	return 0;
}

/* cgroup programs want a cgroup2 tree and CAP_NET_ADMIN; pre-flight tells what goes without. */
static void leave_out_cgroup_programs(const struct tracer *tracer, struct bpf_object *object)
{
	struct bpf_program *program;
	if (tracer->options.cgroup2 && privileges_now() & CAPABILITY(NET_ADMIN))
		return;
	bpf_object__for_each_program(program, object)
	{
		if (!section_is(program, "tp_btf/") && !section_is(program, "iter/"))
			bpf_program__set_autoload(program, false);
	}
}

static int set_settings(struct tracer *tracer, struct bpf_object *object)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".rodata");
	size_t size = 0;
	struct mr_settings *settings =
		map ? (struct mr_settings *)bpf_map__initial_value(map, &size) : NULL;
	if (!settings || size != sizeof(*settings))
		return -EINVAL;
	settings->scoped = tracer->options.scoped;
	settings->udp = tracer->options.udp;
	settings->dns = tracer->options.dns;
	settings->more_peers = tracer->options.udp_peers_max > MR_PEERS_FEW;
	for (int i = 0; tracer->options.sni_ports && i < MR_HELLO_PORTS; i++) {
		uint16_t port = tracer->options.sni_ports[i];
		settings->hello_ports[i] = port;
		settings->hello_few |= port ? 1ULL << (port & 63) : 0;
	}
	return 0;
}

/* Before load: the bounds that are options. */
static int set_bounds(struct tracer *tracer, struct bpf_object *object)
{
	struct bpf_map *few = bpf_object__find_map_by_name(object, "peers");
	struct bpf_map *more = bpf_object__find_map_by_name(object, "more_peers");
	uint32_t max = tracer->options.udp_peers_max;
	if (!few || !more)
		return 0;
	int error = bpf_map__set_max_entries(few, max < MR_PEERS_FEW ? max : MR_PEERS_FEW);
	if (error)
		return error;
	return bpf_map__set_max_entries(more, max > MR_PEERS_FEW ? max - MR_PEERS_FEW : 1);
}

static int share_maps(struct bpf_object *from, struct bpf_object *to)
{
	static const char *const names[] = {"ring", "lost", "scope", "without"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int error = bpf_map__reuse_fd(bpf_object__find_map_by_name(to, names[i]),
					      bpf_object__find_map_fd_by_name(from, names[i]));
		if (error)
			return error;
	}
	return 0;
}

/* Before the load: what the programs may do from their first run on. */
static int prepare_drops(struct tracer *tracer, struct bpf_object *object)
{
	size_t size = 0;
	struct bpf_map *map = bpf_object__find_map_by_name(object, ".bss");
	struct mr_drop_switches *switches =
		map ? (struct mr_drop_switches *)bpf_map__initial_value(map, &size) : NULL;
	if (!switches || size != sizeof(*switches))
		return -EINVAL;
	switches->full = 1; /* no generation yet */
	memcpy(switches->ignored, tracer->reasons.ignored, sizeof(switches->ignored));
	switches->purge = tracer->reasons.purge;
	static const char *const names[] = {"drops_even", "drops_odd"};
	int error = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && !error; i++)
		error = bpf_map__set_max_entries(bpf_object__find_map_by_name(object, names[i]),
						 tracer->options.drop_rows_max);
	return error;
}

static int load(struct tracer *tracer, const struct btf *kernel, enum part part,
		char why[TRACER_WHY_BYTES])
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = parts[part].name);
	struct bpf_object *object = bpf_object__open_mem(
		parts[part].bytes, (size_t)(parts[part].end - parts[part].bytes), &options);
	if (!object)
		return fail(why, -errno, "cannot read the embedded BPF object");
	tracer->objects[part] = object;
	int error = choose_programs(tracer, kernel, object, why);
	if (error)
		return error;
	leave_out_cgroup_programs(tracer, object);
	error = set_settings(tracer, object);
	if (!error)
		error = set_bounds(tracer, object);
	if (!error && part != SOCKETS)
		error = share_maps(tracer->objects[SOCKETS], object);
	if (!error && part == DROPS)
		error = prepare_drops(tracer, object);
	if (!error)
		error = bpf_object__load(object);
	return error ? fail(why, error,
			    "cannot load the BPF programs: CAP_BPF, CAP_PERFMON and Linux 5.12 are "
			    "needed")
		     : 0;
}

/* libbpf attaches tracepoints by their section; cgroup programs go to the root of the v2 tree. */
static struct bpf_link *attach_program(struct tracer *tracer, struct bpf_program *program)
{
	if (section_is(program, "tp_btf/"))
		return bpf_program__attach(program);
	return bpf_program__attach_cgroup(program, tracer->cgroup2_fd);
}

/* A run of them costs each send and each receive of the node. */
static bool is_claim(const struct bpf_program *program)
{
	const char *section = bpf_program__section_name(program);
	return strcmp(section, "tp_btf/sock_send_length") == 0 ||
	       strcmp(section, "tp_btf/sock_recv_length") == 0;
}

/* All but iterators, which are run when there is something to ask. */
static int attach_programs(struct tracer *tracer, enum part part, char why[TRACER_WHY_BYTES])
{
	struct bpf_program *program;
	bpf_object__for_each_program(program, tracer->objects[part])
	{
		if (!bpf_program__autoload(program) || section_is(program, "iter/"))
			continue;
		struct bpf_link *link = attach_program(tracer, program);
		if (!link)
			return fail(why, -errno, bpf_program__section_name(program));
		tracer->attachments[tracer->attachments_count++] = (struct attachment){
			.program = program, .link = link, .part = part, .claim = is_claim(program)};
	}
	return 0;
}

static struct bpf_link *attach_iterator(struct bpf_object *object, const char *program,
					const char *map)
{
	union bpf_iter_link_info info = {0};
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, options);
	if (map) {
		info.map.map_fd = (uint32_t)bpf_object__find_map_fd_by_name(object, map);
		options.link_info = &info;
		options.link_info_len = sizeof(info);
	}
	return bpf_program__attach_iter(bpf_object__find_program_by_name(object, program),
					&options);
}

static int fill_scope(struct tracer *tracer)
{
	int map = bpf_object__find_map_fd_by_name(tracer->objects[SOCKETS], "scope");
	for (uint32_t i = 0; i < tracer->options.netns_count; i++) {
		uint32_t one = 1;
		if (bpf_map_update_elem(map, &tracer->options.netns[i], &one, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* What is negative ends the reading, behind this record. */
static int take_record(void *context, void *record, size_t size)
{
	struct tracer *tracer = context;
	if (record_whole(record, size))
		tracer->options.record(tracer->options.context, record);
	else
		tracer->malformed++;
	if (++tracer->records % RECORDS_A_LOOK)
		return 0;
	return clock_ns(CLOCK_MONOTONIC) < tracer->slice_end_ns ? 0 : -EAGAIN;
}

static int map_positions(struct tracer *tracer)
{
	long page = sysconf(_SC_PAGESIZE);
	int fd = bpf_object__find_map_fd_by_name(tracer->objects[SOCKETS], "ring");
	void *consumed = mmap(NULL, (size_t)page, PROT_READ, MAP_SHARED, fd, 0);
	if (consumed == MAP_FAILED)
		return -errno;
	tracer->consumed = consumed;
	void *produced = mmap(NULL, (size_t)page, PROT_READ, MAP_SHARED, fd, page);
	if (produced == MAP_FAILED)
		return -errno;
	tracer->produced = produced;
	return 0;
}

static int attach_datagram_iterators(struct tracer *tracer, char why[TRACER_WHY_BYTES])
{
	struct bpf_object *object = tracer->objects[DATAGRAMS];
	tracer->scan_peers = attach_iterator(object, "scan_peers", "peers");
	tracer->scan_more_peers = attach_iterator(object, "scan_more_peers", "more_peers");
	tracer->list_users = attach_iterator(object, "list_users", NULL);
	tracer->released = memory_zeroed(MR_RELEASED_MAX, sizeof(*tracer->released));
	return tracer->scan_peers && tracer->scan_more_peers && tracer->list_users
		       ? 0
		       : fail(why, -errno, "cannot attach the iterators of UDP");
}

/* A part that failed and is not vital: told, and the rest goes on. */
static int do_without(struct tracer *tracer, enum part part, const char *why)
{
	miss(tracer, "%s: %s", parts[part].effect, why);
	if (part == DATAGRAMS) {
		bpf_link__destroy(tracer->scan_peers);
		bpf_link__destroy(tracer->scan_more_peers);
		bpf_link__destroy(tracer->list_users);
		tracer->scan_peers = tracer->scan_more_peers = tracer->list_users = NULL;
	}
	bpf_object__close(tracer->objects[part]);
	tracer->objects[part] = NULL;
	return 0;
}

static int attach(struct tracer *tracer, char why[TRACER_WHY_BYTES])
{
	int error = fill_scope(tracer);
	if (error)
		return fail(why, error, "cannot fill the scope: too many network namespaces");
	tracer->ring =
		ring_buffer__new(bpf_object__find_map_fd_by_name(tracer->objects[SOCKETS], "ring"),
				 take_record, tracer, NULL);
	if (!tracer->ring)
		return fail(why, -errno, "cannot map the ring buffer");
	error = map_positions(tracer);
	if (error)
		return fail(why, error, "cannot map the ring buffer's positions");
	tracer->scan = attach_iterator(tracer->objects[SOCKETS], "scan", "sockets");
	tracer->list = attach_iterator(tracer->objects[SOCKETS], "list", NULL);
	if (!tracer->scan || !tracer->list)
		return fail(why, -errno,
			    "cannot attach the socket iterators: Linux 5.12 is needed");
	if (tracer->objects[PROCESSES])
		tracer->list_tasks =
			attach_iterator(tracer->objects[PROCESSES], "list_tasks", NULL);
	if (tracer->objects[PROCESSES] && !tracer->list_tasks)
		return fail(why, -errno, "cannot attach the process iterator");
	for (int part = 0; part < PARTS && !error; part++) {
		if (!tracer->objects[part])
			continue;
		unsigned before = tracer->attachments_count;
		error = part == DATAGRAMS ? attach_datagram_iterators(tracer, why) : 0;
		if (!error)
			error = attach_programs(tracer, part, why);
		if (error && parts[part].effect) {
			while (tracer->attachments_count > before)
				bpf_link__destroy(
					tracer->attachments[--tracer->attachments_count].link);
			error = do_without(tracer, part, why);
		}
	}
	return error;
}

/* What an empty program is said to take, which is all the clock's. */
static uint64_t measure_measuring(void)
{
	static const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	char packet[64] = {0x45};
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet,
			    .data_size_in = sizeof(packet), .repeat = MEASURING_RUNS);
	struct bpf_prog_info info = {0};
	uint32_t length = sizeof(info);
	int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "mr_nothing", "GPL", nothing, 2, NULL);
	if (fd < 0)
		return 0;
	int error = bpf_prog_test_run_opts(fd, &options);
	if (!error)
		error = bpf_obj_get_info_by_fd(fd, &info, &length);
	close(fd);
	return error || !info.run_cnt ? 0 : info.run_time_ns / info.run_cnt;
}

static void begin_measuring(struct tracer *tracer)
{
	int fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	tracer->measured = fd >= 0;
	if (fd < 0)
		return;
	tracer->stats_ns = measure_measuring();
	tracer_sample_begin(tracer, fd);
}

/* Without reasons a drop cannot be told from a packet's normal end. */
static bool reasons_known(struct tracer *tracer, const struct btf *kernel)
{
	if (reasons_read(&tracer->reasons, kernel) == 0 &&
	    count_arguments(kernel, "kfree_skb") >= 3)
		return true;
	miss(tracer, "this kernel has no tracepoint kfree_skb with a reason: no dropped packets");
	return false;
}

static int open_all(struct tracer *tracer, char why[TRACER_WHY_BYTES])
{
	tracer->cpus = libbpf_num_possible_cpus();
	if (tracer->cpus <= 0 || tracer->cpus > CPUS_MAX)
		return fail(why, -EINVAL, "cannot count the CPUs");
	tracer->lost_cpus = memory_zeroed((size_t)tracer->cpus, sizeof(*tracer->lost_cpus));
	struct btf *kernel = btf__load_vmlinux_btf();
	if (!kernel)
		return fail(why, -errno,
			    "no /sys/kernel/btf/vmlinux: Millrace needs a kernel with BTF "
			    "(CONFIG_DEBUG_INFO_BTF)");
	bool wanted[PARTS] = {
		[SOCKETS] = true,
		[PROCESSES] = tracer->options.processes,
		[CGROUPS] = true,
		[DROPS] = tracer->options.drops && reasons_known(tracer, kernel),
		[DATAGRAMS] = tracer->options.udp || tracer->options.dns ||
			      (tracer->options.sni_ports && tracer->options.sni_ports[0]),
	};
	if (tracer->options.cgroup2)
		tracer->cgroup2_fd =
			open(tracer->options.cgroup2, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (tracer->cgroup2_fd < 0)
		wanted[DATAGRAMS] = false; /* pre-flight told why */
	int error = 0;
	for (int part = 0; part < PARTS && !error; part++) {
		if (!wanted[part])
			continue;
		error = load(tracer, kernel, part, why);
		if (error && parts[part].effect)
			error = do_without(tracer, part, why);
	}
	btf__free(kernel);
	if (error)
		return error;
	tracer->lost = bpf_object__find_map_by_name(tracer->objects[SOCKETS], "lost");
	if (tracer->options.run_stats)
		begin_measuring(tracer);
	return attach(tracer, why);
}

int tracer_open(struct tracer **out, const struct tracer_options *options,
		char why[TRACER_WHY_BYTES])
{
	libbpf_set_print(keep_warning);
	last_warning[0] = 0;
	struct tracer *tracer = memory_zeroed(1, sizeof(*tracer));
	tracer->options = *options;
	tracer->stats_fd = tracer->cgroup2_fd = -1;
	int error = open_all(tracer, why);
	if (error) {
		tracer_free(tracer);
		return error;
	}
	*out = tracer;
	return 0;
}

void tracer_free(struct tracer *tracer)
{
	if (!tracer)
		return;
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		bpf_link__destroy(tracer->attachments[i].link);
		bpf_link__destroy(tracer->attachments[i].loose);
	}
	bpf_link__destroy(tracer->scan);
	bpf_link__destroy(tracer->list);
	bpf_link__destroy(tracer->list_tasks);
	bpf_link__destroy(tracer->scan_peers);
	bpf_link__destroy(tracer->scan_more_peers);
	bpf_link__destroy(tracer->list_users);
	if (tracer->consumed)
		munmap((void *)tracer->consumed, (size_t)sysconf(_SC_PAGESIZE));
	if (tracer->produced)
		munmap((void *)tracer->produced, (size_t)sysconf(_SC_PAGESIZE));
	ring_buffer__free(tracer->ring);
	for (int part = PARTS; part-- > 0;)
		bpf_object__close(tracer->objects[part]);
	if (tracer->stats_fd >= 0)
		close(tracer->stats_fd);
	if (tracer->cgroup2_fd >= 0)
		close(tracer->cgroup2_fd);
	free(tracer->lost_cpus);
	free(tracer->released);
	free(tracer);
}

int tracer_fd(const struct tracer *tracer)
{
	return ring_buffer__epoll_fd(tracer->ring);
}

bool tracer_drain(struct tracer *tracer, uint64_t slice_ns)
{
	tracer->slice_end_ns = clock_ns(CLOCK_MONOTONIC) + slice_ns;
	return ring_buffer__consume(tracer->ring) != -EAGAIN;
}

uint64_t tracer_records(const struct tracer *tracer)
{
	return tracer->records;
}

uint64_t tracer_mark(const struct tracer *tracer)
{
	return __atomic_load_n(tracer->produced, __ATOMIC_ACQUIRE);
}

bool tracer_passed(const struct tracer *tracer, uint64_t mark)
{
	return (int64_t)(__atomic_load_n(tracer->consumed, __ATOMIC_ACQUIRE) - mark) >= 0;
}

static int set_switches(struct tracer *tracer, struct mr_switches switches)
{
	static const enum part scanned[] = {SOCKETS, DATAGRAMS};
	uint32_t zero = 0;
	for (size_t i = 0; i < sizeof(scanned) / sizeof(scanned[0]); i++) {
		struct bpf_object *object = tracer->objects[scanned[i]];
		int map = object ? bpf_object__find_map_fd_by_name(object, ".bss") : -1;
		if (object && bpf_map_update_elem(map, &zero, &switches, BPF_ANY))
			return -errno;
	}
	return 0;
}

/* The iterators put their records into the ring, so they stay in order with the tracepoints'. */
static int run_iterator(const struct bpf_link *link)
{
	int fd = bpf_iter_create(bpf_link__fd(link));
	if (fd < 0)
		return -errno;
	char nothing[64];
	ssize_t n;
	do {
		n = read(fd, nothing, sizeof(nothing));
	} while (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)));
	int error = n < 0 ? -errno : 0;
	close(fd);
	return error;
}

int tracer_list_processes(struct tracer *tracer)
{
	return tracer->list_tasks ? run_iterator(tracer->list_tasks) : 0;
}

int tracer_list(struct tracer *tracer)
{
	int error = tracer_list_processes(tracer);
	if (!error && tracer->list_users)
		error = run_iterator(tracer->list_users);
	if (!error)
		error = set_switches(tracer, (struct mr_switches){.listing_listeners = 1});
	if (!error)
		error = run_iterator(tracer->list);
	int reset = set_switches(tracer, (struct mr_switches){0});
	if (!error)
		error = reset;
	if (!error)
		error = run_iterator(tracer->list);
	return error ? error : set_switches(tracer, (struct mr_switches){.listed = 1});
}

static uint64_t count_of(const struct tracer *tracer, enum mr_count place)
{
	uint32_t key = place;
	uint64_t number = 0;
	int map = bpf_object__find_map_fd_by_name(tracer->objects[DATAGRAMS], "counts");
	return bpf_map_lookup_elem(map, &key, &number) ? 0 : number;
}

/* Sockets that were released before this pass: their peers end in it, then they are forgotten. A
 * map of which nothing is wanted is not walked. */
static int scan_peers(struct tracer *tracer)
{
	int map = bpf_object__find_map_fd_by_name(tracer->objects[DATAGRAMS], "released");
	uint64_t released = count_of(tracer, MR_COUNT_RELEASED);
	uint32_t count = 0;
	const uint64_t *before = NULL;
	while (released != tracer->released_before && count < MR_RELEASED_MAX &&
	       !bpf_map_get_next_key(map, before, &tracer->released[count]))
		before = &tracer->released[count++];
	int error = run_iterator(tracer->scan_peers);
	if (!error && count_of(tracer, MR_COUNT_MORE_PEERS))
		error = run_iterator(tracer->scan_more_peers);
	if (error)
		return error;
	while (count)
		bpf_map_delete_elem(map, &tracer->released[--count]);
	tracer->released_before = released;
	return 0;
}

static int add_counts(const struct tracer *tracer, enum part part, struct tracer_scanned *scanned)
{
	uint32_t zero = 0;
	struct mr_switches switches;
	int map = bpf_object__find_map_fd_by_name(tracer->objects[part], ".bss");
	if (bpf_map_lookup_elem(map, &zero, &switches))
		return -errno;
	scanned->connections += switches.visited;
	scanned->guesses += switches.unclaimed;
	return 0;
}

int tracer_scan(struct tracer *tracer, bool roll_call, struct tracer_scanned *scanned)
{
	uint64_t before = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	*scanned = (struct tracer_scanned){0};
	int error = set_switches(tracer, (struct mr_switches){.roll_call = roll_call, .listed = 1});
	if (!error)
		error = run_iterator(tracer->scan);
	if (!error)
		error = add_counts(tracer, SOCKETS, scanned);
	if (!error && tracer->scan_peers)
		error = scan_peers(tracer);
	if (!error && tracer->scan_peers)
		error = add_counts(tracer, DATAGRAMS, scanned);
	if (roll_call) {
		int reset = set_switches(tracer, (struct mr_switches){.listed = 1});
		error = error ? error : reset;
	}
	scanned->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
	return error;
}

void tracer_lost(const struct tracer *tracer, uint64_t lost[MR_LOST_COUNTERS])
{
	uint32_t zero = 0;
	memset(lost, 0, MR_LOST_COUNTERS * sizeof(*lost));
	if (bpf_map__lookup_elem(tracer->lost, &zero, sizeof(zero), tracer->lost_cpus,
				 (size_t)tracer->cpus * sizeof(*tracer->lost_cpus), 0))
		return;
	for (int cpu = 0; cpu < tracer->cpus; cpu++)
		for (int i = 0; i < MR_LOST_COUNTERS; i++)
			lost[i] += tracer->lost_cpus[cpu][i];
}

uint64_t tracer_ring_bytes(const struct tracer *tracer)
{
	return __atomic_load_n(tracer->produced, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(tracer->consumed, __ATOMIC_ACQUIRE);
}

static void add_cost(const struct bpf_object *object, struct tracer_cost *cost)
{
	struct bpf_program *program;
	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {0};
		uint32_t length = sizeof(info);
		int fd = bpf_program__fd(program);
		if (fd < 0 || section_is(program, "iter/") ||
		    bpf_obj_get_info_by_fd(fd, &info, &length))
			continue;
		cost->run_ns += info.run_time_ns;
		cost->runs += info.run_cnt;
		cost->missed += info.recursion_misses;
	}
}

/* As the kernel has it: times and runs of samples alone. */
static struct tracer_cost raw_cost(const struct tracer *tracer)
{
	struct tracer_cost cost = {.malformed = tracer->malformed};
	for (int part = 0; part < PARTS; part++)
		if (tracer->objects[part])
			add_cost(tracer->objects[part], &cost);
	uint64_t measuring_ns = cost.runs * tracer->stats_ns;
	cost.run_ns = cost.run_ns > measuring_ns ? cost.run_ns - measuring_ns : 0;
	return cost;
}

struct tracer_cost tracer_cost(const struct tracer *tracer)
{
	struct tracer_cost cost = raw_cost(tracer);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	cost.run_ns = meter_total(&tracer->run_ns, now_ns, cost.run_ns);
	cost.runs = meter_total(&tracer->runs, now_ns, cost.runs);
	return cost;
}

bool tracer_measured(const struct tracer *tracer)
{
	return tracer->measured;
}

static void enable_stats(void *argument)
{
	int *fd = argument;
	*fd = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (*fd < 0)
		*fd = -errno;
}

int tracer_enable_stats(void)
{
	int fd = -1;
	keeper_run(enable_stats, &fd);
	return fd;
}

void tracer_sample_begin(struct tracer *tracer, int stats_fd)
{
	struct tracer_cost raw = raw_cost(tracer);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	tracer->stats_fd = stats_fd;
	meter_begin(&tracer->run_ns, now_ns, raw.run_ns);
	meter_begin(&tracer->runs, now_ns, raw.runs);
}

void tracer_sample_end(struct tracer *tracer)
{
	if (tracer->stats_fd < 0)
		return;
	struct tracer_cost raw = raw_cost(tracer);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
	meter_end(&tracer->run_ns, now_ns, raw.run_ns);
	meter_end(&tracer->runs, now_ns, raw.runs);
	close(tracer->stats_fd);
	tracer->stats_fd = -1;
}

const char *tracer_missing(const struct tracer *tracer)
{
	return tracer->missing;
}

/* --- what can be switched while running, and whether all that should be attached is --- */

static bool is_meant(const struct attachment *attachment, const char *object, const char *program)
{
	return strcmp(parts[attachment->part].name, object) == 0 &&
	       (!program || strcmp(bpf_program__name(attachment->program), program) == 0);
}

bool tracer_has(const struct tracer *tracer, const char *object, const char *program)
{
	for (unsigned i = 0; i < tracer->attachments_count; i++)
		if (is_meant(&tracer->attachments[i], object, program))
			return true;
	return false;
}

/* A keeper's job: attaching is for those who may load. */
struct attaching {
	struct tracer *tracer;
	struct attachment *attachment;
	int error;
};

static void attach_again(void *argument)
{
	struct attaching *attaching = argument;
	struct attachment *attachment = attaching->attachment;
	attachment->link = attach_program(attaching->tracer, attachment->program);
	attaching->error = attachment->link ? 0 : -errno;
}

static int switch_attachment(struct tracer *tracer, struct attachment *attachment, bool on)
{
	attachment->off = !on;
	if (!on) {
		bpf_link__destroy(attachment->link);
		attachment->link = NULL;
	} else if (!attachment->link && !attachment->asleep) {
		struct attaching attaching = {.tracer = tracer, .attachment = attachment};
		keeper_run(attach_again, &attaching);
		return attaching.error;
	}
	return 0;
}

int tracer_switch(struct tracer *tracer, const char *object, const char *program, bool on)
{
	int error = 0;
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		struct attachment *attachment = &tracer->attachments[i];
		int failed = is_meant(attachment, object, program)
				     ? switch_attachment(tracer, attachment, on)
				     : 0;
		error = error ? error : failed;
	}
	return error;
}

static void attach_loose(void *argument)
{
	struct attaching *attaching = argument;
	struct attachment *attachment = attaching->attachment;
	attachment->loose = attach_program(attaching->tracer, attachment->program);
	attaching->error = attachment->loose ? 0 : -errno;
}

int tracer_attach_claims(struct tracer *tracer)
{
	int error = 0;
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		struct attaching attaching = {.tracer = tracer,
					      .attachment = &tracer->attachments[i]};
		if (!attaching.attachment->claim || attaching.attachment->off)
			continue;
		keeper_run(attach_loose, &attaching);
		error = error ? error : attaching.error;
	}
	return error;
}

bool tracer_take_claims(struct tracer *tracer)
{
	bool left = false;
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		struct attachment *attachment = &tracer->attachments[i];
		if (!attachment->claim)
			continue;
		attachment->asleep = false;
		if (!attachment->off && !attachment->link) {
			attachment->link = attachment->loose;
			attachment->loose = NULL;
		}
		left = left || attachment->loose;
	}
	return left;
}

void tracer_give_claims(struct tracer *tracer)
{
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		struct attachment *attachment = &tracer->attachments[i];
		if (!attachment->claim)
			continue;
		attachment->asleep = true;
		attachment->loose = attachment->link;
		attachment->link = NULL;
	}
}

void tracer_detach_claims(struct tracer *tracer)
{
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		bpf_link__destroy(tracer->attachments[i].loose);
		tracer->attachments[i].loose = NULL;
	}
}

int tracer_leave_out(struct tracer *tracer, uint32_t without)
{
	uint32_t zero = 0;
	int map = bpf_object__find_map_fd_by_name(tracer->objects[SOCKETS], "without");
	return bpf_map_update_elem(map, &zero, &without, BPF_ANY) ? -errno : 0;
}

bool link_holds(int link_fd, int program_fd)
{
	struct bpf_link_info link = {0};
	struct bpf_prog_info program = {0};
	uint32_t link_bytes = sizeof(link), program_bytes = sizeof(program);
	if (bpf_obj_get_info_by_fd(link_fd, &link, &link_bytes) ||
	    bpf_obj_get_info_by_fd(program_fd, &program, &program_bytes))
		return false;
	/* A link that was detached from its cgroup stays, and says that it has none. */
	return link.prog_id == program.id &&
	       (link.type != BPF_LINK_TYPE_CGROUP || link.cgroup.cgroup_id);
}

static void count_link(struct tracer_links *links, const struct bpf_link *link,
		       const struct bpf_program *program)
{
	links->wanted++;
	if (link && link_holds(bpf_link__fd(link), bpf_program__fd(program)))
		links->attached++;
	else if (!links->gone[0])
		snprintf(links->gone, sizeof(links->gone), "%s", bpf_program__name(program));
}

static void count_iterator(const struct tracer *tracer, struct tracer_links *links,
			   const struct bpf_link *link, enum part part, const char *program)
{
	if (link)
		count_link(links, link,
			   bpf_object__find_program_by_name(tracer->objects[part], program));
}

struct tracer_links tracer_links(const struct tracer *tracer)
{
	struct tracer_links links = {0};
	for (unsigned i = 0; i < tracer->attachments_count; i++) {
		const struct attachment *attachment = &tracer->attachments[i];
		if (!attachment->off && !attachment->asleep)
			count_link(&links, attachment->link, attachment->program);
	}
	count_iterator(tracer, &links, tracer->scan, SOCKETS, "scan");
	count_iterator(tracer, &links, tracer->list, SOCKETS, "list");
	count_iterator(tracer, &links, tracer->list_tasks, PROCESSES, "list_tasks");
	count_iterator(tracer, &links, tracer->scan_peers, DATAGRAMS, "scan_peers");
	count_iterator(tracer, &links, tracer->scan_more_peers, DATAGRAMS, "scan_more_peers");
	count_iterator(tracer, &links, tracer->list_users, DATAGRAMS, "list_users");
	return links;
}

const struct bpf_object *tracer_drops(const struct tracer *tracer)
{
	return tracer->objects[DROPS];
}

const struct reasons *tracer_reasons(const struct tracer *tracer)
{
	return &tracer->reasons;
}
