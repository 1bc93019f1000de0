/* What bench/agent.py drives: real sockets for the agent to see.
 *
 *   bench-agent overhead [PAIRS]     what the TCP programs cost a keep-alive request and a
 * connection, both ends, in one thread over loopback: windows with the programs attached and
 * without them in turn, in CPU time of the thread (which has the softirqs that it causes), median
 * of the paired differences of the lowest windows; and by the programs' own runs and run time. What
 * sees each send and receive is attached for a share of the time (agent/claims.h), which is its
 * share here too, at its worst. One line of JSON. bench-agent load RATE SECONDS    about RATE
 * events a second in the mix of a busy node: 735 of 1,000 updates, 90 openings, 90 ends, 85 starts
 * and ends of processes bench-agent hold SOCKETS         so many live sockets, after a storm that
 * has used all of the ring; "ready", then until standard input ends
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/claims.h"
#include "agent/tracer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/memory.h"

enum {
	PORT = 7400,
	WARM = 300,
	REQUESTS = 500,	   /* a window: some 4 ms */
	CONNECTIONS = 100, /* likewise */
	WINDOWS = 8,	   /* of each side of a pair */
	PAIRS = 24,
	BYTES_MAX = 4096,
	ADDRESSES = 64,
	TICKS_PER_S = 100,
	LIFE_TICKS = 50, /* of a short connection */
	STORM = 60000,
};

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "bench-agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Without CONFIG_IRQ_TIME_ACCOUNTING this has the softirqs that the thread causes, and it leaves
 * out what others do meanwhile. */
static uint64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

struct pair {
	int client, server;
};

/* 127.2.x.y: a listener's own address, so that no port in TIME_WAIT is ever waited for. */
static struct sockaddr_in address_at(uint32_t number)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(PORT),
		.sin_addr.s_addr = htonl(0x7f020001 + number % 65000),
	};
}

static int listen_at(uint32_t number)
{
	int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = address_at(number);
	check(listener >= 0, "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(!bind(listener, (struct sockaddr *)&address, sizeof(address)), "bind");
	check(!listen(listener, 64), "listen");
	return listener;
}

static struct pair connect_pair(int listener, uint32_t number)
{
	struct sockaddr_in address = address_at(number);
	struct pair pair = {.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	check(pair.client >= 0, "socket");
	check(!connect(pair.client, (struct sockaddr *)&address, sizeof(address)), "connect");
	pair.server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	check(pair.server >= 0, "accept");
	return pair;
}

static void close_pair(struct pair pair)
{
	close(pair.client);
	close(pair.server);
}

static void transfer(int from, int to, size_t bytes)
{
	static char buffer[BYTES_MAX];
	check(write(from, buffer, bytes) == (ssize_t)bytes, "write");
	for (size_t got = 0; got < bytes;) {
		ssize_t n = read(to, buffer, sizeof(buffer));
		check(n > 0, "read");
		got += (size_t)n;
	}
}

static void exchange(struct pair pair, size_t up, size_t down)
{
	transfer(pair.client, pair.server, up);
	transfer(pair.server, pair.client, down);
}

/* ---- overhead */

static void count_record(void *context, const struct mr_head *record)
{
	(void)record;
	++*(uint64_t *)context;
}

struct overhead {
	struct pair kept;
	uint32_t number; /* of the next window of connections */
	struct tracer *tracer;
	uint64_t records;
};

static double window_requests(struct overhead *overhead)
{
	for (int i = 0; i < WARM; i++)
		exchange(overhead->kept, 100, 300);
	uint64_t before = cpu_ns();
	for (int i = 0; i < REQUESTS; i++)
		exchange(overhead->kept, 100, 300);
	return (double)(cpu_ns() - before) / REQUESTS;
}

static double window_connections(struct overhead *overhead)
{
	uint32_t number = overhead->number++;
	int listener = listen_at(number);
	for (int i = 0; i < WARM / 10; i++)
		close_pair(connect_pair(listener, number));
	uint64_t before = cpu_ns();
	for (int i = 0; i < CONNECTIONS; i++)
		close_pair(connect_pair(listener, number));
	double ns = (double)(cpu_ns() - before) / CONNECTIONS;
	close(listener);
	return ns;
}

static int by_value(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;
	return (left > right) - (left < right);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), by_value);
	return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

struct side {
	double request, connection;
};

/* Of the time, while owners go on being guesses. */
static const double claims_share = (double)CLAIMS_NS / (CLAIMS_NS + CLAIMS_WAIT_MAX_NS);

/* What others do on the machine only ever adds. */
static double lowest(double windows[WINDOWS])
{
	qsort(windows, WINDOWS, sizeof(*windows), by_value);
	return windows[0];
}

static struct side measure(struct overhead *overhead)
{
	double requests[WINDOWS], connections[WINDOWS];
	for (int i = 0; i < WINDOWS; i++) {
		requests[i] = window_requests(overhead);
		connections[i] = window_connections(overhead);
		if (overhead->tracer)
			tracer_drain(overhead->tracer, UINT64_MAX / 2);
	}
	return (struct side){lowest(requests), lowest(connections)};
}

static void attach(struct overhead *overhead, bool run_stats)
{
	char why[TRACER_WHY_BYTES];
	int error = tracer_open(&overhead->tracer,
				&(struct tracer_options){.run_stats = run_stats,
							 .record = count_record,
							 .context = &overhead->records},
				why);
	if (error) {
		fprintf(stderr, "bench-agent: %s\n", why);
		exit(1);
	}
}

static void detach(struct overhead *overhead)
{
	tracer_free(overhead->tracer);
	overhead->tracer = NULL;
}

/* As most of the time. */
static void rest(struct overhead *overhead)
{
	tracer_give_claims(overhead->tracer);
	tracer_detach_claims(overhead->tracer);
}

static struct side measure_with(struct overhead *overhead)
{
	attach(overhead, false);
	struct side claiming = measure(overhead);
	rest(overhead);
	struct side with = measure(overhead);
	detach(overhead);
	with.request += claims_share * (claiming.request - with.request);
	return with;
}

/* By what the programs say of themselves, less what measuring adds; a run's way in is not in it. */
struct runs {
	struct side ns, count;
};

static struct tracer_cost cost_of_requests(struct overhead *overhead)
{
	struct tracer_cost before = tracer_cost(overhead->tracer);
	for (int i = 0; i < REQUESTS; i++)
		exchange(overhead->kept, 100, 300);
	struct tracer_cost after = tracer_cost(overhead->tracer);
	return (struct tracer_cost){.run_ns = after.run_ns - before.run_ns,
				    .runs = after.runs - before.runs};
}

static struct tracer_cost cost_of_connections(struct overhead *overhead)
{
	uint32_t number = overhead->number++;
	int listener = listen_at(number);
	struct tracer_cost before = tracer_cost(overhead->tracer);
	for (int i = 0; i < CONNECTIONS * WINDOWS; i++)
		close_pair(connect_pair(listener, number));
	struct tracer_cost after = tracer_cost(overhead->tracer);
	close(listener);
	return (struct tracer_cost){.run_ns = after.run_ns - before.run_ns,
				    .runs = after.runs - before.runs};
}

static struct runs measure_runs(struct overhead *overhead)
{
	attach(overhead, true);
	struct tracer_cost claiming = cost_of_requests(overhead);
	rest(overhead);
	struct tracer_cost requests = cost_of_requests(overhead);
	struct tracer_cost connections = cost_of_connections(overhead);
	detach(overhead);
	return (struct runs){
		.ns = {((double)requests.run_ns + claims_share * (double)claiming.run_ns) /
			       REQUESTS,
		       (double)connections.run_ns / (CONNECTIONS * WINDOWS)},
		.count = {((double)requests.runs + claims_share * (double)claiming.runs) / REQUESTS,
			  (double)connections.runs / (CONNECTIONS * WINDOWS)},
	};
}

static int overhead(unsigned pairs)
{
	struct overhead state = {.number = 1};
	double *requests = memory_zeroed(pairs, sizeof(*requests));
	double *connections = memory_zeroed(pairs, sizeof(*connections));
	double *bases = memory_zeroed(pairs, sizeof(*bases));
	double *base_connections = memory_zeroed(pairs, sizeof(*base_connections));
	int listener = listen_at(0), one = 1;
	state.kept = connect_pair(listener, 0);
	setsockopt(state.kept.client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(state.kept.server, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	measure(&state);
	for (unsigned i = 0; i < pairs; i++) {
		struct side with = {0}, without;
		if (i % 2)
			with = measure_with(&state);
		without = measure(&state);
		if (i % 2 == 0)
			with = measure_with(&state);
		requests[i] = with.request - without.request;
		connections[i] = with.connection - without.connection;
		bases[i] = without.request;
		base_connections[i] = without.connection;
	}
	struct runs runs = measure_runs(&state);
	printf("{\"ns_per_request\": %.1f, \"ns_per_connection\": %.1f, \"base_request_ns\": %.0f, "
	       "\"base_connection_ns\": %.0f, \"bpf_ns_per_request\": %.1f, "
	       "\"bpf_ns_per_connection\": %.1f, \"runs_per_request\": %.2f, "
	       "\"runs_per_connection\": %.2f}\n",
	       median(requests, pairs), median(connections, pairs), median(bases, pairs),
	       median(base_connections, pairs), runs.ns.request, runs.ns.connection,
	       runs.count.request, runs.count.connection);
	close_pair(state.kept);
	close(listener);
	free(requests);
	free(connections);
	free(bases);
	free(base_connections);
	return 0;
}

/* ---- load */

struct load {
	int listeners[ADDRESSES];
	struct pair *kept;
	uint32_t kept_count, at;
	struct pair *life[LIFE_TICKS]; /* short connections by the tick in which they end */
	uint32_t life_count[LIFE_TICKS];
	uint32_t opens_max;
	uint64_t random;
};

static size_t some_bytes(struct load *load)
{
	uint64_t dice = hash_mix(++load->random);
	return 40 + (size_t)(dice % (dice >> 32 & 7 ? 400 : BYTES_MAX - 40));
}

static struct pair load_connect(struct load *load)
{
	uint32_t number = (uint32_t)(hash_mix(++load->random) % ADDRESSES);
	return connect_pair(load->listeners[number], number);
}

static void load_processes(unsigned count)
{
	extern char **environ;
	static char name[] = "true";
	char *const words[] = {name, NULL};
	for (unsigned i = 0; i < count; i++) {
		pid_t pid;
		check(!posix_spawn(&pid, "/bin/true", NULL, NULL, words, environ), "/bin/true");
	}
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}

/* How many of what happens `rate` times a second belong to this tick. */
static uint32_t share(uint32_t rate, uint64_t tick)
{
	return (uint32_t)(rate * (tick + 1) / TICKS_PER_S - rate * tick / TICKS_PER_S);
}

static void load_tick(struct load *load, uint32_t rate, uint64_t tick)
{
	for (uint32_t n = share(load->kept_count, tick); n; n--) {
		exchange(load->kept[load->at], some_bytes(load), some_bytes(load));
		load->at = (load->at + 1) % load->kept_count;
	}
	uint32_t at = tick % LIFE_TICKS;
	while (load->life_count[at])
		close_pair(load->life[at][--load->life_count[at]]);
	for (uint32_t n = share(rate * 90 / 2000, tick); n; n--) {
		struct pair pair = load_connect(load);
		exchange(pair, some_bytes(load), some_bytes(load));
		load->life[at][load->life_count[at]++] = pair;
	}
	load_processes(share(rate * 85 / 2000, tick));
}

static int load_run(uint32_t rate, unsigned seconds)
{
	struct load *load = memory_zeroed(1, sizeof(*load));
	for (uint32_t i = 0; i < ADDRESSES; i++)
		load->listeners[i] = listen_at(i);
	/* Both ends are told of, and half of the short ones are seen by a scan. */
	load->kept_count = (rate * 735 / 1000 - rate * 90 / 2000) / 2;
	load->kept = memory_zeroed(load->kept_count, sizeof(*load->kept));
	for (int i = 0; i < LIFE_TICKS; i++)
		load->life[i] = memory_zeroed(rate / TICKS_PER_S + 1, sizeof(**load->life));
	for (uint32_t i = 0; i < load->kept_count; i++)
		load->kept[i] = load_connect(load);
	printf("ready\n");
	fflush(stdout);
	struct timespec next;
	clock_gettime(CLOCK_MONOTONIC, &next);
	for (uint64_t tick = 0; tick < (uint64_t)seconds * TICKS_PER_S; tick++) {
		load_tick(load, rate, tick);
		next.tv_nsec += NS_PER_S / TICKS_PER_S;
		if (next.tv_nsec >= (long)NS_PER_S) {
			next.tv_nsec -= NS_PER_S;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
	return 0; /* what is open is the kernel's to close */
}

static int hold(uint32_t sockets)
{
	int listener = listen_at(0);
	for (uint32_t i = 0; i < STORM; i += 10000) {
		int other = listen_at(1 + i / 10000);
		for (int n = 0; n < 10000; n++)
			close_pair(connect_pair(other, 1 + i / 10000));
		close(other);
	}
	for (uint32_t i = 0; i < sockets / 2; i++)
		exchange(connect_pair(listener, 0), 100, 300);
	printf("ready\n");
	fflush(stdout);
	char byte;
	return read(STDIN_FILENO, &byte, 1) < 0;
}

int main(int count, char **words)
{
	struct rlimit files = {1 << 20, 1 << 20};
	setrlimit(RLIMIT_NOFILE, &files);
	const char *verb = count > 1 ? words[1] : "";
	if (strcmp(verb, "overhead") == 0)
		return overhead(count > 2 ? (unsigned)atoi(words[2]) : PAIRS);
	if (strcmp(verb, "load") == 0 && count == 4)
		return load_run((uint32_t)atoi(words[2]), (unsigned)atoi(words[3]));
	if (strcmp(verb, "hold") == 0 && count == 3)
		return hold((uint32_t)atoi(words[2]));
	fprintf(stderr, "bench-agent: overhead [PAIRS] | load RATE SECONDS | hold SOCKETS\n");
	return 2;
}
