/* What the join's files share. A connection has two seats, the client's and the server's; a half
 * sits in one of them and its number is the connection's and the side. Halves that sit together are
 * peers. An index finds a key's connections; where there are several (a reused port, halves that do
 * not belong together), they are a chain, newest first.
 *
 *	key --> connection --> connection     (chained through details)
 *	         | client's seat, server's seat
 *	         `-> detail: what is needed until the pair is settled and waits for no record, and
 *	             again from the first close on: openings, closings, list, chain
 *
 * Memory of a settled pair: the connection's 56 B, 7 to 8 B of index; hosts and instances are
 * shared. One that was dialled under another address has a view, 20 B, besides. Numbers, not
 * pointers, link everything, and 0 is nobody; records never move. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/roster.h"
#include "join/intern.h"
#include "join/join.h"
#include "join/order.h"

/* Halves of one key at once: more is a tuple that is reused faster than its halves pair; bounds a
 * pairing's cost. */
enum { KEY_HALVES_MAX = 2048, KEY_ALIASES_MAX = 64 };

/* Two ends' corrected clocks and the handshake's half round trip: lives that touch within this may
 * be one connection. */
#define PAIR_SLACK_NS (250 * NS_PER_MS)

enum {
	SIDES = 2,
	HASH_WORDS = 6, /* a tuple's, the last one a half */
	PID_BITS = 22,
	PID_MASK = (1 << PID_BITS) - 1, /* PID_MAX_LIMIT of Linux */
	SEAT_EXHAUSTED = 1 << 15,	/* beside enum half_flag: counted in hops_exhausted */
	SEAT_WAITED = 1 << 14,		/* and: of a pair, waited until this round */
};

/* Where a connection stands. The order is that of eviction: the first list's oldest leaves first.
 */
enum stage {
	STAGE_NONE,	   /* in no list: free, or came in this round */
	STAGE_OVER,	   /* a pair whose flow was emitted; one of its halves waits for its record
			      (HALF_WAITS), at most keep_ns */
	STAGE_TOLD,	   /* a closed half, its one-sided flow emitted; waits keep_ns for a late
			      peer */
	STAGE_FRESH,	   /* a closed half without a peer; waits one_sided_ns */
	STAGE_DONE,	   /* an open half, but its flow was emitted: the peer's close was all that
			      came for keep_ns */
	STAGE_OLD,	   /* an open half, without a peer for keep_ns; its label is final */
	STAGE_ALONE,	   /* an open half without a peer */
	STAGE_HALF_CLOSED, /* a pair of which one half is closed; waits keep_ns for the other's
			      close */
	STAGE_UNSETTLED, /* paired for less than one_sided_ns: a nearer peer may still take over */
	STAGE_WAITING,	 /* a pair of which one half waits for its record, at most keep_ns */
	STAGE_PAIRED,	 /* in no list */
	STAGES,
};

struct connection {
	uint64_t opened_ns; /* the client's; only without a detail, which has both */
	struct half_ref refs[SIDES];
	uint32_t self[SIDES];  /* roster numbers: whose half this is; of a side without a half whom
				  the other's node looked up there, or 0 */
	uint32_t hosts[SIDES]; /* with the ports, the key */
	uint16_t ports[SIDES];
	uint32_t more;		 /* detail; without one: the client's view; else its connect_us */
	uint32_t present : 2;	 /* bits by side, as the next two */
	uint32_t changed : 2;	 /* needs a label in this round */
	uint32_t told : 2;	 /* a flow of this half was emitted */
	uint32_t mapped_out : 1; /* the client half is to look for an alias to go on by */
	uint32_t mapped_in : 1;	 /* an alias may name the true client */
	uint32_t client_pid : PID_BITS;
	uint32_t touched : 1; /* in this round's list */
	uint32_t crowded : 1; /* the key has or had other connections */
	uint32_t stage : 4;
	uint32_t detailed : 1, viewed : 1; /* what `more` is */
	uint32_t settled : 1;		   /* the halves stay together whatever comes */
	uint32_t failed : 1;		   /* an attempt: never pairs */
	uint32_t
		stood_for : 1; /* alone, and the other end of its former self counts (failover.c) */
	uint32_t seeks : 1;    /* a half came, closed or was parted: a peer is to be looked for */
	uint32_t server_pid : PID_BITS;
};

_Static_assert(sizeof(struct connection) == 56, "a settled pair fits in a cache line");

struct seat {
	uint64_t opened_ns;
	uint32_t view; /* 0: the half sees the key, through no hop */
	uint32_t closing;
	uint32_t connect_us;
	uint16_t flags; /* enum half_flag, SEAT_EXHAUSTED */
	uint8_t hops;
	uint8_t panes_alone; /* guessed roles only: panes since it came, up to its visit or its
				return */
};

struct detail {
	struct seat seats[SIDES];
	uint32_t next;	       /* connection of the same key */
	uint32_t older, newer; /* of the stage's list */
	uint32_t since_pane;   /* that put it into its stage; modulo 2^32 */
};

_Static_assert(sizeof(struct detail) == 64, "a detail is one cache line");

/* What a half's socket has where the key is another. */
struct view {
	uint32_t hosts[SIDES];
	uint16_t ports[SIDES];
	uint32_t connect_us; /* while there is no detail to hold it */
	uint32_t hops;	     /* as well */
};

struct closing {
	uint64_t time_ns;
	struct traffic total;
	uint32_t reason;
	uint32_t min_rtt_us;
	uint32_t lost;
	uint32_t pid;
};

/* An address in its network. Both hosts of a key have its scope and protocol. */
struct host {
	struct address address;
	uint32_t scope;
	uint8_t protocol;
	uint8_t pad[3];
	uint32_t users;
	uint32_t instance : 30; /* roster number of the address as an end without an agent that
				   nothing more is known of; 0: not asked for yet */
	uint32_t asked : 1;	/* who is there, for some label */
	uint32_t renamed : 1;	/* in this pane the census was told more of it */
};

enum { HOST_INSTANCE_MAX = (1 << 30) - 1 };

_Static_assert(sizeof(struct host) == 32, "two hosts are one cache line");

/* A mapping is found out of `from` and into `to`, as far as those keys are this task's. */
enum way { WAY_OUT, WAY_IN, WAYS };

struct alias {
	struct tuple keys[WAYS]; /* from, to */
	uint64_t node;
	uint64_t begin_ns, end_ns; /* end: UINT64_MAX while it stands */
	uint64_t latest_ns;	   /* event time of its newest announcement */
	uint64_t since_ns;	   /* end of the pane of its last announcement or its deletion */
	uint32_t next[WAYS];	   /* of the same key */
	uint32_t older, newer;
	bool owned[WAYS]; /* which of its keys this task owns: it is found by those */
};

struct server {
	uint64_t time_ns; /* told last */
	uint32_t instance;
};

struct list {
	uint32_t oldest, newest;
};

/* Records by number, at most as many as it was made for; memory is touched only as it is used. A
 * free record's first word is the next free number. */
struct pool {
	void *items;
	uint32_t item_size;
	uint32_t fresh, free;
};

/* Grows by doubling and keeps its memory: one pane's worth of something. */
struct array {
	void *items;
	size_t count, capacity;
};

struct hop_bucket {
	struct array opens, closes, instances;
};

struct label_bucket {
	struct array labels, instances;
};

/* That became a pair; the number may be another's by now, of a later pane. */
struct settling {
	uint32_t at;
	uint32_t pane; /* as the detail's since_pane */
};

struct guesser {
	uint32_t number;
	struct half_ref ref; /* the number may have another half by now */
};

/* What is looked up ahead for an opening: hashes of its key and the key's hosts, and whose it is.
 */
struct arrival {
	uint64_t key, hosts[SIDES];
	bool hosts_known; /* only of keys that seem new */
	uint32_t self;	  /* roster number */
};

struct edge_cache {
	uint64_t client, server, port_protocol, id;
};

struct join {
	struct join_options options;
	uint64_t now_ns; /* end of the pane at hand */
	uint64_t pane;
	uint64_t secrets[HASH_WORDS]; /* of the tables' hash */
	struct roster *roster;	      /* destinations: sources */
	struct slots index;	      /* of connections: a key's newest */
	struct slots hosts_index;
	struct pool connections, details, views, closings, hosts, aliases;
	struct list stages[STAGES];
	uint32_t hand;			   /* of eviction among settled pairs */
	size_t newcomers_hand;		   /* and in touched, among those who came in this round */
	struct slots aliases_by_key[WAYS]; /* a chain's newest */
	struct list aliases_by_age;
	struct array alias_order;
	struct intern server_keys;
	struct server *servers; /* by key number */
	uint32_t server_hand;
	struct array buckets; /* struct half_bucket: this round's, lent until it has been taken */
	struct array alias_events; /* theirs, as they are put in order */
	struct array unnumbered;   /* closes that name no half; NULL once it took its own */
	struct array hearings;	   /* struct hearing: of all buckets, by node */
	struct array outages, outages_merged; /* struct outage, by node; scratch */
	uint32_t *opened_places;	      /* of those unnumbered, by ref: see pane.c */
	uint32_t opened_mask, opened_capacity;
	size_t opened_count;   /* that no opening took yet */
	struct array seekers;  /* half numbers that may find a (better) peer */
	struct array telling;  /* struct order_place: whose flows are told at the round's end */
	struct array touched;  /* connections whose stage may have changed */
	struct array settling; /* struct settling, by age; some left that stage since. At most
				  twice those of the last one_sided_ns */
	size_t settling_next;  /* none before it is due any more */
	struct array guessers; /* struct guesser: roles on or before their trial */
	struct label_bucket *labels; /* by source */
	struct array flows, flow_order, flows_sorted;
	struct edge_cache *edges;
	uint32_t *ends_put;   /* address instances, lately: roster numbers */
	struct array renamed; /* hosts of this pane, */
	struct array renamed_addresses, renamed_ranges; /* and what is not found by hosts */
	bool mapped_asked;				/* who a mapped client is, for some label */
	struct hop_bucket *hops;    /* by task, this task too; sent at the pane's end */
	struct hop_bucket own_hops; /* what this task sent itself in the round before */
	bool unfinished;	    /* the last round sent hops */
	struct join_stats stats;
};

static inline void *pool_at(const struct pool *pool, uint32_t number)
{
	return (char *)pool->items + (size_t)number * pool->item_size;
}

/* Not set. The next one to be taken is fetched. */
static inline uint32_t pool_take(struct pool *pool)
{
	uint32_t number = pool->free;
	if (!number)
		return pool->fresh++;
	memcpy(&pool->free, pool_at(pool, number), sizeof(pool->free));
	__builtin_prefetch(pool_at(pool, pool->free));
	return number;
}

static inline void pool_give(struct pool *pool, uint32_t number)
{
	memcpy(pool_at(pool, number), &pool->free, sizeof(pool->free));
	pool->free = number;
}

void *array_add_slow(struct array *array, size_t item_size);

static inline void *array_add(struct array *array, size_t item_size)
{
	if (array->count == array->capacity)
		return array_add_slow(array, item_size);
	return (char *)array->items + array->count++ * item_size;
}

void array_reserve(struct array *array, size_t count, size_t item_size);
void array_append(struct array *array, const void *items, size_t count, size_t item_size);

static inline uint32_t connection_of(uint32_t number)
{
	return number >> 1;
}

static inline unsigned side_of(uint32_t number)
{
	return number & 1;
}

static inline uint32_t number_of(uint32_t at, unsigned side)
{
	return at << 1 | side;
}

static inline struct connection *connection_at(const struct join *join, uint32_t at)
{
	return (struct connection *)join->connections.items + at;
}

static inline struct host *host_at(const struct join *join, uint32_t number)
{
	return (struct host *)join->hosts.items + number;
}

static inline struct view *view_at(const struct join *join, uint32_t number)
{
	return (struct view *)join->views.items + number;
}

static inline struct closing *closing_at(const struct join *join, uint32_t number)
{
	return (struct closing *)join->closings.items + number;
}

static inline struct alias *alias_at(const struct join *join, uint32_t number)
{
	return (struct alias *)join->aliases.items + number;
}

/* Of one that is detailed. */
static inline struct detail *detail_of(const struct join *join, const struct connection *connection)
{
	return (struct detail *)join->details.items + connection->more;
}

static inline bool half_is_here(const struct connection *connection, unsigned side)
{
	return connection->present >> side & 1;
}

static inline bool is_pair(const struct connection *connection)
{
	return connection->present == 3;
}

/* Whether its halves may still get another name for what was: their labels are not final. */
static inline bool pair_waits(const struct join *join, const struct connection *connection)
{
	if (!connection->detailed)
		return false;
	const struct seat *seats = detail_of(join, connection)->seats;
	return (seats[SIDE_CLIENT].flags | seats[SIDE_SERVER].flags) & HALF_WAITS;
}

static inline bool ref_equal(const struct half_ref *a, const struct half_ref *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static inline bool lives_touch(uint64_t a_opened_ns, uint64_t a_closed_ns, uint64_t b_opened_ns,
			       uint64_t b_closed_ns, uint64_t slack_ns)
{
	bool a_lasts = a_closed_ns > UINT64_MAX - slack_ns || b_opened_ns <= a_closed_ns + slack_ns;
	bool b_lasts = b_closed_ns > UINT64_MAX - slack_ns || a_opened_ns <= b_closed_ns + slack_ns;
	return a_lasts && b_lasts;
}

static inline uint64_t seat_closed_ns(const struct join *join, const struct seat *seat)
{
	return seat->closing ? closing_at(join, seat->closing)->time_ns : UINT64_MAX;
}

static inline __attribute__((always_inline)) uint64_t word_at(const char *words, size_t at,
							      size_t size)
{
	uint64_t word = 0;
	if (at < size)
		memcpy(&word, words + at, size - at < 8 ? 4 : 8);
	return word;
}

/* For this task's own tables, never seen outside: cheap, and its secrets are the task's own, so
 * that nobody finds keys that meet. (A sum of products is not enough for that: where all words
 * differ in their upper bits alone, it has few values, whatever the factors.) size: a constant, at
 * most 44, a multiple of 4. */
static inline __attribute__((always_inline)) uint64_t table_hash(const struct join *join,
								 const void *words, size_t size)
{
	const uint64_t *secrets = join->secrets;
	uint64_t hash = 0;
#pragma GCC unroll 3
	for (size_t at = 0; at < size; at += 16)
		hash ^= hash_fold(word_at(words, at, size) ^ secrets[at / 8],
				  word_at(words, at + 8, size) ^ secrets[at / 8 + 1]);
	return hash_fold(hash, secrets[0]);
}

/* As tuple_equal, without a call. */
static inline bool tuple_same(const struct tuple *a, const struct tuple *b)
{
	uint64_t x[5], y[5], differing = a->scope ^ b->scope;
	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	for (int i = 0; i < 5; i++)
		differing |= x[i] ^ y[i];
	return differing == 0;
}

static inline uint64_t key_hash(const struct join *join, const struct tuple *key)
{
	return table_hash(join, key, sizeof(*key));
}

static inline void connection_touch(struct join *join, uint32_t at)
{
	struct connection *connection = connection_at(join, at);
	if (connection->touched)
		return;
	connection->touched = 1;
	*(uint32_t *)array_add(&join->touched, sizeof(uint32_t)) = at;
}

/* Asks for a label in this round. */
static inline void half_change(struct join *join, uint32_t number)
{
	connection_at(join, connection_of(number))->changed |= 1U << side_of(number);
	connection_touch(join, connection_of(number));
}

/* Always in line: the compiler leaves out the call of a function that only asks for memory. */
static inline __attribute__((always_inline)) void connection_prefetch(const struct join *join,
								      uint32_t at)
{
	const char *connection = (const char *)connection_at(join, at);
	__builtin_prefetch(connection);
	__builtin_prefetch(connection + sizeof(struct connection) - 1);
}

static inline __attribute__((always_inline)) void detail_prefetch(const struct join *join,
								  uint32_t at)
{
	const struct connection *connection = connection_at(join, at);
	if (connection->detailed)
		__builtin_prefetch(detail_of(join, connection));
}

/* host.c */
void hosts_init(struct join *join, uint32_t hosts_max);
void hosts_bind(struct join *join);
void hosts_done(struct join *join);
void host_hashes(const struct join *join, const struct tuple *tuple, uint64_t hashes[SIDES]);
void hosts_hold(struct join *join, const struct tuple *tuple, const uint64_t hashes[SIDES],
		uint32_t hosts[SIDES]);
void host_drop(struct join *join, uint32_t number);
/* The roster number of who was there at that time as far as only the address says, or whom the
 * client's node looked up there. */
uint32_t host_instance(struct join *join, uint32_t number, uint64_t time_ns, uint32_t sought);
/* Of its client. */
uint32_t address_instance(struct join *join, const struct tuple *tuple, uint64_t time_ns);
/* 0: none has it. */
uint32_t host_find(const struct join *join, const struct host *wanted);
/* The roster number of the census's answer; 0: it knows nobody. */
uint32_t census_instance(struct join *join, const struct address *address, uint32_t scope,
			 uint64_t time_ns);

/* rename.c: asks for labels of whom the census names anew, once a pane. */
void renames_done(struct join *join);
void renames_take(struct join *join);

static inline struct tuple tuple_of_hosts(const struct join *join, const uint32_t hosts[SIDES],
					  const uint16_t ports[SIDES])
{
	const struct host *client = host_at(join, hosts[SIDE_CLIENT]);
	const struct host *server = host_at(join, hosts[SIDE_SERVER]);
	return (struct tuple){
		.client = client->address,
		.server = server->address,
		.client_port = ports[SIDE_CLIENT],
		.server_port = ports[SIDE_SERVER],
		.protocol = server->protocol,
		.scope = server->scope,
	};
}

/* connection.c: the pools, the chains and the lists. */
void connections_init(struct join *join);
void connections_bind(struct join *join);
void connections_done(struct join *join);

static inline struct tuple connection_key(const struct join *join,
					  const struct connection *connection)
{
	return tuple_of_hosts(join, connection->hosts, connection->ports);
}

struct tuple half_seen(const struct join *join, uint32_t number);
uint32_t connection_find(const struct join *join, const struct tuple *key, uint64_t hash);
uint32_t connection_next(const struct join *join, uint32_t at); /* of the same key */
/* Where the half sits now, which is not here yet; it may evict, and may sit down with a peer at
 * once. head: the newest connection of its key. */
uint32_t half_add(struct join *join, const struct half_open *open, struct arrival *arrival,
		  uint32_t head, uint64_t closed_ns);
void half_close(struct join *join, uint32_t number, const struct half_close *close);
void half_free(struct join *join, uint32_t number); /* its label first, if it needs one */
void pair_free(struct join *join, uint32_t at, uint64_t hash); /* both halves, labelled before */
void half_identify(struct join *join, uint32_t number, const struct half_open *open, uint32_t self);
/* The half sits down in another connection's free seat and has another number from then on. */
uint32_t half_reseat(struct join *join, uint32_t number, uint32_t at);
uint32_t connection_split(struct join *join, uint32_t at); /* the server half leaves: its number */
void connection_move(struct join *join, uint32_t at, enum stage stage); /* to the list's new end */
void peers_meet(struct join *join, uint32_t at); /* two halves now sit together */
void pair_wait_no_longer(struct join *join, struct connection *connection);
void pair_over(struct join *join, uint32_t at); /* STAGE_OVER: with their final labels */
/* The peer's close was all that came: tells the flow, what is open stays without it. */
void connection_give_up(struct join *join, uint32_t at);

/* alias.c */
void aliases_init(struct join *join);
void aliases_bind(struct join *join);
void aliases_done(struct join *join);
void aliases_take(struct join *join); /* this pane's events, in an order of their own */
void aliases_expire(struct join *join);
/* By which key a half of this side is mapped: a client half goes on from its key, a mapping leads
 * to a server half's. */
static inline enum way way_of(unsigned side)
{
	return side == SIDE_CLIENT ? WAY_OUT : WAY_IN;
}

bool alias_leads(const struct join *join, const struct tuple *key, uint64_t hash, enum way way);

static inline bool alias_marks(const struct join *join, const struct tuple *key, uint64_t hash,
			       unsigned side)
{
	enum way way = way_of(side);
	return slots_may_have(&join->aliases_by_key[way], hash) &&
	       alias_leads(join, key, hash, way);
}

/* The alias that a half of this life goes (came) through, or 0. */
uint32_t alias_of(const struct join *join, const struct tuple *key, const struct seat *seat,
		  enum way way);

/* hop.c */
bool half_hop(struct join *join, uint32_t number); /* through its alias, if there is one */
void open_send(struct join *join, const struct half_open *open, uint32_t self);
bool owns_key(const struct join *join, const struct tuple *key);
void guesser_add(struct join *join, uint32_t number);
/* In later rounds nobody goes, but who left is forgotten: it may come back to its number, and panes
 * are counted once. */
void guessers_visit(struct join *join, bool first_round);
void hops_send(struct join *join);
void hop_bucket_clear(struct hop_bucket *bucket);

/* pane.c: what a pane brought. */
void pane_take(struct join *join);

/* pair.c */
void pairs_seek(struct join *join);
void connection_seek(struct join *join, uint32_t at); /* in pairs_seek */
void half_left(struct join *join, uint32_t number);   /* by its peer: seeks again */
bool pair_certain(const struct join *join, const struct detail *detail);

/* failover.c: which half counts. */
struct counting {
	uint8_t side;
	uint32_t since; /* label's counts_since */
};

void failovers_done(struct join *join);
void failovers_take(struct join *join); /* once a pane */
void failovers_turn(struct join *join); /* at the end of ten seconds: asks for labels */
struct counting pair_counting(const struct join *join, const struct connection *connection);
struct counting alone_counting(const struct join *join, struct connection *connection,
			       unsigned side);

/* record.c: what goes out. */
void records_init(struct join *join);
void records_done(struct join *join);
/* The mapping that ends at a lone server half's key, or NULL. */
const struct tuple *client_mapped(const struct join *join, const struct connection *connection);
void label_add(struct join *join, uint32_t number);
void pair_label(struct join *join, uint32_t at); /* both halves */

/* By the client half's clock if that closed. */
static inline uint64_t flow_closed_ns(const struct join *join, const struct detail *detail)
{
	uint32_t client = detail->seats[SIDE_CLIENT].closing;
	return closing_at(join, client ? client : detail->seats[SIDE_SERVER].closing)->time_ns;
}

void flow_add(struct join *join, uint32_t at, const struct tuple *key);
/* For the flow of a pair. */
void edge_prefetch(const struct join *join, const struct connection *connection);
void labels_send(struct join *join);
void flows_send(struct join *join);

/* server.c */
void servers_init(struct join *join);
void servers_bind(struct join *join);
void servers_done(struct join *join);
void servers_take(struct join *join, const struct half_bucket *bucket);
void servers_sweep(struct join *join); /* once a pane */
/* The roster number of who serves there as far as anybody told lately, or 0. */
uint32_t server_find(const struct join *join, const struct host *host, uint16_t port);
