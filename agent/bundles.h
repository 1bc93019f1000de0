/* The files in which container runtimes keep what they know of a container: Docker's
 * config.v2.json, containerd's and CRI-O's bundles, containers/storage of podman (rootful and
 * rootless) and CRI-O. Only regular files of at most 4 MiB are read, none through a symbolic link
 * in its last part. Reads files; any thread. */
#pragma once

#include <stdbool.h>

#include "agent/container.h"
#include "agent/description.h"

/* Lent for the call. NULL or "": that runtime is not looked for. */
struct bundle_roots {
	const char *docker;	 /* /var/lib/docker */
	const char *containerd;	 /* /run/containerd */
	const char *storage;	 /* /var/lib/containers/storage */
	const char *storage_run; /* /run/containers/storage */
	const char *users;	 /* /etc/passwd: homes of rootless users */
	struct label_choice labels;
};

/* False: no file tells of it. */
bool bundle_read(const struct bundle_roots *roots, const struct container_path *path,
		 struct description *out);
