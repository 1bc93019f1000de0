/* The keys in force, handed to the tasks without a lock: the service thread reads the configuration
 * again and lays new keys out, each task takes them within a second on its own thread, and only
 * when all have are others laid out or former ones freed. So a change reaches every task within
 * SIGNING_RELOAD_MS and a second. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "daemon/settings.h"
#include "ingest/mirror.h"

struct keyring;

struct keyring_stats {
	uint64_t changes, failures; /* of the configuration; that could not be used */
	uint64_t keys;
};

/* NULL with why when the settings' keys are no good. sources: read again, NULL: never; lent. */
struct keyring *keyring_new(const struct settings *settings, const struct config_sources *sources,
			    uint32_t tasks, char why[CONFIG_ERROR_BYTES]);
void keyring_free(struct keyring *keyring); /* when the tasks are gone */

/* Service thread: the keys in force; before the tasks run, what they begin with. Lent until the
 * next reload. */
const struct keys *keyring_keys(const struct keyring *keyring);

/* Service thread: looks for a change. 1: there are other keys; 0: there are not; -errno with why:
 * what is configured now is no good, the keys stay. */
int keyring_reload(struct keyring *keyring, char why[CONFIG_ERROR_BYTES]);
struct keyring_stats keyring_stats(const struct keyring *keyring);

/* A task's thread, each second. */
void keyring_take(struct keyring *keyring, uint32_t task, struct mirror *mirror);
/* A task's thread: the keys that it has, of which the first signs its ticks.
 * Lent until the task takes others. */
const struct keys *keyring_of(const struct keyring *keyring, uint32_t task);
