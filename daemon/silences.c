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
	WRITTEN_A_LOOK = 256,
	ROUND_LOOKS = 59, /* in which all that is known is looked at */
	KEY_SHOWN = 80,	  /* bytes; a silence's is shorter */
};

struct silences {
	struct silences_options options;
	struct silencebook *book;
	struct acknowledgements *acknowledgements;
	struct tail *tail;
	uv_timer_t timer;
	uint64_t looked_ns; /* real time: what stood then was told */
	uint64_t malformed;
	uint32_t looks;
	size_t next; /* to be written again, if need be */
	bool read_all, leads;
};

static void on_timer(uv_timer_t *timer);

/* At once when the next begins or ends: counted from the last look, so that none passes between. A
 * look that is due earlier stays: records that come all the time must not put it off. */
static void wake(struct silences *silences)
{
	uint64_t now = real_ns(), wait_ms = LOOK_MS;
	uint64_t next_ns = silencebook_next(silences->book, silences->looked_ns);

	if (next_ns <= now)
		wait_ms = 0;
	else if (next_ns - now < LOOK_MS * NS_PER_MS)
		wait_ms = (next_ns - now) / NS_PER_MS + 1;
	if (!uv_is_active((uv_handle_t *)&silences->timer) ||
	    uv_timer_get_due_in(&silences->timer) > wait_ms)
		uv_timer_start(&silences->timer, on_timer, wait_ms, 0);
}

static void changed(struct silences *silences)
{
	silences->looked_ns = real_ns();
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

static bool is_under(const char *key, const struct tail_record *record)
{
	return record->key && record->key_length == strlen(key) &&
	       memcmp(record->key, key, record->key_length) == 0;
}

static bool is_acknowledgement(const struct tail_record *record)
{
	size_t prefix = sizeof(ACKNOWLEDGEMENT_PREFIX) - 1;

	return record->key && record->key_length > prefix &&
	       memcmp(record->key, ACKNOWLEDGEMENT_PREFIX, prefix) == 0;
}

static bool take_acknowledgement(struct silences *silences, const struct tail_record *record,
				 bool *stands, char why[SILENCE_WHY_BYTES])
{
	const struct silences_options *options = &silences->options;
	char key[ACKNOWLEDGEMENT_KEY_BYTES];
	struct acknowledgement one;

	if (!acknowledgement_accept(record->value, record->length, keyring_keys(options->keyring),
				    &one, why))
		return false;
	acknowledgement_key(&one, key);
	if (!is_under(key, record))
		return false;
	*stands = acknowledgements_take(silences->acknowledgements, &one);
	options->acknowledged(options->context, &one, *stands);
	return true;
}

static bool take_silence(struct silences *silences, const struct tail_record *record, bool *stands,
			 char why[SILENCE_WHY_BYTES])
{
	const struct silences_options *options = &silences->options;
	char key[SILENCE_KEY_BYTES];
	struct silence silence;

	if (!silence_accept(record->value, record->length, keyring_keys(options->keyring), &silence,
			    why))
		return false;
	silence_key(&silence, key);
	if (!is_under(key, record))
		return false;
	*stands = silencebook_take(silences->book, &silence, real_ns());
	options->taken(options->context, &silence, *stands);
	return true;
}

/* The text behind the prefix of its key; false: it has another, or no room. */
static bool take_key(const struct tail_record *record, const char *prefix, char *text, size_t size)
{
	size_t skip = strlen(prefix);

	if (!record->key || record->key_length < skip || record->key_length - skip >= size ||
	    memcmp(record->key, prefix, skip) != 0)
		return false;
	memcpy(text, record->key + skip, record->key_length - skip);
	text[record->key_length - skip] = '\0';
	return true;
}

/* Nobody but who has the key may end a silence, so what has no value ends none: what we take back
 * we have forgotten, and what we know comes into the topic again, for the next start to find. */
static void on_tombstone(struct silences *silences, const struct tail_record *record)
{
	char id[SILENCE_ID_BYTES], key[ALERT_KEY_TEXT];

	if (take_key(record, SILENCE_PREFIX, id, sizeof(id)))
		silencebook_lose(silences->book, id);
	if (take_key(record, ACKNOWLEDGEMENT_PREFIX, key, sizeof(key)))
		acknowledgements_lose(silences->acknowledgements, key);
}

static void on_record(void *context, const struct tail_record *record)
{
	struct silences *silences = context;
	char why[SILENCE_WHY_BYTES] = "";
	bool good, stands = false;

	if (!record->value) {
		on_tombstone(silences, record);
		return;
	}
	good = is_acknowledgement(record) ? take_acknowledgement(silences, record, &stands, why)
					  : take_silence(silences, record, &stands, why);
	if (!good)
		refuse(silences, record, why[0] ? why : "its key is another's");
	else if (stands && silences->read_all)
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

static void offer(struct silences *silences, const char *key, struct encoded value)
{
	outputs_offer(silences->options.outputs, TOPIC_SILENCES, key, strlen(key), value);
}

/* The key that signs now, to wipe; NULL: nothing is signed. */
static const uint8_t *signer(const struct silences *silences, uint8_t key[SEAL_KEY_BYTES])
{
	return keys_signer(keyring_keys(silences->options.keyring), key) ? key : NULL;
}

static bool signed_by_another(const uint8_t *bytes, size_t length, const uint8_t *mac)
{
	return memcmp(bytes + length - SEAL_MAC_BYTES, mac, SEAL_MAC_BYTES) != 0;
}

/* again: only if the topic has it no more, or the keys have changed since: the former one will not
 * be known for ever. */
static void put_silence(struct silences *silences, const struct silence *silence, bool again)
{
	uint8_t key[SEAL_KEY_BYTES], bytes[SILENCE_BYTES_MAX];
	const uint8_t *by = signer(silences, key);
	size_t length = silence_write(silence, by, bytes);
	char id[SILENCE_KEY_BYTES];

	explicit_bzero(key, sizeof(key));
	silence_key(silence, id);
	if (!again || silence->lost || (by && signed_by_another(bytes, length, silence->mac)))
		offer(silences, id, (struct encoded){.bytes = bytes, .length = length});
}

static void put_acknowledgement(struct silences *silences, const struct acknowledgement *one,
				bool again)
{
	uint8_t key[SEAL_KEY_BYTES], bytes[SILENCE_BYTES_MAX];
	const uint8_t *by = signer(silences, key);
	size_t length = acknowledgement_write(one, by, bytes);
	char id[ACKNOWLEDGEMENT_KEY_BYTES];

	explicit_bzero(key, sizeof(key));
	acknowledgement_key(one, id);
	if (!again || one->lost || (by && signed_by_another(bytes, length, one->mac)))
		offer(silences, id, (struct encoded){.bytes = bytes, .length = length});
}

void silences_write(struct silences *silences, const struct silence *silence)
{
	put_silence(silences, silence, false);
}

void silences_acknowledge(struct silences *silences, const struct acknowledgement *one)
{
	put_acknowledgement(silences, one, false);
}

static void on_forgotten(void *context, const struct silence *silence)
{
	struct silences *silences = context;
	char id[SILENCE_KEY_BYTES];

	silence_key(silence, id);
	if (silences->leads)
		offer(silences, id, (struct encoded){NULL, 0});
}

static void on_long_ago(void *context, const struct acknowledgement *one)
{
	struct silences *silences = context;
	char id[ACKNOWLEDGEMENT_KEY_BYTES];

	acknowledgement_key(one, id);
	if (silences->leads)
		offer(silences, id, (struct encoded){NULL, 0});
}

static void keep(struct silences *silences)
{
	silencebook_forget(silences->book, real_ns(), on_forgotten, silences);
	acknowledgements_forget(silences->acknowledgements, real_ns(), on_long_ago, silences);
}

static void put_again(struct silences *silences, size_t at)
{
	size_t book = silencebook_count(silences->book);

	if (at < book)
		put_silence(silences, silencebook_at(silences->book, at), true);
	else
		put_acknowledgement(
			silences, acknowledgements_at(silences->acknowledgements, at - book), true);
}

static bool is_lost(const struct silences *silences, size_t at)
{
	size_t book = silencebook_count(silences->book);

	return at < book ? silencebook_at(silences->book, at)->lost
			 : acknowledgements_at(silences->acknowledgements, at - book)->lost;
}

/* What is lost at once. Of the rest, which another key may have signed, a part: all within a
 * minute, and while Kafka is away none more often than that, as what waits for it is not told from
 * what is still to be written. */
static void write_again(struct silences *silences)
{
	size_t count = silencebook_count(silences->book) +
		       acknowledgements_count(silences->acknowledgements);
	size_t written = 0;

	for (size_t at = 0; at < count && written < WRITTEN_A_LOOK; at++) {
		if (!is_lost(silences, at))
			continue;
		put_again(silences, at);
		written++;
	}
	for (size_t i = 0; count && i < count / ROUND_LOOKS + 1; i++) {
		size_t at = silences->next++ % count;

		if (!is_lost(silences, at))
			put_again(silences, at);
	}
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
	uint64_t now = real_ns();
	bool moved = silencebook_moved(silences->book, silences->looked_ns, now);

	silences->looked_ns = now;
	begin(silences); /* again, where there was no room for it, for descriptors or threads */
	if (silences->read_all && silences->looks++ % KEEP_LOOKS == 0)
		keep(silences);
	if (silences->read_all && silences->leads)
		write_again(silences);
	if (moved)
		changed(silences);
	else
		wake(silences);
}

struct silences *silences_new(const struct silences_options *options)
{
	struct silences *silences = memory_zeroed(1, sizeof(*silences));

	silences->options = *options;
	silences->book = silencebook_new(options->silences_max, options->keep_ns);
	silences->acknowledgements = acknowledgements_new(options->acknowledgements_max);
	uv_timer_init(options->loop, &silences->timer);
	silences->timer.data = silences;
	return silences;
}

void silences_start(struct silences *silences)
{
	begin(silences);
	silences->looked_ns = real_ns();
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

const struct acknowledgements *silences_acknowledgements(const struct silences *silences)
{
	return silences->acknowledgements;
}

struct silences_stats silences_stats(const struct silences *silences)
{
	return (struct silences_stats){
		.known = silencebook_stats(silences->book, real_ns()),
		.acknowledgements = acknowledgements_count(silences->acknowledgements),
		.malformed = silences->malformed,
	};
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
	acknowledgements_free(silences->acknowledgements);
	free(silences);
}
