/* What really happened between two workloads, as JSON lines beside a log:
 *
 *   {"type":"fleet",...}                                          the totals
 *   {"type":"edge","client":,"server":,"port":,"protocol":,COUNTS}
 *   {"type":"lane", the same and "client_zone":,"server_zone":,"client_version":,"server_version":}
 *   {"type":"fault","kind":,"from_ns":,"to_ns":, the dimensions that it names}
 *
 * COUNTS: existed (before the agents), opened (established), failed, closed, tx_bytes, rx_bytes;
 * bytes are the client's view of what moved since the agents came. Names are as a pipeline finds
 * them; an end without an agent is its address, without zone and version.
 *
 * Reading: rows sorted by their dimensions, edges and lanes apart. Bounded by the file. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct truth_counts {
	uint64_t existed, opened, failed, closed;
	uint64_t tx_bytes, rx_bytes;
};

struct truth_row {
	char *client, *server;
	uint16_t port;
	uint8_t protocol;
	char *client_zone, *server_zone, *client_version, *server_version; /* NULL in an edge */
	struct truth_counts counts;
};

struct truth {
	struct truth_row *edges, *lanes;
	size_t edges_count, lanes_count;
	struct truth_counts total; /* of the edges */
};

/* NULL with a sentence in why. */
struct truth *truth_read(const char *path, char *why, size_t size);
void truth_free(struct truth *truth);
/* NULL if there is none. */
const struct truth_row *truth_edge(const struct truth *truth, const char *client,
				   const char *server, uint16_t port, uint8_t protocol);
