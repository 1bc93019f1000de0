/* Something that happened to a workload or a node, in words: as Change of metadata.proto tells it.
 * Plain data; pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* As ChangeKind of metadata.proto. */
enum change_kind {
	CHANGE_NONE,
	CHANGE_DEPLOYED,
	CHANGE_SCALED,
	CHANGE_RESTARTED,
	CHANGE_OOM_KILLED,
	CHANGE_NODE_READY,
	CHANGE_NODE_ADDED,
	CHANGE_NODE_REMOVED,
	CHANGE_NODE_CORDONED,
	CHANGE_EDGE_APPEARED,
	CHANGE_EDGE_VANISHED,
	CHANGE_KINDS,
};

enum {
	CHANGE_NAME_BYTES = 256, /* as a name (base/name.h) and a NUL */
	CHANGE_TEXT_BYTES = 512,
};

/* Empty texts are unknown. */
struct change_event {
	uint64_t time_ns;
	uint32_t kind;			  /* enum change_kind */
	char workload[CHANGE_NAME_BYTES]; /* namespace/name; of an edge the server; or of a node */
	char node[CHANGE_NAME_BYTES];
	char instance[CHANGE_NAME_BYTES]; /* pod/container; of an edge the client */
	char before[CHANGE_NAME_BYTES], after[CHANGE_NAME_BYTES];
	char reason[CHANGE_NAME_BYTES];
};

const char *change_kind_name(uint32_t kind);	/* deployed, scaled, ... */
uint32_t change_kind_by_name(const char *name); /* CHANGE_NONE: there is none */

/* A phrase of it without its time: "deployment shop/cart v3 → v4". Cut at a character. */
void change_text(const struct change_event *change, char *text, size_t size);
