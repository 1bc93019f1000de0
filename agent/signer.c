#include "agent/signer.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct signer {
	struct signer_options options;
	struct keys *keys;
	uint8_t key[SEAL_KEY_BYTES]; /* the first one's, of this node */
	struct batch *batch;
	struct batch_sender *sender;
	uv_timer_t timer;
	uv_signal_t hangup;
	bool watching;
	char told[CONFIG_ERROR_BYTES]; /* the last failure */
	struct signer_stats stats;
};

static void apply(struct signer *signer)
{
	if (keys_count(signer->keys))
		keys_node_key(signer->keys, 0, signer->options.options->node, signer->key);
	if (!signer->batch)
		return;
	batch_key(signer->batch, signer_key(signer));
	signer->sender->key_id = keys_count(signer->keys) ? keys_id(signer->keys, 0) : NULL;
}

static void fail(struct signer *signer, const char *why)
{
	signer->stats.failures++;
	if (strcmp(signer->told, why) == 0)
		return;
	snprintf(signer->told, sizeof(signer->told), "%s", why);
	fprintf(stderr, "millrace-agent: the keys stay as they were: %s\n", why);
}

static void reload(struct signer *signer)
{
	char why[CONFIG_ERROR_BYTES];
	struct keys *keys;
	if (signing_reload(&agent_options_table, signer->options.sources,
			   offsetof(struct agent_options, signing), &keys, why)) {
		fail(signer, why);
		return;
	}
	if (!keys_count(keys) != !keys_count(signer->keys)) {
		fail(signer, "signing is turned on and off by a restart");
		keys_free(keys);
		return;
	}
	signer->told[0] = 0;
	if (keys_same(keys, signer->keys)) {
		keys_free(keys);
		return;
	}
	struct keys *former = signer->keys;
	signer->keys = keys;
	apply(signer);
	keys_free(former);
	signer->stats.changes++;
	fprintf(stderr, "millrace-agent: the keys have changed: batches are signed with %s%s\n",
		keys_id(keys, 0)[0] ? "keys: " : "key", keys_id(keys, 0));
}

static void on_timer(uv_timer_t *timer)
{
	reload(timer->data);
}

static void on_hangup(uv_signal_t *hangup, int number)
{
	(void)number;
	reload(hangup->data);
}

int signer_new(struct signer **out, const struct signer_options *options)
{
	struct signer *signer = memory_zeroed(1, sizeof(*signer));
	char why[CONFIG_ERROR_BYTES];
	signer->options = *options;
	if (signing_keys(&options->options->signing, &signer->keys, why)) {
		fprintf(stderr, "millrace-agent: %s\n", why);
		free(signer);
		return -EINVAL;
	}
	apply(signer);
	*out = signer;
	return 0;
}

const uint8_t *signer_key(const struct signer *signer)
{
	return keys_count(signer->keys) ? signer->key : NULL;
}

const struct keys *signer_keys(const struct signer *signer)
{
	return signer->keys;
}

void signer_follow(struct signer *signer, struct batch *batch, struct batch_sender *sender)
{
	signer->batch = batch;
	signer->sender = sender;
	apply(signer);
	uv_timer_init(signer->options.loop, &signer->timer);
	uv_signal_init(signer->options.loop, &signer->hangup);
	signer->timer.data = signer->hangup.data = signer;
	signer->watching = true;
	if (signer->options.sources) {
		uv_timer_start(&signer->timer, on_timer, SIGNING_RELOAD_MS, SIGNING_RELOAD_MS);
		uv_signal_start(&signer->hangup, on_hangup, SIGHUP);
	}
	uv_unref((uv_handle_t *)&signer->timer);
	uv_unref((uv_handle_t *)&signer->hangup);
}

struct signer_stats signer_stats(const struct signer *signer)
{
	return signer->stats;
}

void signer_stop(struct signer *signer)
{
	if (!signer || !signer->watching)
		return;
	signer->watching = false;
	uv_close((uv_handle_t *)&signer->timer, NULL);
	uv_close((uv_handle_t *)&signer->hangup, NULL);
}

void signer_free(struct signer *signer)
{
	if (!signer)
		return;
	keys_free(signer->keys);
	explicit_bzero(signer->key, sizeof(signer->key));
	free(signer);
}
