#include "metadata/change.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

static const char *const names[CHANGE_KINDS] = {
	[CHANGE_NONE] = "",
	[CHANGE_DEPLOYED] = "deployed",
	[CHANGE_SCALED] = "scaled",
	[CHANGE_RESTARTED] = "restarted",
	[CHANGE_OOM_KILLED] = "oom_killed",
	[CHANGE_NODE_READY] = "node_ready",
	[CHANGE_NODE_ADDED] = "node_added",
	[CHANGE_NODE_REMOVED] = "node_removed",
	[CHANGE_NODE_CORDONED] = "node_cordoned",
	[CHANGE_EDGE_APPEARED] = "edge_appeared",
	[CHANGE_EDGE_VANISHED] = "edge_vanished",
};

const char *change_kind_name(uint32_t kind)
{
	return kind < CHANGE_KINDS ? names[kind] : "unknown";
}

uint32_t change_kind_by_name(const char *name)
{
	uint32_t kind = CHANGE_KINDS - 1;
	while (kind && strcmp(names[kind], name) != 0)
		kind--;
	return kind;
}

/* " from A to B", of which either may be missing. */
struct step {
	char text[2 * CHANGE_NAME_BYTES + 8];
};

static struct step step_of(const struct change_event *change)
{
	struct step step;
	if (change->before[0])
		snprintf(step.text, sizeof(step.text), " %s → %s", change->before,
			 change->after[0] ? change->after : "?");
	else if (change->after[0])
		snprintf(step.text, sizeof(step.text), " → %s", change->after);
	else
		step.text[0] = '\0';
	return step;
}

static const char *whose(const struct change_event *change)
{
	return change->workload[0] ? change->workload : change->node;
}

/* What of the whole is meant, where it is not all of it. */
static int phrase(const struct change_event *change, char *text, size_t size)
{
	const char *instance = change->instance[0] ? change->instance : whose(change);
	const char *on = change->node[0] && change->workload[0] ? " on " : "";
	const char *node = on[0] ? change->node : "";
	struct step step = step_of(change);
	switch (change->kind) {
	case CHANGE_DEPLOYED:
		return snprintf(text, size, "deployment %s%s", whose(change), step.text);
	case CHANGE_SCALED:
		return snprintf(text, size, "scaling %s%s replicas", whose(change), step.text);
	case CHANGE_RESTARTED:
		return snprintf(text, size, "restart of %s%s%s", instance, on, node);
	case CHANGE_OOM_KILLED:
		return snprintf(text, size, "out of memory in %s%s%s", instance, on, node);
	case CHANGE_NODE_READY:
		return snprintf(text, size, "node %s ready%s", change->node, step.text);
	case CHANGE_NODE_ADDED:
		return snprintf(text, size, "node %s added", change->node);
	case CHANGE_NODE_REMOVED:
		return snprintf(text, size, "node %s removed", change->node);
	case CHANGE_NODE_CORDONED:
		return snprintf(text, size, "node %s cordoned%s", change->node, step.text);
	case CHANGE_EDGE_APPEARED:
		return snprintf(text, size, "new edge %s -> %s:%s", change->instance,
				change->workload, change->after);
	case CHANGE_EDGE_VANISHED:
		return snprintf(text, size, "edge %s -> %s:%s vanished", change->instance,
				change->workload, change->before);
	default:
		return snprintf(text, size, "change of %s%s", whose(change), step.text);
	}
}

/* What did not fit may have ended within one. */
static void cut_at_character(char *text)
{
	size_t length = strlen(text), last = length;
	while (last && ((uint8_t)text[--last] & 0xc0) == 0x80)
		;
	if (length && !utf8_length((const uint8_t *)text + last, length - last))
		text[last] = '\0';
}

void change_text(const struct change_event *change, char *text, size_t size)
{
	int length = phrase(change, text, size);
	size_t told = length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
	if ((change->kind == CHANGE_RESTARTED || change->kind == CHANGE_NODE_READY) &&
	    change->reason[0])
		snprintf(text + told, size - told, " (%s)", change->reason);
	cut_at_character(text);
}
