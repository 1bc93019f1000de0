/* A Kubernetes API server of a cluster that stands still: pods, their replica sets, nodes and
 * services in pages made beforehand, in protobuf as a real server writes them (k8s.io/api
 * generated.proto), over HTTP/1.1 on the loopback. A pod takes some 3 KB: labels, owner, managed
 * fields, environment, conditions and the status of a container. Watches are taken and nothing
 * comes of them. What it leaves out of a real server's cost: TLS, and the making of the pages.
 *
 * A thread for each connection; new and free on one thread. */
#pragma once

#include <stdint.h>

struct cluster;

struct cluster_options {
	uint32_t pods, deployments, nodes, page;
};

struct cluster *cluster_new(const struct cluster_options *options);
const char *cluster_url(const struct cluster *cluster);
uint64_t cluster_bytes(const struct cluster *cluster); /* of all pages */
void cluster_free(struct cluster *cluster);
