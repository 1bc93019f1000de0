#include "kube/config.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/address.h"
#include "base/memory.h"

enum {
	FILE_MAX = 1 << 20, /* bytes of a kubeconfig: some hundred clusters */
	PATH_BYTES = 4096,
};

static const char account_folder[] = "/var/run/secrets/kubernetes.io/serviceaccount";

__attribute__((format(printf, 3, 4))) static int refuse(char why[KUBE_WHY_BYTES], int error,
							const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(why, KUBE_WHY_BYTES, format, arguments);
	va_end(arguments);
	return error;
}

static void free_secret(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

void kube_config_free(struct kube_config *config)
{
	free(config->server);
	free(config->ca_path);
	free(config->ca);
	free(config->certificate_path);
	free(config->certificate);
	free(config->key_path);
	free_secret(config->key);
	free(config->token_path);
	free_secret(config->token);
	*config = (struct kube_config){0};
}

static char *copy(const char *text, size_t length)
{
	char *copied = memory_resize(NULL, length + 1, 1);
	memcpy(copied, text, length);
	copied[length] = '\0';
	return copied;
}

/* At most max bytes; -EFBIG if there are more. Not a pipe, which would hold the loop. */
static int read_file(const char *path, char *bytes, size_t max, size_t *length)
{
	struct stat status;
	FILE *file = fopen(path, "rbe");
	int error = 0;
	if (!file)
		return -errno;
	if (fstat(fileno(file), &status) == 0 && !S_ISREG(status.st_mode)) {
		fclose(file);
		return -EINVAL;
	}
	*length = fread(bytes, 1, max, file);
	if (ferror(file))
		error = -EIO;
	else if (fgetc(file) != EOF)
		error = -EFBIG;
	fclose(file);
	return error;
}

/* ---- tokens ---- */

static bool is_token(const char *token)
{
	for (; *token; token++)
		if (*token <= ' ' || *token > '~')
			return false; /* it stands in a header */
	return true;
}

int kube_config_token(const struct kube_config *config, char token[KUBE_TOKEN_MAX + 1],
		      char why[KUBE_WHY_BYTES])
{
	size_t length;
	token[0] = '\0';
	if (config->token) {
		memcpy(token, config->token, strlen(config->token) + 1);
		return 0;
	}
	if (!config->token_path)
		return -ENOENT;
	int error = read_file(config->token_path, token, KUBE_TOKEN_MAX, &length);
	if (error) {
		token[0] = '\0';
		return refuse(why, error, "%s: %s", config->token_path, strerror(-error));
	}
	while (length && (token[length - 1] == '\n' || token[length - 1] == '\r'))
		length--;
	token[length] = '\0';
	if (length && strlen(token) == length && is_token(token))
		return 0;
	token[0] = '\0';
	return refuse(why, -EINVAL, "%s: it holds no token", config->token_path);
}

/* ---- in the cluster ---- */

static char *path_in(const char *folder, const char *name)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s%s%s", folder, *folder ? "/" : "", name);
	return copy(path, strlen(path));
}

int kube_config_in_cluster(const char *folder, struct kube_config *config, char why[KUBE_WHY_BYTES])
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	char server[256], token[KUBE_TOKEN_MAX + 1];
	*config = (struct kube_config){0};
	if (!host || !*host || !port || !*port)
		return refuse(why, -ENOENT,
			      "not in a cluster: KUBERNETES_SERVICE_HOST and _PORT are not set");
	snprintf(server, sizeof(server), strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s",
		 host, port);
	config->server = copy(server, strlen(server));
	config->ca_path = path_in(folder ? folder : account_folder, "ca.crt");
	config->token_path = path_in(folder ? folder : account_folder, "token");
	int error = kube_config_token(config, token, why);
	OPENSSL_cleanse(token, sizeof(token));
	if (error)
		kube_config_free(config);
	return error;
}

/* ---- kubeconfig ---- */

struct reading {
	yaml_document_t document;
	const char *path;
	char folder[PATH_BYTES]; /* of the file; empty: the process's own */
	char *why;
};

static yaml_node_t *node_of(struct reading *reading, int index)
{
	return yaml_document_get_node(&reading->document, index);
}

static const char *text_of(const yaml_node_t *node)
{
	return node && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
						      : NULL;
}

/* The value under a key; NULL: it is not there. */
static yaml_node_t *member(struct reading *reading, const yaml_node_t *map, const char *key)
{
	if (!map || map->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
	     pair < map->data.mapping.pairs.top; pair++) {
		const char *name = text_of(node_of(reading, pair->key));
		if (name && strcmp(name, key) == 0)
			return node_of(reading, pair->value);
	}
	return NULL;
}

/* A text that is there and not empty, or NULL. */
static const char *word(struct reading *reading, const yaml_node_t *map, const char *key)
{
	const yaml_node_t *node = member(reading, map, key);
	const char *text = text_of(node);
	bool null = text && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
		    (!strcmp(text, "null") || !strcmp(text, "~"));
	return text && *text && !null ? text : NULL;
}

/* Whether anything but an empty word stands there. */
static bool given(struct reading *reading, const yaml_node_t *map, const char *key)
{
	const yaml_node_t *node = member(reading, map, key);
	return node && (node->type != YAML_SCALAR_NODE || word(reading, map, key));
}

/* Of a list of {name, <kind>} the one of that name. */
static yaml_node_t *named(struct reading *reading, const char *list, const char *kind,
			  const char *name)
{
	yaml_node_t *root = yaml_document_get_root_node(&reading->document);
	const yaml_node_t *items = member(reading, root, list);
	if (!items || items->type != YAML_SEQUENCE_NODE)
		return NULL;
	for (const yaml_node_item_t *item = items->data.sequence.items.start;
	     item < items->data.sequence.items.top; item++) {
		const yaml_node_t *entry = node_of(reading, *item);
		const char *called = word(reading, entry, "name");
		if (called && strcmp(called, name) == 0)
			return member(reading, entry, kind);
	}
	return NULL;
}

static char *full_path(const struct reading *reading, const char *path)
{
	return path[0] == '/' ? copy(path, strlen(path)) : path_in(reading->folder, path);
}

/* PEM in base64; NULL: it is none. */
static char *decoded(const char *text)
{
	size_t length = strlen(text);
	char *bytes = memory_zeroed(length + 1, 1);
	int size = EVP_DecodeBlock((uint8_t *)bytes, (const uint8_t *)text, (int)length);
	if (size > 0 && strstr(bytes, "-----BEGIN "))
		return bytes; /* what '=' filled up is NUL */
	free_secret(bytes);
	return NULL;
}

/* A file's path under `key`, or its content under `key`-data, which wins. */
static int take_pair(struct reading *reading, const yaml_node_t *map, const char *key, char **path,
		     char **pem)
{
	char data_key[64];
	snprintf(data_key, sizeof(data_key), "%s-data", key);
	const char *data = word(reading, map, data_key), *file = word(reading, map, key);
	if (data) {
		*pem = decoded(data);
		if (!*pem)
			return refuse(reading->why, -EINVAL, "%s: %s is no PEM in base64",
				      reading->path, data_key);
	} else if (file) {
		*path = full_path(reading, file);
	}
	return 0;
}

static int take_cluster(struct reading *reading, const yaml_node_t *cluster,
			struct kube_config *config)
{
	static const char *const refused[] = {"proxy-url", "tls-server-name"};
	const char *server = word(reading, cluster, "server");
	const char *insecure = word(reading, cluster, "insecure-skip-tls-verify");
	if (!server || (strncmp(server, "https://", 8) != 0 && strncmp(server, "http://", 7) != 0))
		return refuse(reading->why, -EINVAL,
			      "%s: the cluster's server is no https://host:port", reading->path);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (word(reading, cluster, refused[i]))
			return refuse(reading->why, -ENOTSUP, "%s: %s is not supported",
				      reading->path, refused[i]);
	size_t length = strlen(server);
	while (length && server[length - 1] == '/')
		length--;
	config->server = copy(server, length);
	config->insecure = insecure && strcmp(insecure, "true") == 0;
	return take_pair(reading, cluster, "certificate-authority", &config->ca_path, &config->ca);
}

static int take_token(struct reading *reading, const yaml_node_t *user, struct kube_config *config)
{
	const char *token = word(reading, user, "token"), *file = word(reading, user, "tokenFile");
	if (token && (strlen(token) > KUBE_TOKEN_MAX || !is_token(token)))
		return refuse(reading->why, -EINVAL, "%s: the user's token is none", reading->path);
	/* As kubectl does: the file wins, for it may change. */
	if (file)
		config->token_path = full_path(reading, file);
	else if (token)
		config->token = copy(token, strlen(token));
	return 0;
}

static int take_user(struct reading *reading, const yaml_node_t *user, struct kube_config *config)
{
	static const struct {
		const char *key, *sentence;
	} refused[] = {
		{"exec",
		 "the user's credentials come from a program (exec), which Millrace does not "
		 "run; give it a token, a tokenFile or a client certificate"},
		{"auth-provider", "the user's auth-provider is not supported; give a token, a "
				  "tokenFile or a client certificate"},
		{"username", "the user has a password, which no API server takes since Kubernetes "
			     "1.19"},
		{"as", "impersonation (as) is not supported"},
	};
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (given(reading, user, refused[i].key))
			return refuse(reading->why, -ENOTSUP, "%s: %s", reading->path,
				      refused[i].sentence);
	int error = take_pair(reading, user, "client-certificate", &config->certificate_path,
			      &config->certificate);
	if (!error)
		error = take_pair(reading, user, "client-key", &config->key_path, &config->key);
	if (!error &&
	    (config->certificate || config->certificate_path) != (config->key || config->key_path))
		error = refuse(reading->why, -EINVAL,
			       "%s: client-certificate and client-key go together", reading->path);
	return error ? error : take_token(reading, user, config);
}

static int take_context(struct reading *reading, const char *name, struct kube_config *config)
{
	yaml_node_t *root = yaml_document_get_root_node(&reading->document);
	if (!name)
		name = word(reading, root, "current-context");
	if (!name)
		return refuse(reading->why, -EINVAL, "%s: it names no current-context",
			      reading->path);
	const yaml_node_t *context = named(reading, "contexts", "context", name);
	if (!context)
		return refuse(reading->why, -EINVAL, "%s: there is no context %.64s", reading->path,
			      name);
	const char *cluster_name = word(reading, context, "cluster");
	const char *user_name = word(reading, context, "user");
	const yaml_node_t *cluster =
		cluster_name ? named(reading, "clusters", "cluster", cluster_name) : NULL;
	if (!cluster)
		return refuse(reading->why, -EINVAL, "%s: context %.64s has no cluster",
			      reading->path, name);
	int error = take_cluster(reading, cluster, config);
	if (error || !user_name)
		return error;
	const yaml_node_t *user = named(reading, "users", "user", user_name);
	if (!user)
		return refuse(reading->why, -EINVAL, "%s: there is no user %.64s", reading->path,
			      user_name);
	return take_user(reading, user, config);
}

/* The document is a tree in which what an alias names is not copied, so it is as large as the file.
 */
static int parse(struct reading *reading, const char *bytes, size_t length)
{
	yaml_parser_t parser;
	int error = 0;
	if (!yaml_parser_initialize(&parser))
		return refuse(reading->why, -ENOMEM, "%s: out of memory", reading->path);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const uint8_t *)bytes, length);
	if (!yaml_parser_load(&parser, &reading->document))
		error = refuse(reading->why, -EINVAL, "%s:%zu: not YAML: %s", reading->path,
			       parser.problem_mark.line + 1,
			       parser.problem ? parser.problem : "unreadable");
	yaml_parser_delete(&parser);
	return error;
}

int kube_config_load(const char *path, const char *context, struct kube_config *config,
		     char why[KUBE_WHY_BYTES])
{
	struct reading *reading = memory_zeroed(1, sizeof(*reading));
	char *bytes = memory_resize(NULL, FILE_MAX, 1);
	const char *slash = strrchr(path, '/');
	size_t length;
	*config = (struct kube_config){0};
	reading->path = path;
	reading->why = why;
	if (slash)
		snprintf(reading->folder, sizeof(reading->folder), "%.*s",
			 (int)(slash - path ? slash - path : 1), path);
	int error = read_file(path, bytes, FILE_MAX, &length);
	if (error) {
		refuse(why, error, "%s: %s", path, strerror(-error));
	} else if ((error = parse(reading, bytes, length)) == 0) {
		error = take_context(reading, context, config);
		yaml_document_delete(&reading->document);
	}
	if (error)
		kube_config_free(config);
	OPENSSL_cleanse(bytes, FILE_MAX);
	free(bytes);
	free(reading);
	return error;
}
