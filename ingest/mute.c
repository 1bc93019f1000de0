/* Who is not heard any more. A node is mute when the log's clock is MUTE_S past the newest time of
 * which it told: its agent died, its way to Kafka is cut, or what comes is a spool that is still
 * behind. Looked at once a second of log time; a batch that is up to date ends it at once. The news
 * is of the oldest open pane, so what a pane tells does not depend on when it is closed. */
#include "base/clock.h"
#include "ingest/state.h"

enum { MUTE_S = 3 };

struct news {
	uint64_t pane;
	struct hearing hearing;
};

static void news_add(struct mirror *mirror, const struct node *node, uint64_t pane, int what)
{
	*(struct news *)queue_add(&mirror->news, sizeof(struct news)) = (struct news){
		.pane = pane,
		.hearing = {.node = node->name_id, .what = what},
	};
}

static bool is_behind(const struct mirror *mirror, const struct node *node)
{
	return node->told_ns + MUTE_S * NS_PER_S <= mirror->clock_ns;
}

void mute_check(struct mirror *mirror, struct node *node)
{
	if (node->mute || !node->told_ns || !is_behind(mirror, node))
		return;
	node->mute = true;
	news_add(mirror, node, mirror_open_pane(mirror), NODE_MUTE);
}

/* In the log's terms, and not ahead of it. Who does not tell the time speaks of now. */
static uint64_t told_time(const struct mirror *mirror, const struct node *node, uint64_t sent_ns)
{
	__int128 told_ns = (__int128)sent_ns + node->offset_ns;
	if (sent_ns == 0 || sent_ns > INT64_MAX || told_ns > (__int128)mirror->clock_ns)
		return mirror->clock_ns;
	return told_ns < 1 ? 1 : (uint64_t)told_ns;
}

/* A node that is new here may have been mute before its task forgot it. */
void mute_told(struct mirror *mirror, struct node *node, uint64_t sent_ns)
{
	bool is_new = !node->told_ns;
	uint64_t told_ns = told_time(mirror, node, sent_ns);
	if (told_ns > node->told_ns)
		node->told_ns = told_ns;
	if (!(node->mute || is_new) || is_behind(mirror, node))
		return;
	node->mute = false;
	news_add(mirror, node, mirror_open_pane(mirror), NODE_HEARD);
}

void mute_gone(struct mirror *mirror, const struct node *node)
{
	*(struct hearing *)queue_add(&mirror->hearings, sizeof(struct hearing)) =
		(struct hearing){.node = node->name_id, .what = NODE_GONE};
}

void mutes_take(struct mirror *mirror)
{
	const struct news *news = mirror->news.items;
	size_t taken = 0;
	mirror->hearings.count = 0;
	for (; taken < mirror->news.count && news[taken].pane <= mirror->pane; taken++)
		*(struct hearing *)queue_add(&mirror->hearings, sizeof(struct hearing)) =
			news[taken].hearing;
	mirror->news.count -= taken;
	if (taken)
		memmove(mirror->news.items, news + taken, mirror->news.count * sizeof(*news));
}
