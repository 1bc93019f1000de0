/* Three tables: facts by id, the newest fact of an object, and spots, which are addresses with a
 * prefix. Of a spot there is a chain of places, one a fact that names it; a fact's places are a
 * chain, too, so that it takes them along when it goes. Places name their fact by its number in the
 * table: an address is answered without a search for it, and a fact that moves there, as another
 * goes, tells its places. */
#include "metadata/census.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "base/table.h"

enum {
	SWEEP_PANES = 16, /* all facts are looked at once in so many panes */
	PREFIXES = 129,
	PREFIX_WORDS = 3,
	ADDRESSES_A_FACT = 4,  /* on average: of both families, and containers */
	SPOT_PLACES_MAX = 1024 /* an address that changes hands ten times a second */
};

struct entry {
	struct fact fact; /* first: its id is the key */
	uint64_t told_ns;
	uint32_t places; /* the first of its places */
	uint32_t pad;
};

struct object_key {
	uint64_t object;
	uint32_t kind;
	uint32_t pad;
};

struct object {
	struct object_key key;
	uint64_t newest; /* fact's id */
};

struct spot_key {
	struct address address; /* nothing is set beyond the prefix */
	uint32_t prefix;
};

struct spot {
	struct spot_key key;
	uint32_t places; /* the first of its places */
	uint32_t count;
};

struct place {
	struct spot_key spot;
	uint32_t next;	  /* of the spot; or the next free one */
	uint32_t fact;	  /* number in the table */
	uint32_t sibling; /* of the fact */
};

_Static_assert(sizeof(struct place) == 32, "two places are one cache line");

struct census {
	uint32_t facts_max;
	struct table facts, objects, spots;
	struct place *places; /* by number; 0: none */
	uint32_t places_used, places_room, places_free;
	uint32_t spots_of[PREFIXES];	 /* how many have this prefix */
	uint64_t prefixes[PREFIX_WORDS]; /* bits of those that some have */
	uint32_t hand;			 /* of the sweep */
	uint32_t ranges;		 /* of the facts */
	struct census_change *changes;
	size_t changes_count, changes_room;
	struct census_stats stats;
};

struct census *census_new(uint32_t facts_max)
{
	struct census *census = memory_zeroed(1, sizeof(*census));
	census->facts_max = facts_max;
	census->places_used = 1;
	table_init(&census->facts, sizeof(uint64_t), sizeof(struct entry));
	table_init(&census->objects, sizeof(struct object_key), sizeof(struct object));
	table_init(&census->spots, sizeof(struct spot_key), sizeof(struct spot));
	return census;
}

void census_free(struct census *census)
{
	if (!census)
		return;
	table_done(&census->facts);
	table_done(&census->objects);
	table_done(&census->spots);
	memory_free(census->places);
	memory_free(census->changes);
	memory_free(census);
}

/* ---- what changed ---- */

static void change_add(struct census *census, const struct fact *fact,
		       const struct address *address)
{
	if (census->changes_count == census->changes_room) {
		census->changes_room =
			memory_grown(census->changes_room, census->changes_count + 1);
		census->changes = memory_resize(census->changes, census->changes_room,
						sizeof(*census->changes));
	}
	struct census_change *change = &census->changes[census->changes_count++];
	*change = (struct census_change){
		.object = fact->object, .kind = fact->kind, .prefix = UINT8_MAX};
	if (!address)
		return;
	change->address = *address;
	change->prefix = fact->prefix;
}

const struct census_change *census_changes(const struct census *census, size_t *count)
{
	*count = census->changes_count;
	return census->changes;
}

void census_settle(struct census *census)
{
	census->changes_count = 0;
}

/* ---- places ---- */

static struct spot_key spot_key(const struct address *address, uint32_t prefix)
{
	struct spot_key key = {.address = *address, .prefix = prefix};
	uint32_t whole = prefix / 8;
	if (whole == sizeof(key.address.bytes))
		return key;
	key.address.bytes[whole] &= (uint8_t)(0xff00 >> prefix % 8);
	memset(key.address.bytes + whole + 1, 0, sizeof(key.address.bytes) - whole - 1);
	return key;
}

static uint32_t place_take(struct census *census)
{
	uint32_t number = census->places_free;
	if (number) {
		census->places_free = census->places[number].next;
		return number;
	}
	if (census->places_used >= census->places_room) {
		census->places_room =
			census->places_room ? census->places_room + census->places_room / 2 : 16;
		census->places =
			memory_resize(census->places, census->places_room, sizeof(*census->places));
	}
	return census->places_used++;
}

static void spots_count(struct census *census, uint32_t prefix, int more)
{
	uint64_t bit = 1ULL << prefix % 64;
	census->spots_of[prefix] += (uint32_t)more;
	if (census->spots_of[prefix])
		census->prefixes[prefix / 64] |= bit;
	else
		census->prefixes[prefix / 64] &= ~bit;
}

static struct entry *entry_at(const struct census *census, uint32_t number)
{
	return table_at(&census->facts, number);
}

static uint32_t entry_number(const struct census *census, const struct entry *entry)
{
	return (uint32_t)(entry - entry_at(census, 0));
}

static void place_add(struct census *census, struct entry *entry, const struct address *address)
{
	struct spot_key key = spot_key(address, entry->fact.prefix);
	struct spot *spot = table_put(&census->spots, &key);
	if (spot->count == SPOT_PLACES_MAX) {
		census->stats.refused++;
		return;
	}
	uint32_t number = place_take(census);
	if (!spot->count++)
		spots_count(census, key.prefix, 1);
	census->places[number] = (struct place){
		.spot = key,
		.next = spot->places,
		.fact = entry_number(census, entry),
		.sibling = entry->places,
	};
	spot->places = entry->places = number;
	census->stats.addresses++;
}

static void place_leave(struct census *census, uint32_t number)
{
	struct place *place = &census->places[number];
	struct spot *spot = table_find(&census->spots, &place->spot);
	uint32_t *link = &spot->places;
	while (*link != number)
		link = &census->places[*link].next;
	*link = place->next;
	if (!--spot->count) {
		spots_count(census, place->spot.prefix, -1);
		table_remove(&census->spots, spot);
	}
	place->next = census->places_free;
	census->places_free = number;
	census->stats.addresses--;
}

/* ---- facts ---- */

/* Of two facts of one object: the later one; ids are hashes, and decide where times do not. */
static bool is_later(const struct fact *one, const struct fact *other)
{
	if (one->from_ns != other->from_ns)
		return one->from_ns > other->from_ns;
	return one->id > other->id;
}

static struct object_key object_key(const struct fact *fact)
{
	return (struct object_key){.object = fact->object, .kind = fact->kind};
}

static void object_take(struct census *census, const struct fact *fact)
{
	struct object_key key = object_key(fact);
	struct object *object = table_put(&census->objects, &key);
	const struct entry *newest =
		object->newest ? table_find(&census->facts, &object->newest) : NULL;
	if (!newest || is_later(fact, &newest->fact))
		object->newest = fact->id;
}

/* The last one takes its number. */
static void entry_remove(struct census *census, struct entry *entry)
{
	uint32_t freed = entry_number(census, entry);
	census->ranges -= entry->fact.kind == FACT_RANGE;
	table_remove(&census->facts, entry);
	if (freed == census->facts.count)
		return;
	for (uint32_t at = entry_at(census, freed)->places; at; at = census->places[at].sibling)
		census->places[at].fact = freed;
}

static void entry_leave(struct census *census, struct entry *entry)
{
	struct object_key key = object_key(&entry->fact);
	struct object *object = table_find(&census->objects, &key);
	if (object && object->newest == entry->fact.id)
		table_remove(&census->objects, object);
	for (uint32_t number = entry->places; number;) {
		uint32_t sibling = census->places[number].sibling;
		place_leave(census, number);
		number = sibling;
	}
	entry_remove(census, entry);
}

static bool is_over(const struct fact *fact, uint64_t now_ns)
{
	return fact->until_ns < UINT64_MAX - CENSUS_LATE_NS &&
	       fact->until_ns + CENSUS_LATE_NS <= now_ns;
}

static bool has_address(const struct census *census, const struct entry *entry,
			const struct address *address)
{
	for (uint32_t number = entry->places; number; number = census->places[number].sibling)
		if (address_equal(&census->places[number].spot.address, address))
			return true;
	return false;
}

/* Whether it says just what is known. */
static bool is_known(const struct census *census, const struct entry *entry,
		     const struct fact *fact, const struct address *addresses)
{
	struct fact before = entry->fact;
	before.observed_ns = fact->observed_ns;
	if (memcmp(&before, fact, sizeof(before)) != 0)
		return false;
	for (uint32_t i = 0; i < fact->addresses_count; i++) {
		struct spot_key key = spot_key(&addresses[i], fact->prefix);
		if (!has_address(census, entry, &key.address))
			return false;
	}
	return true;
}

static void fact_changed(struct census *census, const struct entry *entry)
{
	change_add(census, &entry->fact, NULL);
	for (uint32_t number = entry->places; number; number = census->places[number].sibling)
		change_add(census, &entry->fact, &census->places[number].spot.address);
}

static bool has_room(const struct census *census, const struct fact *fact)
{
	return census->facts.count < census->facts_max &&
	       census->stats.addresses + fact->addresses_count <=
		       (uint64_t)ADDRESSES_A_FACT * census->facts_max;
}

void census_take(struct census *census, const struct fact *fact, const struct address *addresses,
		 uint64_t now_ns)
{
	struct entry *entry = table_find(&census->facts, &fact->id);
	if (fact->kind == FACT_NONE || fact->kind == FACT_CHANGE)
		return;
	if (entry && fact->observed_ns < entry->fact.observed_ns) {
		census->stats.outdated++;
		return;
	}
	if (entry && is_known(census, entry, fact, addresses)) {
		entry->fact.observed_ns = fact->observed_ns;
		entry->told_ns = now_ns;
		object_take(census, fact); /* a later one of it may have left */
		return;
	}
	if (entry) {
		fact_changed(census, entry);
		entry_leave(census, entry);
	}
	if (is_over(fact, now_ns))
		return;
	if (!has_room(census, fact)) {
		census->stats.refused++;
		return;
	}
	entry = table_put(&census->facts, &fact->id);
	entry->fact = *fact;
	entry->told_ns = now_ns;
	census->ranges += fact->kind == FACT_RANGE;
	for (uint32_t i = 0; i < fact->addresses_count; i++)
		place_add(census, entry, &addresses[i]);
	object_take(census, fact);
	fact_changed(census, entry);
}

void census_advance(struct census *census, uint64_t now_ns)
{
	uint32_t steps = census->facts.count / SWEEP_PANES + 1;
	while (census->facts.count && steps--) {
		if (census->hand >= census->facts.count)
			census->hand = 0;
		struct entry *entry = table_at(&census->facts, census->hand);
		bool over = is_over(&entry->fact, now_ns);
		if (!over && entry->told_ns + CENSUS_KEEP_NS > now_ns) {
			census->hand++;
			continue;
		}
		census->stats.expired += !over;
		entry_leave(census, entry); /* brings another here */
	}
}

/* ---- answers ---- */

/* Who may have held a spot at a time. */
struct claim {
	const struct fact *fact;
	bool rivalled;
	bool held; /* by something that is there for a time, if not at this one */
};

static bool covers(const struct fact *fact, uint64_t time_ns, uint64_t slack_ns)
{
	return time_ns + slack_ns >= fact->from_ns &&
	       (fact->until_ns == UINT64_MAX || time_ns < fact->until_ns + slack_ns);
}

/* Of two records of one object the one that held at just that time. */
static bool is_nearer(const struct fact *one, const struct fact *other, uint64_t time_ns)
{
	bool one_covers = covers(one, time_ns, 0), other_covers = covers(other, time_ns, 0);
	return one_covers != other_covers ? one_covers : is_later(one, other);
}

static void claim_weigh(struct claim *claim, const struct fact *fact, uint64_t time_ns)
{
	claim->held |= fact->kind != FACT_RANGE;
	if (!covers(fact, time_ns, CENSUS_SLACK_NS))
		return;
	if (!claim->fact || fact->kind < claim->fact->kind) {
		claim->fact = fact;
		claim->rivalled = false;
	} else if (fact->kind == claim->fact->kind) {
		claim->rivalled |= fact->object != claim->fact->object;
		if (is_nearer(fact, claim->fact, time_ns))
			claim->fact = fact;
	}
}

static struct claim spot_claim(const struct census *census, const struct spot *spot,
			       uint64_t time_ns)
{
	struct claim claim = {0};
	for (uint32_t number = spot->places; number; number = census->places[number].next) {
		const struct entry *entry = entry_at(census, census->places[number].fact);
		claim_weigh(&claim, &entry->fact, time_ns);
	}
	return claim;
}

/* Who claims the address under this prefix. */
static struct claim prefix_claim(const struct census *census, const struct address *address,
				 uint32_t prefix, uint64_t time_ns)
{
	struct spot_key key = spot_key(address, prefix);
	const struct spot *spot = table_find(&census->spots, &key);
	return spot ? spot_claim(census, spot, time_ns) : (struct claim){0};
}

/* The next prefix that some spots have, below this one; PREFIXES: none. */
static uint32_t prefix_below(const struct census *census, uint32_t prefix)
{
	while (prefix) {
		uint32_t word = (prefix - 1) / 64, above = prefix - word * 64;
		uint64_t bits = census->prefixes[word];
		if (above < 64)
			bits &= (1ULL << above) - 1;
		if (bits)
			return word * 64 + 63 - (uint32_t)__builtin_clzll(bits);
		prefix = word * 64;
	}
	return PREFIXES;
}

enum census_answer census_address(const struct census *census, const struct address *address,
				  uint64_t time_ns, const struct fact **fact)
{
	*fact = NULL;
	for (uint32_t prefix = prefix_below(census, PREFIXES); prefix < PREFIXES;
	     prefix = prefix_below(census, prefix)) {
		struct claim claim = prefix_claim(census, address, prefix, time_ns);
		if (claim.rivalled || (claim.held && !claim.fact))
			return CENSUS_AMBIGUOUS;
		if (claim.fact) {
			*fact = claim.fact;
			return CENSUS_ONE;
		}
	}
	return CENSUS_NONE;
}

static const struct fact *newest(const struct census *census, uint64_t object, enum fact_kind kind)
{
	const struct object_key key = {.object = object, .kind = kind};
	const struct object *known = object ? table_find(&census->objects, &key) : NULL;
	const struct entry *entry = known ? table_find(&census->facts, &known->newest) : NULL;
	return entry ? &entry->fact : NULL;
}

const struct fact *census_pod(const struct census *census, uint64_t uid)
{
	return newest(census, uid, FACT_POD);
}

const struct fact *census_node(const struct census *census, uint64_t name)
{
	return newest(census, name, FACT_NODE);
}

bool census_has_cluster(const struct census *census)
{
	return census->facts.count > census->ranges;
}

static size_t table_bytes(const struct table *table)
{
	return (size_t)table->capacity * sizeof(*table->places) +
	       (size_t)table->room * table->entry_size;
}

struct census_stats census_stats(const struct census *census)
{
	struct census_stats stats = census->stats;
	stats.facts = census->facts.count;
	stats.bytes = table_bytes(&census->facts) + table_bytes(&census->objects) +
		      table_bytes(&census->spots) +
		      (size_t)census->places_room * sizeof(*census->places) +
		      census->changes_room * sizeof(*census->changes);
	return stats;
}
