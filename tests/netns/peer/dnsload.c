/* A resolver and its client for rates that no resolver of Debian reaches here. Each says what it
 * did, by its own clock around its own system calls:
 *
 *   dnsload answer ADDRESS PORT COUNT   "ready", then COUNT lines: number taken_ns answered_ns
 *   dnsload ask ADDRESS PORT COUNT      COUNT lines: number asked_ns answered_ns rcode
 *
 * The name q<number>.load.test. says what the answer is: rcode number % 6, with an address if that
 * is 0. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { SOCKETS = 64, ROUND = 8, MESSAGE = 512, HEADER = 12, RCODES = 6 };

struct row {
	uint64_t from_ns, to_ns;
	unsigned rcode;
};

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void need(int good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

static size_t write_query(uint8_t *message, uint16_t id, unsigned number)
{
	char label[16];
	int size = snprintf(label, sizeof(label), "q%u", number);
	const uint8_t header[HEADER] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
	uint8_t *at = message;
	memcpy(at, header, HEADER);
	at += HEADER;
	*at++ = (uint8_t)size;
	memcpy(at, label, (size_t)size);
	at += size;
	memcpy(at, "\4load\4test\0\0\1\0\1", 15);
	return (size_t)(at + 15 - message);
}

static unsigned number_of(const uint8_t *message)
{
	unsigned number = 0;
	for (int i = 2; i <= message[HEADER]; i++)
		number = number * 10 + message[HEADER + i] - '0';
	return number;
}

static size_t write_answer(uint8_t *message, size_t length, unsigned number)
{
	message[2] = 0x81;
	message[3] = (uint8_t)(0x80 | number % RCODES);
	if (number % RCODES)
		return length;
	message[7] = 1;
	const uint8_t answer[16] = {0xc0,
				    HEADER,
				    0,
				    1,
				    0,
				    1,
				    0,
				    0,
				    0,
				    60,
				    0,
				    4,
				    10,
				    (uint8_t)(number >> 16),
				    (uint8_t)(number >> 8),
				    (uint8_t)number};
	memcpy(message + length, answer, sizeof(answer));
	return length + sizeof(answer);
}

static void answer_all(const struct sockaddr_in *address, struct row *rows, unsigned count)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	need(bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0, "bind");
	puts("ready");
	fflush(stdout);
	for (unsigned done = 0; done < count; done++) {
		uint8_t message[MESSAGE];
		struct sockaddr_in peer;
		socklen_t size = sizeof(peer);
		ssize_t length =
			recvfrom(fd, message, MESSAGE / 2, 0, (struct sockaddr *)&peer, &size);
		uint64_t taken_ns = now_ns();
		need(length > HEADER, "recvfrom");
		unsigned number = number_of(message);
		need(number < count, "a foreign query");
		size_t whole = write_answer(message, (size_t)length, number);
		rows[number] = (struct row){taken_ns, now_ns(), number % RCODES};
		need(sendto(fd, message, whole, 0, (struct sockaddr *)&peer, size) > 0, "sendto");
	}
}

static void ask_round(const int *fds, struct row *rows, unsigned first, unsigned count)
{
	uint8_t message[MESSAGE];
	for (unsigned i = 0; i < count; i++) {
		unsigned number = first + i;
		size_t length = write_query(message, (uint16_t)(number / SOCKETS), number);
		rows[number].from_ns = now_ns();
		need(send(fds[number % SOCKETS], message, length, 0) > 0, "send");
	}
	for (unsigned i = 0; i < count; i++) {
		need(recv(fds[(first + i) % SOCKETS], message, sizeof(message), 0) > HEADER,
		     "recv");
		unsigned number = number_of(message);
		rows[number].to_ns = now_ns();
		rows[number].rcode = message[3] & 15;
	}
}

static void ask_all(const struct sockaddr_in *address, struct row *rows, unsigned count)
{
	int fds[SOCKETS];
	for (int i = 0; i < SOCKETS; i++) {
		fds[i] = socket(AF_INET, SOCK_DGRAM, 0);
		setsockopt(fds[i], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 20},
			   sizeof(struct timeval));
		need(connect(fds[i], (const struct sockaddr *)address, sizeof(*address)) == 0,
		     "connect");
	}
	for (unsigned first = 0; first < count; first += SOCKETS * ROUND) {
		unsigned left = count - first;
		ask_round(fds, rows, first, left < SOCKETS * ROUND ? left : SOCKETS * ROUND);
	}
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(argv[3]))};
	need(inet_pton(AF_INET, argv[2], &address.sin_addr) == 1, "address");
	unsigned count = (unsigned)atoi(argv[4]);
	struct row *rows = calloc(count, sizeof(*rows));
	need(rows != NULL, "calloc");
	int asks = strcmp(argv[1], "ask") == 0;
	(asks ? ask_all : answer_all)(&address, rows, count);
	for (unsigned i = 0; i < count; i++)
		printf("%u %llu %llu %u\n", i, (unsigned long long)rows[i].from_ns,
		       (unsigned long long)rows[i].to_ns, rows[i].rcode);
	return 0;
}
