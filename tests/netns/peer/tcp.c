/* Programs that talk TCP in the labs in ways that Python's sockets cannot, and count what they sent
 * themselves. Compiled by the test that runs it (cc -pthread).
 *
 *   tcp storm THREADS COUNT LOG       COUNT connections over loopback, both ends in one thread, 1
 * to 200 bytes up and down; LOG gets a line each: address port client_port up down; prints the
 * seconds it took tcp prefork ADDRESS PORT WORKERS  one listener, WORKERS processes that accept;
 * each answers with its pid until the client closes; prints the pids when it listens tcp uring
 * ADDRESS PORT            the same by io_uring alone (accept, recv, send, close), one process tcp
 * pass ADDRESS PORT             accepts in one process, which passes each connection by SCM_RIGHTS
 *                                     to another that answers; prints both pids
 *   tcp ask ADDRESS PORT              sends one byte, reads a pid, prints "client_port pid"
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	BYTES_MAX = 200,
	ADDRESSES = 200,
	PER_ADDRESS = 10000, /* below the ephemeral ports, so that none is waited for */
};

static void check(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static int listen_at(const struct sockaddr_in *address, int backlog)
{
	int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
	check(listener >= 0, "socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(!bind(listener, (const struct sockaddr *)address, sizeof(*address)), "bind");
	check(!listen(listener, backlog), "listen");
	return listener;
}

static struct sockaddr_in address_of(const char *text, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(port))};
	check(inet_pton(AF_INET, text, &address.sin_addr) == 1, text);
	return address;
}

/* ---- storm */

struct storm {
	pthread_t thread;
	int number, count;
	struct line {
		struct in_addr address;
		uint16_t port, client_port;
		uint8_t up, down;
	} * lines;
};

static void transfer(int from, int to, size_t bytes)
{
	char buffer[BYTES_MAX] = {0};
	check(write(from, buffer, bytes) == (ssize_t)bytes, "write");
	for (size_t got = 0; got < bytes;) {
		ssize_t n = read(to, buffer, sizeof(buffer));
		check(n > 0, "read");
		got += (size_t)n;
	}
}

static void storm_one(int listener, const struct sockaddr_in *address, struct line *line)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);
	check(client >= 0, "socket");
	check(!connect(client, (const struct sockaddr *)address, sizeof(*address)), "connect");
	struct sockaddr_in peer;
	socklen_t length = sizeof(peer);
	int server = accept(listener, (struct sockaddr *)&peer, &length);
	check(server >= 0, "accept");
	*line = (struct line){address->sin_addr, ntohs(address->sin_port), ntohs(peer.sin_port),
			      (uint8_t)(1 + line->up % BYTES_MAX),
			      (uint8_t)(1 + line->down % BYTES_MAX)};
	transfer(client, server, line->up);
	transfer(server, client, line->down);
	close(client);
	close(server);
}

static void *storm_run(void *argument)
{
	struct storm *storm = argument;
	int listener = -1;
	struct sockaddr_in address;
	unsigned seed = (unsigned)storm->number;
	for (int i = 0; i < storm->count; i++) {
		if (i % PER_ADDRESS == 0) {
			if (listener >= 0)
				close(listener);
			uint32_t host = (uint32_t)(storm->number * ADDRESSES + i / PER_ADDRESS);
			address = (struct sockaddr_in){
				.sin_family = AF_INET,
				.sin_port = htons(7000),
				.sin_addr.s_addr = htonl(0x7f010001 + host),
			};
			listener = listen_at(&address, 16);
		}
		storm->lines[i].up = (uint8_t)rand_r(&seed);
		storm->lines[i].down = (uint8_t)rand_r(&seed);
		storm_one(listener, &address, &storm->lines[i]);
	}
	close(listener);
	return NULL;
}

static int storm(int threads, int count, const char *path)
{
	struct storm *storms = calloc((size_t)threads, sizeof(*storms));
	struct timespec began, ended;
	clock_gettime(CLOCK_MONOTONIC, &began);
	for (int i = 0; i < threads; i++) {
		storms[i].number = i;
		storms[i].count = count / threads + (i < count % threads);
		storms[i].lines = calloc((size_t)storms[i].count, sizeof(struct line));
		check(!pthread_create(&storms[i].thread, NULL, storm_run, &storms[i]), "thread");
	}
	for (int i = 0; i < threads; i++)
		pthread_join(storms[i].thread, NULL);
	clock_gettime(CLOCK_MONOTONIC, &ended);
	FILE *log = fopen(path, "w");
	check(log != NULL, path);
	for (int i = 0; i < threads; i++)
		for (int n = 0; n < storms[i].count; n++) {
			const struct line *line = &storms[i].lines[n];
			fprintf(log, "%s %d %d %d %d\n", inet_ntoa(line->address), line->port,
				line->client_port, line->up, line->down);
		}
	check(!fclose(log), path);
	printf("%.6f\n", (double)(ended.tv_sec - began.tv_sec) +
				 (double)(ended.tv_nsec - began.tv_nsec) / 1e9);
	return 0;
}

/* ---- servers */

static void answer(int client)
{
	char byte;
	int pid = (int)getpid();
	while (read(client, &byte, 1) == 1)
		check(write(client, &pid, sizeof(pid)) == sizeof(pid), "write");
	close(client);
}

static void accept_forever(int listener)
{
	for (;;) {
		int client = accept(listener, NULL, NULL);
		check(client >= 0, "accept");
		answer(client);
	}
}

static int prefork(const struct sockaddr_in *address, int workers)
{
	int listener = listen_at(address, 1024);
	for (int i = 0; i < workers; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			accept_forever(listener);
		}
		printf("%d ", (int)pid);
	}
	printf("\n");
	fflush(stdout);
	pause();
	return 0;
}

static void pass(int channel, int client)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &client, sizeof(int));
	check(sendmsg(channel, &message, 0) == 1, "sendmsg");
	close(client);
}

static int passed(int channel)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {&byte, 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = control,
				 .msg_controllen = sizeof(control)};
	check(recvmsg(channel, &message, 0) == 1, "recvmsg");
	int client;
	memcpy(&client, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	return client;
}

static int pass_on(const struct sockaddr_in *address)
{
	int channel[2], listener = listen_at(address, 1024);
	check(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, channel), "socketpair");
	pid_t worker = fork();
	if (worker == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(listener);
		for (;;)
			answer(passed(channel[0]));
	}
	printf("%d %d\n", (int)getpid(), (int)worker);
	fflush(stdout);
	for (;;)
		pass(channel[1], accept(listener, NULL, NULL));
}

/* One ring, one request in flight: what is wanted is who the kernel thinks sends and receives. */
struct uring {
	int fd;
	unsigned *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
};

static void *uring_map(int fd, size_t bytes, off_t offset)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);
	check(at != MAP_FAILED, "mmap");
	return at;
}

static struct uring uring_open(void)
{
	struct io_uring_params params = {0};
	struct uring ring = {.fd = (int)syscall(SYS_io_uring_setup, 8, &params)};
	if (ring.fd < 0)
		exit(77); /* not in this kernel, or not for us */
	char *sq = uring_map(ring.fd, params.sq_off.array + params.sq_entries * sizeof(unsigned),
			     IORING_OFF_SQ_RING);
	char *cq = uring_map(ring.fd,
			     params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
			     IORING_OFF_CQ_RING);
	ring.sqes = uring_map(ring.fd, params.sq_entries * sizeof(struct io_uring_sqe),
			      IORING_OFF_SQES);
	ring.sq_tail = (unsigned *)(sq + params.sq_off.tail);
	ring.sq_mask = (unsigned *)(sq + params.sq_off.ring_mask);
	ring.sq_array = (unsigned *)(sq + params.sq_off.array);
	ring.cq_head = (unsigned *)(cq + params.cq_off.head);
	ring.cq_tail = (unsigned *)(cq + params.cq_off.tail);
	ring.cq_mask = (unsigned *)(cq + params.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + params.cq_off.cqes);
	return ring;
}

static int uring_do(struct uring *ring, int operation, int fd, void *bytes, unsigned length)
{
	unsigned at = *ring->sq_tail & *ring->sq_mask;
	ring->sqes[at] = (struct io_uring_sqe){
		.opcode = (uint8_t)operation, .fd = fd, .addr = (uintptr_t)bytes, .len = length};
	ring->sq_array[at] = at;
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
	int done =
		(int)syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	check(done >= 0, "io_uring_enter");
	int result = ring->cqes[*ring->cq_head & *ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
	return result;
}

static int uring(const struct sockaddr_in *address)
{
	struct uring ring = uring_open();
	int pid = (int)getpid(), listener = listen_at(address, 1024);
	printf("%d\n", pid);
	fflush(stdout);
	for (;;) {
		int client = uring_do(&ring, IORING_OP_ACCEPT, listener, NULL, 0);
		check(client >= 0, "accept");
		char byte;
		while (uring_do(&ring, IORING_OP_RECV, client, &byte, 1) == 1)
			uring_do(&ring, IORING_OP_SEND, client, &pid, sizeof(pid));
		uring_do(&ring, IORING_OP_CLOSE, client, NULL, 0);
	}
}

static int ask(const struct sockaddr_in *address)
{
	int pid, client = socket(AF_INET, SOCK_STREAM, 0);
	check(!connect(client, (const struct sockaddr *)address, sizeof(*address)), "connect");
	struct sockaddr_in local;
	socklen_t length = sizeof(local);
	getsockname(client, (struct sockaddr *)&local, &length);
	check(write(client, "?", 1) == 1, "write");
	check(read(client, &pid, sizeof(pid)) == sizeof(pid), "read");
	printf("%d %d\n", ntohs(local.sin_port), pid);
	close(client);
	return 0;
}

int main(int count, char **words)
{
	const char *verb = count > 1 ? words[1] : "";
	if (strcmp(verb, "storm") == 0 && count == 5)
		return storm(atoi(words[2]), atoi(words[3]), words[4]);
	if (count < 4) {
		fprintf(stderr, "tcp: see its source for what it takes\n");
		return 2;
	}
	struct sockaddr_in address = address_of(words[2], words[3]);
	if (strcmp(verb, "prefork") == 0 && count == 5)
		return prefork(&address, atoi(words[4]));
	if (strcmp(verb, "uring") == 0)
		return uring(&address);
	if (strcmp(verb, "pass") == 0)
		return pass_on(&address);
	if (strcmp(verb, "ask") == 0)
		return ask(&address);
	fprintf(stderr, "tcp: no verb %s\n", verb);
	return 2;
}
