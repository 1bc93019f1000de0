/* Rules that the pipeline put into this partition: handed to every task unread, in the pane that is
 * open when they come. */
#include <string.h>

#include "base/clock.h"
#include "ingest/state.h"

enum {
	WORD = sizeof(uint64_t),
	RULE_BYTES_MAX = 4096,	     /* as rules/record.h has it */
	WAITING_WORDS_MAX = 1 << 17, /* 256 rules, as many as may stand, at their longest */
};

static size_t words_of(uint64_t length)
{
	return (size_t)((length + WORD - 1) / WORD);
}

static uint64_t *words_add(struct queue *queue, size_t words)
{
	uint64_t *at;

	queue_room(queue, queue->count + words, WORD);
	at = (uint64_t *)queue->items + queue->count;
	memset(at, 0, words * WORD);
	queue->count += words;
	return at;
}

/* In waiting: the pane, the length, the bytes. */
void rules_take(struct mirror *mirror, const Millrace__V1__Batch *batch)
{
	struct queue *waiting = &mirror->rules_waiting;

	for (size_t i = 0; i < batch->n_rules; i++) {
		const ProtobufCBinaryData *rule = &batch->rules[i];
		size_t words = words_of(rule->len);

		mirror->stats.rules++;
		if (rule->len > RULE_BYTES_MAX || waiting->count + 2 + words > WAITING_WORDS_MAX) {
			mirror->stats.rules_refused++;
			continue;
		}
		uint64_t *at = words_add(waiting, 2 + words);

		at[0] = mirror_open_pane(mirror);
		at[1] = rule->len;
		if (rule->len)
			memcpy(at + 2, rule->data, rule->len);
	}
}

void rules_tell(struct mirror *mirror)
{
	struct queue *waiting = &mirror->rules_waiting;
	const uint64_t *words = waiting->items;
	size_t taken = 0;

	mirror->rules.count = 0;
	while (taken < waiting->count && words[taken] <= mirror->pane) {
		size_t size = 1 + words_of(words[taken + 1]);

		memcpy(words_add(&mirror->rules, size), words + taken + 1, size * WORD);
		taken += 1 + size;
	}
	if (!taken)
		return;
	waiting->count -= taken;
	memmove(waiting->items, words + taken, waiting->count * WORD);
}
