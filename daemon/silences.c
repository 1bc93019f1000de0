#include "daemon/silences.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/seal.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/keyring.h"
#include "daemon/outputs.h"
#include "daemon/tail.h"
#include "daemon/topics.h"

enum {
	LOOK_MS = 1000, /* at the latest: the clock may be set */
	KEEP_LOOKS = 10,
	KEY_SHOWN = 80, /* bytes; a silence's is shorter */
};

struct silences {
	struct silences_options options;
	struct silencebook *book;
	struct tail *tail;
	uv_timer_t timer;
	uint64_t next_ns; /* real time: the next beginning or end */
	uint64_t malformed;
	uint32_t looks;
	bool read_all, leads;
};

static void on_timer(uv_timer_t *timer);

/* At once when the next begins or ends. */
static void wake(struct silences *silences)
{
	uint64_t now = real_ns(), wait_ms = LOOK_MS;

	silences->next_ns = silencebook_next(silences->book, now);
	if (silences->next_ns - now < LOOK_MS * NS_PER_MS)
		wait_ms = (silences->next_ns - now) / NS_PER_MS + 1;
	uv_timer_start(&silences->timer, on_timer, wait_ms, 0);
}

static void changed(struct silences *silences)
{
	wake(silences);
	silences->options.changed(silences->options.context);
}

/* --- what the topic says --- */

static void refuse(struct silences *silences, const struct tail_record *record, const char *why)
{
	const char *key = record->key ? (const char *)record->key : "";
	int shown = record->key_length < KEY_SHOWN ? (int)record->key_length : KEY_SHOWN;
	char sentence[384];

	silences->malformed++;
	snprintf(sentence, sizeof(sentence),
		 "the record %.*s of " TOPIC_SILENCES " is passed over: %s", shown, key, why);
	silences->options.trouble(silences->options.context, sentence);
}

static bool is_under_its_key(const struct silence *silence, const struct tail_record *record)
{
	char key[SILENCE_KEY_BYTES];

	silence_key(silence, key);
	return record->key_length == strlen(key) && record->key &&
	       memcmp(record->key, key, record->key_length) == 0;
}

/* Nobody but who has the key may end a silence, so what has no value ends none: what is taken back
 * is forgotten by itself. */
static void on_record(void *context, const struct tail_record *record)
{
	struct silences *silences = context;
	char why[SILENCE_WHY_BYTES] = "";
	struct silence silence;
	bool stands;

	if (!record->value)
		return;
	if (!silence_accept(record->value, record->length, keyring_keys(silences->options.keyring),
			    &silence, why)) {
		refuse(silences, record, why);
		return;
	}
	if (!is_under_its_key(&silence, record)) {
		refuse(silences, record, "its key is another's");
		return;
	}
	stands = silencebook_take(silences->book, &silence, real_ns());
	silences->options.taken(silences->options.context, &silence, stands);
	if (silences->read_all)
		changed(silences);
}

static void on_read_all(void *context)
{
	struct silences *silences = context;

	silences->read_all = true;
	changed(silences);
}

static void on_trouble(void *context, const char *sentence)
{
	const struct silences *silences = context;

	silences->options.trouble(silences->options.context, sentence);
}

/* --- the topic's keeping --- */

static void offer(struct silences *silences, const struct silence *silence, struct encoded value)
{
	char key[SILENCE_KEY_BYTES];

	silence_key(silence, key);
	outputs_offer(silences->options.outputs, TOPIC_SILENCES, key, strlen(key), value);
}

/* Its length. */
static size_t sign(const struct silences *silences, const struct silence *silence, uint8_t *bytes,
		   bool *is_signed)
{
	const struct keys *keys = keyring_keys(silences->options.keyring);
	uint8_t key[SEAL_KEY_BYTES];
	size_t length;

	*is_signed = keys_signer(keys, key);
	length = silence_write(silence, *is_signed ? key : NULL, bytes);
	explicit_bzero(key, sizeof(key));
	return length;
}

void silences_write(struct silences *silences, const struct silence *silence)
{
	uint8_t bytes[SILENCE_BYTES_MAX];
	bool is_signed;
	size_t length = sign(silences, silence, bytes, &is_signed);

	offer(silences, silence, (struct encoded){.bytes = bytes, .length = length});
}

static void on_forgotten(void *context, const struct silence *silence)
{
	struct silences *silences = context;

	if (silences->leads)
		offer(silences, silence, (struct encoded){NULL, 0});
}

/* The keys have changed since: the former one will not be known for ever. */
static void sign_again(struct silences *silences, const struct silence *silence)
{
	uint8_t bytes[SILENCE_BYTES_MAX];
	bool is_signed;
	size_t length = sign(silences, silence, bytes, &is_signed);

	if (is_signed && memcmp(bytes + length - SEAL_MAC_BYTES, silence->mac, SEAL_MAC_BYTES) != 0)
		offer(silences, silence, (struct encoded){.bytes = bytes, .length = length});
}

static void keep(struct silences *silences)
{
	silencebook_forget(silences->book, real_ns(), on_forgotten, silences);
	for (size_t i = 0; silences->leads && i < silencebook_count(silences->book); i++)
		sign_again(silences, silencebook_at(silences->book, i));
}

/* --- life --- */

static void begin(struct silences *silences)
{
	static const char *const topics[] = {TOPIC_SILENCES, NULL};
	char error[256];

	if (silences->tail)
		return;
	silences->tail = tail_new(&(struct tail_options){.loop = silences->options.loop,
							 .brokers = silences->options.brokers,
							 .security = silences->options.security,
							 .topics = topics,
							 .context = silences,
							 .record = on_record,
							 .caught_up = on_read_all,
							 .trouble = on_trouble},
				  error, sizeof(error));
	if (!silences->tail)
		on_trouble(silences, error);
}

static void on_timer(uv_timer_t *timer)
{
	struct silences *silences = timer->data;
	bool passed = real_ns() >= silences->next_ns;

	begin(silences); /* again, where there was no room for it, for descriptors or threads */
	if (silences->read_all && silences->looks++ % KEEP_LOOKS == 0)
		keep(silences);
	if (passed)
		changed(silences);
	else
		wake(silences);
}

struct silences *silences_new(const struct silences_options *options)
{
	struct silences *silences = memory_zeroed(1, sizeof(*silences));

	silences->options = *options;
	silences->book = silencebook_new(options->silences_max, options->keep_ns);
	uv_timer_init(options->loop, &silences->timer);
	silences->timer.data = silences;
	return silences;
}

void silences_start(struct silences *silences)
{
	begin(silences);
	wake(silences);
}

void silences_lead(struct silences *silences, bool leads)
{
	silences->leads = leads;
}

bool silences_read(const struct silences *silences)
{
	return silences->read_all;
}

const struct silencebook *silences_book(const struct silences *silences)
{
	return silences->book;
}

struct silences_stats silences_stats(const struct silences *silences)
{
	return (struct silences_stats){silencebook_stats(silences->book, real_ns()),
				       silences->malformed};
}

void silences_close(struct silences *silences)
{
	if (silences->tail)
		tail_close(silences->tail);
	silences->tail = NULL;
	uv_close((uv_handle_t *)&silences->timer, NULL);
}

void silences_free(struct silences *silences)
{
	if (!silences)
		return;
	silencebook_free(silences->book);
	free(silences);
}
