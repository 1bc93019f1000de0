/* What DNS answers said of addresses: who asked for which name, and was given which address, when.
 * A connection that a process opens to an address is to the name for which it was given that
 * address last before, or else another process of its node was:
 *
 *	asks for a    |--------- its validity ---------|
 *	asks for b            |--------- its validity ---------|
 *	connects   ?  a   a   b     b      b      b     b      b    ? nobody asked, or too long ago
 *
 * So a name is never looked up backwards, and what an answer says of later is not believed of
 * before. A connection has its name from the moment at which it began: what ends afterwards changes
 * nothing. Answers of one process are found by (node, pid, address), those of all of a node under
 * pid 0, the newest first. Bounds: answers_max, of one key ANSWERS_OF_KEY_MAX; the oldest makes
 * room and is counted. */
#include <string.h>

#include "base/memory.h"
#include "ingest/state.h"

enum {
	ANSWERS_OF_KEY_MAX = 16, /* names of one address that are asked for by turns */
	/* Programs go on with an answer for longer than it allows: a JVM for 30 s, pools and
	 * proxies until they connect next. And a name that is good for a day is asked for again
	 * each hour or so by what still uses it. */
	VALID_LEAST_S = 60,
	VALID_GREATEST_S = 3600,
	/* An attempt is told when it failed: net.ipv4.tcp_syn_retries gives up after 127 s. */
	LATE_S = 130,
};

/* Both times are of one clock, rounded to microseconds. */
#define ANSWER_SLACK_NS (NS_PER_MS)

struct answer_entry {
	struct answer_key key;
	uint32_t newest;
	uint32_t count;
};

void answers_init(struct answers *answers, uint32_t answers_max)
{
	answers->max = answers_max;
	answers->used = 1;
	table_init(&answers->keys, sizeof(struct answer_key), sizeof(struct answer_entry));
}

void answers_done(struct answers *answers)
{
	table_done(&answers->keys);
	memory_free(answers->items);
}

static struct answer *answer_at(const struct answers *answers, uint32_t number)
{
	return &answers->items[number];
}

/* ---- coming and going ---- */

static void age_unlink(struct answers *answers, const struct answer *answer)
{
	*(answer->before ? &answer_at(answers, answer->before)->after : &answers->oldest) =
		answer->after;
	*(answer->after ? &answer_at(answers, answer->after)->before : &answers->youngest) =
		answer->before;
}

static void age_append(struct answers *answers, uint32_t number)
{
	struct answer *answer = answer_at(answers, number);
	answer->before = answers->youngest;
	answer->after = 0;
	*(answers->youngest ? &answer_at(answers, answers->youngest)->after : &answers->oldest) =
		number;
	answers->youngest = number;
}

static void answer_leave(struct mirror *mirror, uint32_t number)
{
	struct answers *answers = &mirror->answers;
	struct answer *answer = answer_at(answers, number);
	struct answer_entry *entry = table_find(&answers->keys, &answer->key);
	uint32_t *link = &entry->newest;
	while (*link != number)
		link = &answer_at(answers, *link)->older;
	*link = answer->older;
	if (!--entry->count)
		table_remove(&answers->keys, entry);
	roster_drop(mirror->roster, answer->instance);
	age_unlink(answers, answer);
	*answer = (struct answer){.after = answers->free};
	answers->free = number;
	mirror->stats.answers--;
}

/* A free place, which is not 0. */
static uint32_t answer_place(struct mirror *mirror)
{
	struct answers *answers = &mirror->answers;
	if (mirror->stats.answers == answers->max) {
		answer_leave(mirror, answers->oldest);
		mirror->stats.answers_evicted++;
	}
	uint32_t number = answers->free;
	if (number) {
		answers->free = answer_at(answers, number)->after;
		return number;
	}
	if (answers->used >= answers->room) {
		answers->room = (uint32_t)memory_grown(answers->room, answers->used + 1);
		answers->items =
			memory_resize(answers->items, answers->room, sizeof(*answers->items));
	}
	return answers->used++;
}

static void answer_add(struct mirror *mirror, const struct answer *told)
{
	struct answers *answers = &mirror->answers;
	uint32_t number = answer_place(mirror);
	struct answer_entry *entry = table_put(&answers->keys, &told->key);
	uint32_t *link = &entry->newest;
	while (*link && answer_at(answers, *link)->from_ns > told->from_ns)
		link = &answer_at(answers, *link)->older;
	struct answer *answer = answer_at(answers, number);
	*answer = *told;
	answer->older = *link;
	*link = number;
	entry->count++;
	age_append(answers, number);
	roster_hold(mirror->roster, answer->instance);
	mirror->stats.answers++;
}

static uint32_t oldest_of(const struct answers *answers, const struct answer_entry *entry)
{
	uint32_t number = entry->newest;
	while (answer_at(answers, number)->older)
		number = answer_at(answers, number)->older;
	return number;
}

/* ---- what was answered ---- */

/* The same again, while the former holds and is of the same boot, lengthens that, and makes it the
 * youngest. */
static bool answer_again(struct answers *answers, const struct answer_entry *entry,
			 const struct answer *told, uint64_t since_ns)
{
	struct answer *newest = answer_at(answers, entry->newest);
	if (newest->instance != told->instance || told->from_ns < newest->from_ns ||
	    told->from_ns > newest->until_ns || newest->from_ns < since_ns)
		return false;
	if (told->until_ns > newest->until_ns)
		newest->until_ns = told->until_ns;
	age_unlink(answers, newest);
	age_append(answers, entry->newest);
	return true;
}

static void answer_put(struct mirror *mirror, const struct answer *told, uint64_t since_ns)
{
	struct answers *answers = &mirror->answers;
	const struct answer_entry *entry = table_find(&answers->keys, &told->key);
	if (entry && answer_again(answers, entry, told, since_ns))
		return;
	if (entry && entry->count == ANSWERS_OF_KEY_MAX) {
		answer_leave(mirror, oldest_of(answers, entry));
		mirror->stats.answers_evicted++;
	}
	answer_add(mirror, told);
}

uint32_t name_instance(struct mirror *mirror, uint64_t name, enum resolution resolution)
{
	struct instance instance = {.workload = name, .resolution = resolution};
	instance.id = instance_id(&instance);
	return roster_put(mirror->roster, &instance, mirror->pane);
}

static uint64_t valid_ns(uint32_t ttl_s)
{
	uint32_t valid_s = ttl_s < VALID_LEAST_S      ? VALID_LEAST_S
			   : ttl_s > VALID_GREATEST_S ? VALID_GREATEST_S
						      : ttl_s;
	return valid_s * NS_PER_S;
}

void answers_take(struct apply *apply, uint32_t pid, const struct lookup_row *lookup,
		  const struct answer_row *rows)
{
	struct mirror *mirror = apply->mirror;
	uint64_t time_ns = run_time(apply->run, lookup->time_us);
	const struct {
		uint32_t pid, instance;
	} askers[] = {
		{pid, pid ? name_instance(mirror, lookup->name, RESOLUTION_DNS) : 0},
		{0, name_instance(mirror, lookup->name, RESOLUTION_NODE_DNS)},
	};
	for (size_t i = 0; i < lookup->answers; i++) {
		for (size_t asker = 0; asker < sizeof(askers) / sizeof(askers[0]); asker++) {
			struct answer told = {
				.key = {.node = apply->node->name_id,
					.address = rows[i].address,
					.pid = askers[asker].pid},
				.from_ns = time_ns,
				.until_ns = time_ns + valid_ns(rows[i].ttl_s),
				.instance = askers[asker].instance,
			};
			if (told.instance)
				answer_put(mirror, &told, apply->node->standing.answers_since_ns);
		}
	}
}

void answers_sweep(struct mirror *mirror)
{
	struct answers *answers = &mirror->answers;
	uint64_t now_ns = pane_end(mirror->pane);
	for (uint32_t step = 0; step < answers->used / SWEEP_PANES + 1; step++) {
		if (++answers->hand >= answers->used)
			answers->hand = 1;
		if (answers->hand >= answers->used)
			return;
		const struct answer *answer = answer_at(answers, answers->hand);
		if (answer->instance && answer->until_ns + LATE_S * NS_PER_S < now_ns)
			answer_leave(mirror, answers->hand);
	}
}

/* ---- who is where ---- */

static uint32_t asked_by(const struct mirror *mirror, const struct node *node, uint32_t pid,
			 const struct address *address, uint64_t time_ns)
{
	const struct answers *answers = &mirror->answers;
	const struct answer_key key = {.node = node->name_id, .address = *address, .pid = pid};
	const struct answer_entry *entry = table_find(&answers->keys, &key);
	for (uint32_t number = entry ? entry->newest : 0; number;) {
		const struct answer *answer = answer_at(answers, number);
		if (answer->from_ns <= time_ns + ANSWER_SLACK_NS && time_ns < answer->until_ns &&
		    answer->from_ns >= node->standing.answers_since_ns)
			return answer->instance;
		number = answer->older;
	}
	return 0;
}

uint32_t answer_find(const struct mirror *mirror, const struct node *node, uint32_t pid,
		     const struct address *address, uint64_t time_ns)
{
	uint32_t own = pid ? asked_by(mirror, node, pid, address, time_ns) : 0;
	return own ? own : asked_by(mirror, node, 0, address, time_ns);
}
