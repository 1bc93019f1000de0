/* Features put off and on again, on the real kernel: what still comes out of the ring is what is
 * on. Skipped without the rights for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/cgroups.h"
#include "agent/features.h"
#include "agent/tracer.h"

enum { SKIPPED = 77 };

static struct {
	struct tracer *tracer;
	struct features *features;
	uint16_t port;	  /* whose peers are looked for */
	char message[32]; /* the name lookup that is looked for; only its bytes matter */
	unsigned openings, messages;
} lab;

static void on_record(void *context, const struct mr_head *record)
{
	(void)context;
	const struct mr_open *open = (const struct mr_open *)record;
	const struct mr_dns *dns = (const struct mr_dns *)record;
	if (record->kind == MR_OPEN)
		lab.openings += open->protocol == IPPROTO_UDP && open->local_port == lab.port;
	if (record->kind == MR_DNS)
		lab.messages += dns->length == sizeof(lab.message) &&
				memcmp(dns->message, lab.message, sizeof(lab.message)) == 0;
}

static int on_switched(void *context, enum feature feature, bool on)
{
	(void)context, (void)feature, (void)on;
	return 0;
}

/* A datagram from a new socket, to nobody. */
static void send_to(uint16_t port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t length = sizeof(address);
	int sender = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(sendto(sender, lab.message, sizeof(lab.message), 0,
				(struct sockaddr *)&address, length),
			 sizeof(lab.message));
	assert_int_equal(getsockname(sender, (struct sockaddr *)&address, &length), 0);
	lab.port = ntohs(address.sin_port);
	close(sender);
	lab.openings = lab.messages = 0;
	assert_true(tracer_drain(lab.tracer, UINT64_MAX / 2));
}

static bool udp_is_told(void)
{
	send_to(9);
	return lab.openings;
}

static bool lookups_are_told(void)
{
	static unsigned lookups;
	snprintf(lab.message, sizeof(lab.message), "lookup %d.%u of the test", getpid(), lookups++);
	send_to(MR_DNS_SERVICE);
	return lab.messages;
}

static void put_off(uint32_t off)
{
	features_control(lab.features, off);
	assert_int_equal(features_apply(lab.features), 0);
	assert_int_equal(feature_on(lab.features, FEATURE_UDP), !(off & 1U << FEATURE_UDP));
	assert_int_equal(feature_on(lab.features, FEATURE_DNS), !(off & 1U << FEATURE_DNS));
}

static int begin(void **state)
{
	static struct cgroup_mounts mounts;
	(void)state;
	cgroup_mounts_read("/proc/self/mounts", &mounts);
	char why[TRACER_WHY_BYTES];
	if (tracer_open(&lab.tracer,
			&(struct tracer_options){
				.cgroup2 = mounts.v2,
				.udp = true,
				.dns = true,
				.udp_peers_max = 1024,
				.record = on_record,
			},
			why)) {
		print_error("%s\n", why);
		return -1;
	}
	lab.features = features_new(&(struct features_options){
		.tracer = lab.tracer,
		.configured = {[FEATURE_UDP] = true, [FEATURE_DNS] = true},
		.switched = on_switched,
	});
	return 0;
}

static int end(void **state)
{
	(void)state;
	features_free(lab.features);
	tracer_free(lab.tracer);
	return 0;
}

static void udp_stays_when_lookups_are_put_off(void **state)
{
	(void)state;
	assert_true(udp_is_told() && lookups_are_told());
	put_off(1U << FEATURE_DNS);
	assert_true(udp_is_told());
	assert_false(lookups_are_told());
	put_off(0);
	assert_true(udp_is_told() && lookups_are_told());
}

static void lookups_stay_when_udp_is_put_off(void **state)
{
	(void)state;
	put_off(1U << FEATURE_UDP);
	assert_false(udp_is_told());
	assert_true(lookups_are_told());
	put_off(0);
	assert_true(udp_is_told() && lookups_are_told());
}

static void their_programs_go_with_the_last_of_them(void **state)
{
	(void)state;
	uint32_t wanted = tracer_links(lab.tracer).wanted;
	put_off(1U << FEATURE_UDP);
	assert_int_equal(tracer_links(lab.tracer).wanted, wanted);
	put_off(1U << FEATURE_UDP | 1U << FEATURE_DNS);
	assert_true(tracer_links(lab.tracer).wanted < wanted);
	assert_false(udp_is_told() || lookups_are_told());
	put_off(1U << FEATURE_DNS);
	assert_int_equal(tracer_links(lab.tracer).wanted, wanted);
	assert_int_equal(tracer_links(lab.tracer).attached, wanted);
	assert_true(udp_is_told());
	put_off(0);
}

int main(void)
{
	struct cgroup_mounts mounts;
	if (geteuid() || access("/sys/kernel/btf/vmlinux", R_OK) ||
	    cgroup_mounts_read("/proc/self/mounts", &mounts) || !mounts.v2[0]) {
		printf("skipped: needs root, a kernel with BTF and a cgroup2 tree\n");
		return SKIPPED;
	}
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(udp_stays_when_lookups_are_put_off),
		cmocka_unit_test(lookups_stay_when_udp_is_put_off),
		cmocka_unit_test(their_programs_go_with_the_last_of_them),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
