/* What is told of a cluster, and flows to ends without an agent, for tests of who they are. */
#pragma once

#include "tests/conformance/run.h"

/* What is told of the cluster, in texts; times are those of the log. */
static inline void tell(struct log *log, uint64_t told_ns, Millrace__V1__Metadata *metadata,
			const char *kind, const char *uid, uint64_t from_ns, uint64_t until_ns)
{
	char id[128];

	snprintf(id, sizeof(id), "/%s/%s/0", kind, uid);
	metadata->id = id;
	metadata->version = 1;
	metadata->from_ns = LOG_START_NS + from_ns;
	metadata->until_ns = until_ns ? LOG_START_NS + until_ns : 0;
	metadata->observed_ns = LOG_START_NS + (until_ns ? until_ns : from_ns);
	log_metadata(log, told_ns, (uint32_t)(log->tolds_count % log->partitions), metadata);
}

static inline ProtobufCBinaryData address_bytes(const char *text)
{
	static struct address parsed[64];
	static unsigned next;
	struct address *address = &parsed[next++ % 64];

	assert_int_equal(address_parse(text, address), 0);
	return address_is_v4(address) ? (ProtobufCBinaryData){4, address->bytes + 12}
				      : (ProtobufCBinaryData){16, address->bytes};
}

/* address, container: NULL: none. */
static inline void tell_pod_with(struct log *log, uint64_t told_ns, const char *workload,
				 const char *uid, const char *address, const char *container,
				 uint64_t from_ns, uint64_t until_ns)
{
	Millrace__V1__PodContainer only = MILLRACE__V1__POD_CONTAINER__INIT,
				   *containers[] = {&only};
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Pod pod = MILLRACE__V1__POD__INIT;
	ProtobufCBinaryData bytes;
	char name[64];

	snprintf(name, sizeof(name), "%s-%s", workload, uid);
	pod.uid = (char *)uid;
	pod.namespace_ = (char *)"prod";
	pod.name = name;
	pod.node = (char *)"worker-9";
	pod.workload = (char *)workload;
	pod.version = (char *)"v4";
	if (address) {
		bytes = address_bytes(address);
		pod.address = &bytes;
		pod.n_address = 1;
	}
	if (container) {
		only.id = (char *)container;
		pod.containers = containers;
		pod.n_containers = 1;
	}
	metadata.pod = &pod;
	tell(log, told_ns, &metadata, "pod", uid, from_ns, until_ns);
}

static inline void tell_pod(struct log *log, uint64_t told_ns, const char *workload,
			    const char *uid, const char *address, uint64_t from_ns,
			    uint64_t until_ns)
{
	tell_pod_with(log, told_ns, workload, uid, address, NULL, from_ns, until_ns);
}

static inline void tell_node(struct log *log, const char *name, const char *address,
			     const char *zone)
{
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__ClusterNode node = MILLRACE__V1__CLUSTER_NODE__INIT;
	ProtobufCBinaryData bytes = address_bytes(address);

	node.name = (char *)name;
	node.zone = (char *)zone;
	node.address = &bytes;
	node.n_address = 1;
	metadata.node = &node;
	tell(log, 0, &metadata, "node", name, 0, 0);
}

static inline void tell_service(struct log *log, const char *name, const char *address)
{
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Service service = MILLRACE__V1__SERVICE__INIT;
	ProtobufCBinaryData bytes = address_bytes(address);

	service.uid = (char *)name;
	service.namespace_ = (char *)"prod";
	service.name = (char *)name;
	service.address = &bytes;
	service.n_address = 1;
	metadata.service = &service;
	tell(log, 0, &metadata, "service", name, 0, 0);
}

static inline void tell_range(struct log *log, const char *name, const char *address,
			      uint32_t prefix)
{
	Millrace__V1__Metadata metadata = MILLRACE__V1__METADATA__INIT;
	Millrace__V1__Range range = MILLRACE__V1__RANGE__INIT;

	range.address = address_bytes(address);
	range.prefix = prefix;
	range.name = (char *)name;
	metadata.range = &range;
	tell(log, 0, &metadata, "range", address, 0, 0);
}

/* From the one node with an agent to an address without. */
static inline void short_flow(struct log *log, uint64_t at_ns, uint32_t node, const char *from,
			      const char *to, uint64_t bytes)
{
	uint32_t client = log_connect(log, at_ns, node, from, to);

	log_send(log, at_ns + MS(100), client, bytes, 0);
	log_close(log, at_ns + MS(200), client, CLOSE_NORMAL);
}

static inline void expect_server(const struct run_flow *flow, const char *workload,
				 enum resolution resolution)
{
	assert_string_equal(flow->edge_server, workload);
	assert_string_equal(resolution_name(flow->flow.server.instance.resolution),
			    resolution_name(resolution));
}

static inline const struct run_flow *flow_to(const struct run *run, const char *place)
{
	for (size_t i = 0; i < run->flows_count; i++) {
		const struct flow *flow = &run->flows[i].flow;

		if (!strcmp(place_text(&flow->dialled, flow->dialled_port), place))
			return &run->flows[i];
	}
	fail_msg("no flow to %s", place);
	return NULL;
}
