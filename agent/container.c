#include "agent/container.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

/* Containers' cgroups are named prefix + id, with ".scope" if systemd makes them. crio-conmon- and
 * the like are their monitors, not containers. */
static const struct {
	const char *prefix, *runtime;
} prefixes[] = {
	{"cri-containerd-", "containerd"},
	{"nerdctl-", "containerd"},
	{"crio-", "cri-o"},
	{"docker-", "docker"},
	{"libpod-", "podman"},
};

/* Directories and cgroup drivers' words that say whose the bare ids behind them are. */
static const struct {
	const char *part, *runtime;
} parents[] = {
	{"docker", "docker"},	  {"cri-containerd", "containerd"},
	{"k8s.io", "containerd"}, {"default", "containerd"},
	{"crio", "cri-o"},	  {"libpod_parent", "podman"},
	{"ecs", "ecs"},
};

static bool hex_id(const char *text, size_t length)
{
	if (length != 64)
		return false;
	for (size_t i = 0; i < length; i++)
		if (!isdigit((unsigned char)text[i]) && !(text[i] >= 'a' && text[i] <= 'f'))
			return false;
	return true;
}

static bool ends_with(const char *text, size_t length, const char *end)
{
	size_t n = strlen(end);
	return length > n && memcmp(text + length - n, end, n) == 0;
}

/* ECS: /ecs/<task id>/<container id>, where the container id is <32 hex>-<digits>. */
static bool ecs_id(const char *text, size_t length)
{
	if (length < 34 || length >= CONTAINER_ID_BYTES || text[32] != '-')
		return false;
	for (size_t i = 0; i < length; i++)
		if (i != 32 && !isxdigit((unsigned char)text[i]))
			return false;
	return true;
}

static void set_runtime(struct container_path *out, const char *runtime)
{
	memcpy(out->runtime, runtime, strlen(runtime) + 1);
}

static void set_id(struct container_path *out, const char *id, size_t length)
{
	memcpy(out->id, id, length);
	out->id[length] = 0;
	out->unit[0] = 0; /* the service that runs the container is the runtime */
}

/* parent: the runtime that the directories above named, "" if none did. */
static bool parse_id(const char *part, size_t length, const char *parent,
		     struct container_path *out)
{
	if (hex_id(part, length)) {
		set_id(out, part, length);
		set_runtime(out, parent);
		return true;
	}
	if (ends_with(part, length, ".scope"))
		length -= strlen(".scope");
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
		size_t n = strlen(prefixes[i].prefix);
		if (length > n && memcmp(part, prefixes[i].prefix, n) == 0 &&
		    hex_id(part + n, length - n)) {
			set_id(out, part + n, length - n);
			set_runtime(out, prefixes[i].runtime);
			return true;
		}
	}
	return false;
}

/* "user-<uid>.slice" */
static void parse_user(const char *part, size_t length, struct container_path *out)
{
	uint32_t user = 0;
	if (length < 12 || length > 21 || memcmp(part, "user-", 5) != 0 ||
	    !ends_with(part, length, ".slice"))
		return;
	for (size_t i = 5; i < length - strlen(".slice"); i++) {
		if (!isdigit((unsigned char)part[i]))
			return;
		user = user * 10 + (uint32_t)(part[i] - '0');
	}
	out->user = user;
}

static const char *parent_runtime(const char *part, size_t length)
{
	for (size_t i = 0; i < sizeof(parents) / sizeof(parents[0]); i++)
		if (strlen(parents[i].part) == length && memcmp(parents[i].part, part, length) == 0)
			return parents[i].runtime;
	return NULL;
}

/* 8-4-4-4-12 hex digits with dashes, underscores or nothing between: written with dashes. */
static bool parse_uid(const char *text, size_t length, char uid[CONTAINER_POD_BYTES])
{
	static const unsigned char dash_after[] = {8, 12, 16, 20};
	size_t digits = 0, out = 0, dashes = 0;
	for (size_t i = 0; i < length; i++) {
		if (text[i] == '-' || text[i] == '_')
			continue;
		if (!isxdigit((unsigned char)text[i]) || digits == 32)
			return false;
		if (dashes < sizeof(dash_after) && digits == dash_after[dashes]) {
			uid[out++] = '-';
			dashes++;
		}
		uid[out++] = (char)tolower((unsigned char)text[i]);
		digits++;
	}
	uid[out] = 0;
	return digits == 32;
}

/* "pod<uid>", or "kubepods[-burstable|-besteffort]-pod<uid>.slice". */
static bool parse_pod(const char *part, size_t length, struct container_path *out)
{
	if (ends_with(part, length, ".slice"))
		length -= strlen(".slice");
	if (length > 8 && memcmp(part, "kubepods", 8) == 0) {
		const char *pod = memmem(part, length, "-pod", 4);
		if (!pod)
			return false;
		length -= (size_t)(pod + 1 - part);
		part = pod + 1;
	}
	char uid[CONTAINER_POD_BYTES];
	if (length < 3 || memcmp(part, "pod", 3) != 0 || length - 3 > 36 ||
	    !parse_uid(part + 3, length - 3, uid))
		return false;
	memcpy(out->pod, uid, sizeof(uid));
	out->unit[0] = 0;
	return true;
}

static bool is_unit(const char *part, size_t length)
{
	if (length >= CONTAINER_UNIT_BYTES)
		return false;
	if (ends_with(part, length, ".service"))
		return true;
	return ends_with(part, length, ".scope") && !memmem(part, length, "-conmon-", 8);
}

bool container_parse(const char *path, struct container_path *out)
{
	memset(out, 0, sizeof(*out));
	const char *parent = "", *above;
	while (*path) {
		size_t length = strcspn(path, "/:");
		if (parse_id(path, length, parent, out) || parse_pod(path, length, out)) {
			parent = ""; /* what is inside of it may be another's */
		} else if (strcmp(parent, "ecs") == 0 && ecs_id(path, length)) {
			set_id(out, path, length);
			set_runtime(out, parent);
		} else if ((above = parent_runtime(path, length))) {
			parent = above;
		} else if (is_unit(path, length) && !out->id[0]) {
			memcpy(out->unit, path, length);
			out->unit[length] = 0;
		} else {
			parse_user(path, length, out);
		}
		path += length;
		path += *path != 0;
	}
	return out->id[0] || out->pod[0] || out->unit[0];
}
