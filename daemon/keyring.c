#include "daemon/keyring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/batch/keys.h"
#include "base/memory.h"
#include "kafka/signing.h"

struct keyring {
	const struct config_sources *sources;
	struct keys *_Atomic laid_out;	      /* the newest */
	struct keys *former;		      /* that some task may still have */
	const struct keys *_Atomic *of_tasks; /* each as its task has it */
	uint32_t tasks;
	struct keyring_stats stats;
};

struct keyring *keyring_new(const struct settings *settings, const struct config_sources *sources,
			    uint32_t tasks, char why[CONFIG_ERROR_BYTES])
{
	struct keys *keys;
	if (signing_keys(&settings->signing, &keys, why))
		return NULL;
	struct keyring *keyring = memory_zeroed(1, sizeof(*keyring));
	keyring->sources = sources;
	keyring->tasks = tasks;
	keyring->of_tasks = memory_zeroed(tasks, sizeof(*keyring->of_tasks));
	atomic_init(&keyring->laid_out, keys);
	for (uint32_t i = 0; i < tasks; i++)
		atomic_init(&keyring->of_tasks[i], keys);
	return keyring;
}

void keyring_free(struct keyring *keyring)
{
	if (!keyring)
		return;
	keys_free(atomic_load(&keyring->laid_out));
	keys_free(keyring->former);
	free((void *)keyring->of_tasks);
	free(keyring);
}

const struct keys *keyring_keys(const struct keyring *keyring)
{
	return atomic_load(&keyring->laid_out);
}

static bool all_have(const struct keyring *keyring, const struct keys *keys)
{
	for (uint32_t i = 0; i < keyring->tasks; i++)
		if (atomic_load(&keyring->of_tasks[i]) != keys)
			return false;
	return true;
}

int keyring_reload(struct keyring *keyring, char why[CONFIG_ERROR_BYTES])
{
	struct keys *present = atomic_load(&keyring->laid_out), *keys;
	if (!keyring->sources || !all_have(keyring, present))
		return 0; /* the next look finds the change as well */
	keys_free(keyring->former);
	keyring->former = NULL;
	int error = signing_reload(&settings_table, keyring->sources,
				   offsetof(struct settings, signing), &keys, why);
	if (!error && !keys_count(keys) != !keys_count(present)) {
		snprintf(why, CONFIG_ERROR_BYTES, "checking is turned on and off by a restart");
		keys_free(keys);
		error = -EINVAL;
	}
	if (error) {
		keyring->stats.failures++;
		return error;
	}
	if (keys_same(keys, present)) {
		keys_free(keys);
		return 0;
	}
	keyring->former = present;
	keyring->stats.changes++;
	atomic_store(&keyring->laid_out, keys);
	return 1;
}

struct keyring_stats keyring_stats(const struct keyring *keyring)
{
	struct keyring_stats stats = keyring->stats;
	stats.keys = keys_count(atomic_load(&keyring->laid_out));
	return stats;
}

void keyring_take(struct keyring *keyring, uint32_t task, struct mirror *mirror)
{
	const struct keys *keys = atomic_load(&keyring->laid_out);
	if (keys == atomic_load(&keyring->of_tasks[task]))
		return;
	mirror_keys(mirror, keys);
	atomic_store(&keyring->of_tasks[task], keys);
}

const struct keys *keyring_of(const struct keyring *keyring, uint32_t task)
{
	return atomic_load(&keyring->of_tasks[task]);
}
