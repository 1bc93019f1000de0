/* Servers that all join tasks should know of: new ones, moved ones, and each again after a while.
 * An owner remembers the server that it was last told to be: most have one, so a connection costs a
 * comparison. */
#include "base/clock.h"
#include "ingest/state.h"

/* What the pane tells of the server so far, or NULL. */
static struct server_place *place_of(struct mirror *mirror, const struct server_key *key)
{
	struct server_place *places = mirror->servers.items;
	for (size_t i = 0; i < mirror->servers.count; i++)
		if (memcmp(&places[i].key, key, sizeof(*key)) == 0)
			return &places[i];
	return NULL;
}

static void tell(struct mirror *mirror, struct owner *owner, const struct server_key *key)
{
	/* Full: all are forgotten and so told anew, a burst instead of a gap. */
	if (mirror->servers_told.count >= mirror->options.halves_max)
		table_clear(&mirror->servers_told);
	struct told_server *told = table_put(&mirror->servers_told, key);
	bool known =
		told->instance == owner->self_id && told->pane + NAMES_REFRESH_PANES > mirror->pane;
	if (!known) {
		struct server_place *place =
			told->pane == mirror->pane ? place_of(mirror, key) : NULL;
		if (!place)
			place = queue_add(&mirror->servers, sizeof(*place));
		told->instance = owner->self_id;
		told->pane = mirror->pane;
		*place = (struct server_place){.key = *key,
					       .time_ns = pane_end(mirror->pane),
					       .instance = *roster_at(mirror->roster, owner->self)};
	}
	owner->told = *key;
	owner->told_id = owner->self_id;
	owner->told_pane = told->pane;
}

void server_seen(struct mirror *mirror, struct node *node, uint16_t place, const struct tuple *seen)
{
	struct owner *owner = &node->owners[place];
	struct server_key key = {.address = seen->server,
				 .port = seen->server_port,
				 .protocol = seen->protocol,
				 .scope = seen->scope};
	if (owner->told_id == owner->self_id && memcmp(&owner->told, &key, sizeof(key)) == 0 &&
	    owner->told_pane + NAMES_REFRESH_PANES > mirror->pane)
		return;
	if (!address_is_loopback(&key.address))
		tell(mirror, owner, &key);
}

void server_moved(struct mirror *mirror, struct owner *owner)
{
	const struct server_key key = owner->told;
	if (owner->told_id)
		tell(mirror, owner, &key);
}

void servers_forget(struct mirror *mirror)
{
	if (mirror->pane % NAMES_REFRESH_PANES)
		return;
	for (uint32_t i = 0; i < mirror->servers_told.count;) {
		struct told_server *told = table_at(&mirror->servers_told, i);
		if (told->pane + NAMES_KEEP_PANES < mirror->pane)
			table_remove(&mirror->servers_told, told);
		else
			i++;
	}
}
