#include "agent/tracer.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"

extern const char mr_bpf_socket[], mr_bpf_socket_end[];
extern const char mr_bpf_process[], mr_bpf_process_end[];

enum { LINKS_MAX = 16, CPUS_MAX = 4096 };

struct tracer {
	struct tracer_options options;
	struct bpf_object *sockets, *processes;
	struct bpf_link *links[LINKS_MAX];
	unsigned links_count;
	struct bpf_link *scan, *list, *list_tasks;
	struct ring_buffer *ring;
	const unsigned long *consumed,
		*produced; /* the ring's positions (kernel/bpf/ringbuf.c): its first pages */
	struct bpf_map *lost;
	uint64_t (*lost_cpus)[MR_LOST_COUNTERS];
	int cpus;
	int stats_fd;
	char missing[1024];
};

/* What each tracepoint is for; without `vital` there is nothing to tell. */
static const struct {
	const char *program, *tracepoint, *effect;
	bool vital;
} tracepoints[] = {
	{"on_set_state", "inet_sock_set_state", "no TCP connections", true},
	{"on_error", "inet_sk_error_report", "some failed connects look aborted", false},
	{"on_reset", "tcp_receive_reset", "resets look like normal closes", false},
	{"on_send", "sock_send_length", "the owner is known by who closes", false},
	{"on_receive", "sock_recv_length", "the owner is known by who closes", false},
	{"on_fork", "sched_process_fork", "workers have no program until they execute one", false},
	{"on_exec", "sched_process_exec", "no new processes", false},
	{"on_exit", "sched_process_exit", "no process ends", false},
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

static void miss(struct tracer *tracer, const char *tracepoint, const char *effect)
{
	size_t length = strlen(tracer->missing);
	snprintf(tracer->missing + length, sizeof(tracer->missing) - length,
		 "%sthis kernel has no tracepoint %s: %s", length ? "\n" : "", tracepoint, effect);
}

/* Leaves out the programs whose tracepoint this kernel does not have. */
static int choose_programs(struct tracer *tracer, const struct btf *kernel,
			   struct bpf_object *object, char why[TRACER_WHY_BYTES])
{
	for (size_t i = 0; i < sizeof(tracepoints) / sizeof(tracepoints[0]); i++) {
		struct bpf_program *program =
			bpf_object__find_program_by_name(object, tracepoints[i].program);
		char type[128];
		snprintf(type, sizeof(type), "btf_trace_%s", tracepoints[i].tracepoint);
		if (!program || btf__find_by_name_kind(kernel, type, BTF_KIND_TYPEDEF) > 0)
			continue;
		if (tracepoints[i].vital) {
			snprintf(why, TRACER_WHY_BYTES,
				 "this kernel has no tracepoint %s: Millrace needs Linux 5.12 or "
				 "newer",
				 tracepoints[i].tracepoint);
			return -ENOTSUP;
		}
		bpf_program__set_autoload(program, false);
		miss(tracer, tracepoints[i].tracepoint, tracepoints[i].effect);
	}
	return 0;
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
	return 0;
}

static int share_maps(struct bpf_object *from, struct bpf_object *to)
{
	static const char *const names[] = {"ring", "lost", "scope"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int error = bpf_map__reuse_fd(bpf_object__find_map_by_name(to, names[i]),
					      bpf_object__find_map_fd_by_name(from, names[i]));
		if (error)
			return error;
	}
	return 0;
}

static int load(struct tracer *tracer, const struct btf *kernel, struct bpf_object **object,
		const char *name, const char *bytes, const char *end, char why[TRACER_WHY_BYTES])
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name);
	*object = bpf_object__open_mem(bytes, (size_t)(end - bytes), &options);
	if (!*object)
		return fail(why, -errno, "cannot read the embedded BPF object");
	int error = choose_programs(tracer, kernel, *object, why);
	if (error)
		return error;
	error = set_settings(tracer, *object);
	if (!error && *object != tracer->sockets)
		error = share_maps(tracer->sockets, *object);
	if (!error)
		error = bpf_object__load(*object);
	return error ? fail(why, error,
			    "cannot load the BPF programs: CAP_BPF, CAP_PERFMON and Linux 5.12 are "
			    "needed")
		     : 0;
}

static int attach_tracepoints(struct tracer *tracer, struct bpf_object *object,
			      char why[TRACER_WHY_BYTES])
{
	struct bpf_program *program;
	bpf_object__for_each_program(program, object)
	{
		if (!bpf_program__autoload(program) ||
		    strncmp(bpf_program__section_name(program), "tp_btf/", 7) != 0)
			continue;
		struct bpf_link *link = bpf_program__attach(program);
		if (!link)
			return fail(why, -errno, bpf_program__section_name(program));
		tracer->links[tracer->links_count++] = link;
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
	int map = bpf_object__find_map_fd_by_name(tracer->sockets, "scope");
	for (uint32_t i = 0; i < tracer->options.netns_count; i++) {
		uint32_t one = 1;
		if (bpf_map_update_elem(map, &tracer->options.netns[i], &one, BPF_ANY))
			return -errno;
	}
	return 0;
}

static int take_record(void *context, void *record, size_t size)
{
	struct tracer *tracer = context;
	(void)size;
	tracer->options.record(tracer->options.context, record);
	return 0;
}

static int map_positions(struct tracer *tracer)
{
	long page = sysconf(_SC_PAGESIZE);
	int fd = bpf_object__find_map_fd_by_name(tracer->sockets, "ring");
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

static int attach(struct tracer *tracer, char why[TRACER_WHY_BYTES])
{
	int error = fill_scope(tracer);
	if (error)
		return fail(why, error, "cannot fill the scope: too many network namespaces");
	tracer->ring = ring_buffer__new(bpf_object__find_map_fd_by_name(tracer->sockets, "ring"),
					take_record, tracer, NULL);
	if (!tracer->ring)
		return fail(why, -errno, "cannot map the ring buffer");
	error = map_positions(tracer);
	if (error)
		return fail(why, error, "cannot map the ring buffer's positions");
	tracer->scan = attach_iterator(tracer->sockets, "scan", "sockets");
	tracer->list = attach_iterator(tracer->sockets, "list", NULL);
	if (!tracer->scan || !tracer->list)
		return fail(why, -errno,
			    "cannot attach the socket iterators: Linux 5.12 is needed");
	error = attach_tracepoints(tracer, tracer->sockets, why);
	if (error || !tracer->processes)
		return error;
	tracer->list_tasks = attach_iterator(tracer->processes, "list_tasks", NULL);
	if (!tracer->list_tasks)
		return fail(why, -errno, "cannot attach the process iterator");
	return attach_tracepoints(tracer, tracer->processes, why);
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
	int error = load(tracer, kernel, &tracer->sockets, "mr_socket", mr_bpf_socket,
			 mr_bpf_socket_end, why);
	if (!error && tracer->options.processes)
		error = load(tracer, kernel, &tracer->processes, "mr_process", mr_bpf_process,
			     mr_bpf_process_end, why);
	btf__free(kernel);
	if (error)
		return error;
	tracer->lost = bpf_object__find_map_by_name(tracer->sockets, "lost");
	tracer->stats_fd = tracer->options.run_stats ? bpf_enable_stats(BPF_STATS_RUN_TIME) : -1;
	return attach(tracer, why);
}

int tracer_open(struct tracer **out, const struct tracer_options *options,
		char why[TRACER_WHY_BYTES])
{
	libbpf_set_print(keep_warning);
	last_warning[0] = 0;
	struct tracer *tracer = memory_zeroed(1, sizeof(*tracer));
	tracer->options = *options;
	tracer->stats_fd = -1;
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
	for (unsigned i = 0; i < tracer->links_count; i++)
		bpf_link__destroy(tracer->links[i]);
	bpf_link__destroy(tracer->scan);
	bpf_link__destroy(tracer->list);
	bpf_link__destroy(tracer->list_tasks);
	if (tracer->consumed)
		munmap((void *)tracer->consumed, (size_t)sysconf(_SC_PAGESIZE));
	if (tracer->produced)
		munmap((void *)tracer->produced, (size_t)sysconf(_SC_PAGESIZE));
	ring_buffer__free(tracer->ring);
	bpf_object__close(tracer->processes);
	bpf_object__close(tracer->sockets);
	if (tracer->stats_fd >= 0)
		close(tracer->stats_fd);
	free(tracer->lost_cpus);
	free(tracer);
}

int tracer_fd(const struct tracer *tracer)
{
	return ring_buffer__epoll_fd(tracer->ring);
}

int tracer_drain(struct tracer *tracer)
{
	return ring_buffer__consume(tracer->ring);
}

static int set_switches(struct tracer *tracer, struct mr_switches switches)
{
	uint32_t zero = 0;
	int map = bpf_object__find_map_fd_by_name(tracer->sockets, ".bss");
	return bpf_map_update_elem(map, &zero, &switches, BPF_ANY) ? -errno : 0;
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

int tracer_list(struct tracer *tracer)
{
	int error = tracer->list_tasks ? run_iterator(tracer->list_tasks) : 0;
	if (!error)
		error = set_switches(tracer, (struct mr_switches){.listing_listeners = 1});
	if (!error)
		error = run_iterator(tracer->list);
	int reset = set_switches(tracer, (struct mr_switches){0});
	if (!error)
		error = reset;
	return error ? error : run_iterator(tracer->list);
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

int tracer_scan(struct tracer *tracer, bool roll_call, uint64_t *cpu_ns)
{
	uint64_t before = thread_cpu_ns();
	int error = roll_call ? set_switches(tracer, (struct mr_switches){.roll_call = 1}) : 0;
	if (!error)
		error = run_iterator(tracer->scan);
	if (roll_call) {
		int reset = set_switches(tracer, (struct mr_switches){0});
		error = error ? error : reset;
	}
	*cpu_ns = thread_cpu_ns() - before;
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
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length))
			continue;
		cost->run_ns += info.run_time_ns;
		cost->runs += info.run_cnt;
	}
}

struct tracer_cost tracer_cost(const struct tracer *tracer)
{
	struct tracer_cost cost = {0};
	add_cost(tracer->sockets, &cost);
	if (tracer->processes)
		add_cost(tracer->processes, &cost);
	return cost;
}

const char *tracer_missing(const struct tracer *tracer)
{
	return tracer->missing;
}
