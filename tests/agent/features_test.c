/* Features put off and on again, on the real kernel: what still comes out of the ring is what is
 * on. Skipped without the rights for it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>
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
	unsigned openings, messages, hellos;
	int listener; /* whose port's handshakes are told */
	uint16_t listener_port;
} lab;

static const uint8_t hello[] = {22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3};

static void on_record(void *context, const struct mr_head *record)
{
	(void)context;
	const struct mr_open *open = (const struct mr_open *)record;
	const struct mr_message *dns = (const struct mr_message *)record;
	if (record->kind == MR_OPEN)
		lab.openings += open->protocol == IPPROTO_UDP && open->local_port == lab.port;
	if (record->kind == MR_DNS)
		lab.messages += dns->length == sizeof(lab.message) &&
				memcmp(dns->message, lab.message, sizeof(lab.message)) == 0;
	if (record->kind == MR_HELLO)
		lab.hellos += dns->length == sizeof(hello) &&
			      memcmp(dns->message, hello, sizeof(hello)) == 0;
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

static int dial(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(lab.listener_port)};
	int dialler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(dialler, (struct sockaddr *)&address, sizeof(address)), 0);
	return dialler;
}

static bool handshakes_are_told(void)
{
	int dialler = dial();
	lab.hellos = 0;
	assert_int_equal(send(dialler, hello, sizeof(hello), 0), sizeof(hello));
	assert_true(tracer_drain(lab.tracer, UINT64_MAX / 2));
	close(dialler);
	close(accept(lab.listener, NULL, NULL));
	return lab.hellos;
}

static void listen_somewhere(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	lab.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(lab.listener, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(lab.listener, 8), 0);
	assert_int_equal(getsockname(lab.listener, (struct sockaddr *)&address, &length), 0);
	lab.listener_port = ntohs(address.sin_port);
}

static void put_off(uint32_t off)
{
	features_control(lab.features, off);
	assert_int_equal(features_apply(lab.features), 0);
	assert_int_equal(feature_on(lab.features, FEATURE_UDP), !(off & 1U << FEATURE_UDP));
	assert_int_equal(feature_on(lab.features, FEATURE_DNS), !(off & 1U << FEATURE_DNS));
	assert_int_equal(feature_on(lab.features, FEATURE_SNI), !(off & 1U << FEATURE_SNI));
}

static int begin(void **state)
{
	static struct cgroup_mounts mounts;
	(void)state;
	cgroup_mounts_read("/proc/self/mounts", &mounts);
	static uint16_t ports[MR_HELLO_PORTS];
	char why[TRACER_WHY_BYTES];
	listen_somewhere();
	ports[0] = 1;
	ports[MR_HELLO_PORTS - 1] = lab.listener_port;
	if (tracer_open(&lab.tracer,
			&(struct tracer_options){
				.cgroup2 = mounts.v2,
				.udp = true,
				.dns = true,
				.sni_ports = ports,
				.udp_peers_max = 1024,
				.record = on_record,
			},
			why)) {
		print_error("%s\n", why);
		return -1;
	}
	lab.features = features_new(&(struct features_options){
		.tracer = lab.tracer,
		.configured = {[FEATURE_UDP] = true, [FEATURE_DNS] = true, [FEATURE_SNI] = true},
		.switched = on_switched,
	});
	return 0;
}

static int end(void **state)
{
	(void)state;
	features_free(lab.features);
	tracer_free(lab.tracer);
	close(lab.listener);
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

static void handshakes_are_put_off_and_on_by_themselves(void **state)
{
	(void)state;
	assert_true(handshakes_are_told());
	put_off(1U << FEATURE_SNI);
	assert_false(handshakes_are_told());
	assert_true(udp_is_told() && lookups_are_told());
	put_off(1U << FEATURE_UDP | 1U << FEATURE_DNS);
	assert_true(handshakes_are_told());
	assert_false(udp_is_told() || lookups_are_told());
	put_off(0);
	assert_true(handshakes_are_told());
}

/* What follows the beginning of a connection is no handshake's beginning, whatever it looks like.
 */
static void only_the_first_data_of_a_connection_is_looked_at(void **state)
{
	(void)state;
	int dialler = dial(), on = 1;
	setsockopt(dialler, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	lab.hellos = 0;
	for (int i = 0; i < 10; i++)
		assert_int_equal(send(dialler, hello, sizeof(hello), 0), sizeof(hello));
	assert_true(tracer_drain(lab.tracer, UINT64_MAX / 2));
	assert_int_equal(lab.hellos, 4);
	close(dialler);
	close(accept(lab.listener, NULL, NULL));
}

static void their_programs_go_with_the_last_of_them(void **state)
{
	(void)state;
	uint32_t wanted = tracer_links(lab.tracer).wanted;
	put_off(1U << FEATURE_UDP);
	assert_int_equal(tracer_links(lab.tracer).wanted, wanted);
	put_off(1U << FEATURE_UDP | 1U << FEATURE_DNS);
	assert_int_equal(tracer_links(lab.tracer).wanted, wanted);
	put_off(1U << FEATURE_UDP | 1U << FEATURE_DNS | 1U << FEATURE_SNI);
	assert_true(tracer_links(lab.tracer).wanted < wanted);
	assert_false(udp_is_told() || lookups_are_told() || handshakes_are_told());
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
		cmocka_unit_test(handshakes_are_put_off_and_on_by_themselves),
		cmocka_unit_test(only_the_first_data_of_a_connection_is_looked_at),
		cmocka_unit_test(their_programs_go_with_the_last_of_them),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
