/* What the batches are signed with: the configuration's first key, followed while it changes.
 * Whether batches are signed at all is decided at the start. The loop's thread. */
#pragma once

#include <uv.h>

#include "agent/batch/batch.h"
#include "agent/options.h"

struct signer;

struct signer_options {
	uv_loop_t *loop;
	const struct agent_options *options;
	const struct config_sources *sources; /* read again; NULL: never. Lent. */
};

struct signer_stats {
	uint64_t changes, failures; /* reloads with other keys; that could not be used */
};

/* 0, or -EINVAL after having told why. Its handles do not keep the loop alive. */
int signer_new(struct signer **out, const struct signer_options *options);
/* The first key of this node; NULL: nothing is signed. */
const uint8_t *signer_key(const struct signer *signer);
const struct keys *signer_keys(const struct signer *signer); /* lent until the loop goes on */
/* From now on the batch's key and the sender's key_id follow. Both lent. */
void signer_follow(struct signer *signer, struct batch *batch, struct batch_sender *sender);
struct signer_stats signer_stats(const struct signer *signer);
/* No more reloads; the loop must run on until its handles are gone. */
void signer_stop(struct signer *signer);
/* When the loop has ended. */
void signer_free(struct signer *signer);
