/* The agent's own small page: GET of a few paths, for Prometheus and the kubelet. Not an HTTP
 * server: one request a connection, read whole, answered, closed.
 *
 * Bounds: CONNECTIONS_MAX at once (more are closed), 4 KiB of request, 5 s a connection. The loop's
 * thread. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <uv.h>

struct health_options {
	uv_loop_t *loop;
	const char *listen; /* host:port, numbers */
	/* Writes the body of GET path and returns the status: 200, 404 or 503. */
	int (*answer)(void *context, const char *path, FILE *body);
	void *context;
};

struct health;
int health_open(struct health **out, const struct health_options *options); /* 0 or -errno */
/* Closes all; the loop must run until its handles are gone. Frees itself then. */
void health_close(struct health *health);
