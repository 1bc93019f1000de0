/* One request to an OAuth 2.0 token endpoint (RFC 6749, section 4.4: client credentials). Blocks;
 * private to kafka/. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "kafka/options.h"
#include "kafka/token.h"

enum { FETCH_TIMEOUT_MS = 10000, FETCH_CONNECT_MS = 5000 };

struct fetched {
	size_t length;
	char bytes[TOKEN_ANSWER_MAX + 1]; /* one more than is taken: what is longer shows */
};

/* 0 with a body of status 200; or -EIO, -ECANCELED soon after *ending is set, with why, which holds
 * no secret. */
int fetch_token(const struct kafka_options *options, const _Atomic bool *ending,
		struct fetched *fetched, char why[TOKEN_WHY_BYTES]);
