/* Links that somebody else takes away, on the real kernel; skipped without the rights for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/cgroups.h"
#include "agent/tracer.h"
#include "base/clock.h"

enum { SKIPPED = 77 };

/* return 1: all packets pass */
static int load_program(void)
{
	static const struct bpf_insn instructions[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};
	return bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "mr_test", "GPL", instructions, 2, NULL);
}

struct fixture {
	char path[512];
	int cgroup, program, other, link;
};

static int begin(void **state)
{
	static struct fixture fixture;
	struct cgroup_mounts mounts;
	if (cgroup_mounts_read("/proc/self/mounts", &mounts) || !mounts.v2[0])
		return -1;
	snprintf(fixture.path, sizeof(fixture.path), "%s/millrace-test-%d", mounts.v2, getpid());
	if (mkdir(fixture.path, 0700))
		return -1;
	fixture.cgroup = open(fixture.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fixture.program = load_program();
	fixture.other = load_program();
	fixture.link =
		bpf_link_create(fixture.program, fixture.cgroup, BPF_CGROUP_INET_EGRESS, NULL);
	*state = &fixture;
	return fixture.link < 0 ? -1 : 0;
}

static int end(void **state)
{
	struct fixture *fixture = *state;
	close(fixture->link);
	close(fixture->program);
	close(fixture->other);
	close(fixture->cgroup);
	return rmdir(fixture->path);
}

static void a_link_holds_until_it_is_detached(void **state)
{
	struct fixture *fixture = *state;
	assert_true(link_holds(fixture->link, fixture->program));
	assert_int_equal(bpf_link_detach(fixture->link), 0);
	assert_false(link_holds(fixture->link, fixture->program));
}

static void a_link_with_another_program_does_not_hold(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(bpf_link_update(fixture->link, fixture->other, NULL), 0);
	assert_false(link_holds(fixture->link, fixture->program));
	assert_true(link_holds(fixture->link, fixture->other));
}

static void a_link_of_a_cgroup_that_is_gone_does_not_hold(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(rmdir(fixture->path), 0);
	for (int i = 0; i < 500 && link_holds(fixture->link, fixture->program); i++)
		usleep(10000); /* the kernel takes it away by and by */
	assert_false(link_holds(fixture->link, fixture->program));
	assert_int_equal(mkdir(fixture->path, 0700), 0);
}

/* ---- scans */

enum { CONNECTIONS = 5, FILLING = 200, PORT = 7401 };

static void ignore(void *context, const struct mr_head *record)
{
	(void)context, (void)record;
}

static void count_openings(void *context, const struct mr_head *record)
{
	*(unsigned *)context += record->kind == MR_OPEN;
}

/* A network namespace of this test's own, so that only its connections are in scope. */
static uint32_t own_namespace(void)
{
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &lo), 0);
	close(fd);
	struct stat found;
	assert_int_equal(stat("/proc/self/ns/net", &found), 0);
	return (uint32_t)found.st_ino;
}

struct pair {
	int near, far;
};

static struct sockaddr_in local(void)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_port = htons(PORT),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int listen_here(void)
{
	struct sockaddr_in address = local();
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, CONNECTIONS), 0);
	return listener;
}

static struct pair connect_here(int listener)
{
	struct sockaddr_in address = local();
	struct pair pair = {.near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	assert_int_equal(connect(pair.near, (struct sockaddr *)&address, sizeof(address)), 0);
	pair.far = accept(listener, NULL, NULL);
	assert_true(pair.far >= 0);
	return pair;
}

static void close_pair(struct pair pair)
{
	close(pair.near);
	close(pair.far);
}

static uint32_t visited(struct tracer *tracer)
{
	struct tracer_scanned scanned;
	assert_int_equal(tracer_scan(tracer, false, &scanned), 0);
	return scanned.connections;
}

static void a_scan_counts_the_connections_of_its_scope(void **state)
{
	(void)state;
	uint32_t netns = own_namespace();
	struct tracer *tracer;
	char why[TRACER_WHY_BYTES];
	struct tracer_options options = {
		.scoped = true, .netns = &netns, .netns_count = 1, .record = ignore};
	assert_int_equal(tracer_open(&tracer, &options, why), 0);
	int listener = listen_here();
	assert_int_equal(visited(tracer), 0);
	struct pair pairs[CONNECTIONS];
	for (int i = 0; i < CONNECTIONS; i++)
		pairs[i] = connect_here(listener);
	assert_int_equal(visited(tracer), 2 * CONNECTIONS);
	for (int i = 0; i < CONNECTIONS; i++) {
		close_pair(pairs[i]);
		assert_int_equal(visited(tracer), 2 * (CONNECTIONS - 1 - i));
	}
	close(listener);
	tracer_free(tracer);
}

/* Records of which the ring has no room, by roll calls that nobody reads. */
static void fill_ring(struct tracer *tracer)
{
	uint64_t lost[MR_LOST_COUNTERS] = {0};
	while (!lost[MR_UPDATE]) {
		struct tracer_scanned scanned;
		assert_int_equal(tracer_scan(tracer, true, &scanned), 0);
		tracer_lost(tracer, lost);
	}
}

static uint64_t lost_openings(struct tracer *tracer)
{
	uint64_t lost[MR_LOST_COUNTERS];
	tracer_lost(tracer, lost);
	return lost[MR_OPEN];
}

static void an_opening_that_found_no_room_is_counted_once_and_told_later(void **state)
{
	(void)state;
	uint32_t netns = own_namespace();
	unsigned told = 0;
	struct tracer *tracer;
	char why[TRACER_WHY_BYTES];
	struct tracer_options options = {.scoped = true,
					 .netns = &netns,
					 .netns_count = 1,
					 .record = count_openings,
					 .context = &told};
	assert_int_equal(tracer_open(&tracer, &options, why), 0);
	int listener = listen_here();
	struct pair filling[FILLING];
	for (int i = 0; i < FILLING; i++)
		filling[i] = connect_here(listener);
	fill_ring(tracer);
	struct pair ends = connect_here(listener), stays = connect_here(listener);
	assert_int_equal(lost_openings(tracer), 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(visited(tracer), 2 * FILLING); /* those that were told */
	close_pair(ends);
	assert_int_equal(lost_openings(tracer), 4);
	while (!tracer_drain(tracer, NS_PER_S))
		;
	assert_int_equal(told, 2 * FILLING);
	visited(tracer);
	while (!tracer_drain(tracer, NS_PER_S))
		;
	assert_int_equal(told, 2 * FILLING + 2);
	assert_int_equal(lost_openings(tracer), 4);
	close_pair(stays);
	for (int i = 0; i < FILLING; i++)
		close_pair(filling[i]);
	close(listener);
	tracer_free(tracer);
}

/* ---- programs that are attached now and then */

enum { CLAIMS = 2 }; /* of TCP: at sends, at receives */

static struct tracer *open_tracer(bool run_stats)
{
	struct tracer *tracer;
	char why[TRACER_WHY_BYTES];
	struct tracer_options options = {.run_stats = run_stats, .record = ignore};
	assert_int_equal(tracer_open(&tracer, &options, why), 0);
	return tracer;
}

static void assert_links(const struct tracer *tracer, uint32_t expected)
{
	struct tracer_links links = tracer_links(tracer);
	assert_int_equal(links.wanted, expected);
	assert_int_equal(links.attached, expected);
}

static void programs_for_owners_rest_and_come_back(void **state)
{
	(void)state;
	struct tracer *tracer = open_tracer(false);
	uint32_t all = tracer_links(tracer).wanted;
	assert_links(tracer, all);
	for (int i = 0; i < 3; i++) {
		tracer_give_claims(tracer);
		tracer_detach_claims(tracer);
		assert_links(tracer, all - CLAIMS);
		assert_int_equal(tracer_attach_claims(tracer), 0);
		assert_false(tracer_take_claims(tracer));
		assert_links(tracer, all);
	}
	tracer_free(tracer);
}

static void programs_for_owners_that_are_switched_off_stay_off(void **state)
{
	(void)state;
	struct tracer *tracer = open_tracer(false);
	uint32_t all = tracer_links(tracer).wanted;
	tracer_give_claims(tracer);
	tracer_detach_claims(tracer);
	assert_int_equal(tracer_attach_claims(tracer), 0);
	assert_int_equal(tracer_switch(tracer, "mr_socket", "on_send", false), 0); /* meanwhile */
	assert_true(tracer_take_claims(tracer));
	tracer_detach_claims(tracer);
	assert_links(tracer, all - 1);
	tracer_give_claims(tracer);
	tracer_detach_claims(tracer);
	assert_int_equal(tracer_switch(tracer, "mr_socket", "on_send", true), 0);
	assert_links(tracer, all - CLAIMS); /* on, and at rest with the other */
	assert_int_equal(tracer_attach_claims(tracer), 0);
	assert_false(tracer_take_claims(tracer));
	assert_links(tracer, all);
	tracer_free(tracer);
}

static void make_and_close_sockets(void)
{
	for (int i = 0; i < 1000; i++) {
		struct sockaddr_in nobody = {.sin_family = AF_INET,
					     .sin_port = htons(1),
					     .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		connect(fd, (struct sockaddr *)&nobody, sizeof(nobody));
		close(fd);
	}
}

static void run_times_go_on_between_samples(void **state)
{
	(void)state;
	struct tracer *tracer = open_tracer(true);
	assert_true(tracer_measured(tracer));
	make_and_close_sockets();
	struct tracer_cost sampled = tracer_cost(tracer);
	assert_true(sampled.runs >= 2000 && sampled.run_ns > 0);
	tracer_sample_end(tracer);
	usleep(50000);
	struct tracer_cost later = tracer_cost(tracer);
	assert_true(later.runs > sampled.runs && later.run_ns > sampled.run_ns);
	int fd = tracer_enable_stats();
	assert_true(fd >= 0);
	tracer_sample_begin(tracer, fd);
	struct tracer_cost again = tracer_cost(tracer);
	assert_true(again.runs >= later.runs && again.run_ns >= later.run_ns);
	tracer_free(tracer);
}

int main(void)
{
	int probe = load_program();
	if (probe < 0) {
		printf("skipped: BPF programs cannot be loaded (errno %d)\n", errno);
		return SKIPPED;
	}
	close(probe);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_link_holds_until_it_is_detached, begin, end),
		cmocka_unit_test_setup_teardown(a_link_with_another_program_does_not_hold, begin,
						end),
		cmocka_unit_test_setup_teardown(a_link_of_a_cgroup_that_is_gone_does_not_hold,
						begin, end),
		cmocka_unit_test(a_scan_counts_the_connections_of_its_scope),
		cmocka_unit_test(an_opening_that_found_no_room_is_counted_once_and_told_later),
		cmocka_unit_test(programs_for_owners_rest_and_come_back),
		cmocka_unit_test(programs_for_owners_that_are_switched_off_stay_off),
		cmocka_unit_test(run_times_go_on_between_samples),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
