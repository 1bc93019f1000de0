/* What a node tells of itself: its facts and its agent's state, the newest of each, kept as they
 * were told. Small, and seldom told; a record without them costs nothing here. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "ingest/state.h"

/* Facts take some 300 bytes, a state as many; labels and sentences may make it more. */
enum { ABOUT_BYTES_A_NODE = 4096 };

static void told_forget(struct mirror *mirror, struct told *told)
{
	mirror->about_bytes -= told->length;
	memory_free(told->bytes);
	*told = (struct told){0};
}

static void told_take(struct mirror *mirror, struct told *told, const ProtobufCMessage *message)
{
	size_t length = protobuf_c_message_get_packed_size(message);
	uint64_t most = (uint64_t)mirror->options.nodes_max * ABOUT_BYTES_A_NODE;
	if (mirror->about_bytes - told->length + length > most) {
		mirror->stats.about_refused++;
		return;
	}
	told_forget(mirror, told);
	told->bytes = memory_resize(NULL, length ? length : 1, 1);
	told->length = protobuf_c_message_pack(message, told->bytes);
	mirror->about_bytes += told->length;
}

/* A test that failed is known by the count that rose: of a node that is new here, when it rises
 * next. */
static void take_tests(const struct mirror *mirror, struct node *node, uint64_t failed)
{
	if (node->state.bytes && failed > node->self_tests_failed)
		node->self_test_failed_ns = mirror->clock_ns;
	node->self_tests_failed = failed;
}

void about_take(struct mirror *mirror, struct node *node, const Millrace__V1__Batch *batch)
{
	if (batch->sequence + 1 != node->standing.numbering.sequence_next)
		return; /* a later one came before it */
	if (batch->node_facts)
		told_take(mirror, &node->facts, &batch->node_facts->base);
	if (batch->agent_state) {
		take_tests(mirror, node, batch->agent_state->self_tests_failed);
		told_take(mirror, &node->state, &batch->agent_state->base);
	}
	node->news |= batch->node_facts || batch->agent_state;
}

void about_forget(struct mirror *mirror, struct node *node)
{
	told_forget(mirror, &node->facts);
	told_forget(mirror, &node->state);
	node->self_tests_failed = node->self_test_failed_ns = 0;
	node->news = true;
}
