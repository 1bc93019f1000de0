/* How to reach a cluster's API server and as whom: from the files that a pod is given, or from a
 * kubeconfig (k8s.io/client-go, clientcmd/api/v1). Of a kubeconfig is read what stands still:
 * server, authority, client certificate, token. Plugins that are to be executed are refused, as
 * are passwords, which no server takes any more. Read at start; plain data, any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
	KUBE_WHY_BYTES = 512,
	KUBE_TOKEN_MAX = 16384, /* bytes; a projected token has about 1,200 */
};

struct kube_config {
	char *server; /* https://host:port, perhaps with a path; no slash at its end */
	/* Of each pair at most one is given; the texts are PEM. */
	char *ca_path, *ca;
	char *certificate_path, *certificate;
	char *key_path, *key;
	char *token_path, *token;
	bool insecure; /* any certificate will do */
};

/* The pod's own: the folder is where its service account is mounted (NULL: where Kubernetes does),
 * the server's address stands in the environment. 0 or -errno with why. */
int kube_config_in_cluster(const char *folder, struct kube_config *config,
			   char why[KUBE_WHY_BYTES]);
/* The file's context, or its current one if that is NULL. Paths in it start at its folder. 0 or
 * -errno with why, which holds no secret. */
int kube_config_load(const char *path, const char *context, struct kube_config *config,
		     char why[KUBE_WHY_BYTES]);
void kube_config_free(struct kube_config *config);

/* The token to send now: files are read anew each time, since what is mounted in a pod changes
 * within the hour. 0; -ENOENT if none is configured; or -errno with why. */
int kube_config_token(const struct kube_config *config, char token[KUBE_TOKEN_MAX + 1],
		      char why[KUBE_WHY_BYTES]);
