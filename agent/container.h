/* What a cgroup path says about who runs in it: container id, pod uid, systemd unit. Knows the
 * names that Docker, containerd, CRI-O, Podman, the kubelet (both cgroup drivers) and ECS give.
 * Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	CONTAINER_ID_BYTES = 65,
	CONTAINER_POD_BYTES = 37,
	CONTAINER_UNIT_BYTES = 256,
	CONTAINER_RUNTIME_BYTES = 12,
};

struct container_path {
	char id[CONTAINER_ID_BYTES];	       /* 64 hex; empty if it is no container's */
	char pod[CONTAINER_POD_BYTES];	       /* uid with dashes; empty if it is no pod's */
	char runtime[CONTAINER_RUNTIME_BYTES]; /* docker, containerd, cri-o, podman, ecs; empty if
						  the path does not tell */
	uint32_t user; /* whose slice it is in: of rootless containers; 0: nobody's */
	char unit[CONTAINER_UNIT_BYTES]; /* innermost systemd service or scope that is no container
					  */
};

/* path: of the cgroup in its tree, or the cgroup driver's "slice:runtime:id". Whether it is of a
 * container, a pod or a unit. */
bool container_parse(const char *path, struct container_path *out);
