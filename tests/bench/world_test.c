#include "bench/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/memory.h"
#include "bench/world/shop.h"
#include "ingest/decode.h"
#include "millrace/v1/events.pb-c.h"

enum { NODES_MAX = 32, SLOTS_MAX = 4096 };

static const uint64_t start_ns = 1700000000 * NS_PER_S;

/* A socket as a reader of the batches sees it. */
struct seen {
	bool live, client;
	uint32_t generation;
	uint64_t tx_bytes, rx_bytes, told_ns;
};

/* A reader of batches: sums what they say, by the rules of events.proto. */
struct reader {
	char names[NODES_MAX][64];
	uint64_t sequences[NODES_MAX], events[NODES_MAX], sent_ns[NODES_MAX];
	struct seen sockets[NODES_MAX][SLOTS_MAX];
	size_t nodes;
	uint64_t established, failed, closed_clients, closed_servers, closes[CLOSE_REASONS];
	uint64_t client_tx, client_rx, server_tx, server_rx; /* of closes */
	uint64_t nat_added, nat_ended, containers, processes, key_frames, updates;
	uint64_t batches, heartbeats, hash, longest_silence_ns, first_failure_ns;
};

static size_t node_at(struct reader *reader, const char *name)
{
	size_t node = 0;

	while (node < reader->nodes && strcmp(reader->names[node], name) != 0)
		node++;
	if (node == reader->nodes) {
		assert_true(node < NODES_MAX);
		snprintf(reader->names[node], sizeof(reader->names[node]), "%s", name);
		reader->nodes++;
	}
	return node;
}

static void read_definitions(struct reader *reader, size_t node, const Millrace__V1__Batch *batch,
			     bool touched[SLOTS_MAX])
{
	const Millrace__V1__Definitions *d = batch->definitions;
	uint64_t time_us = batch->base_time_us;

	for (size_t i = 0; d && i < d->n_slot; i++) {
		struct seen *socket = &reader->sockets[node][d->slot[i]];
		bool again = d->flags[i] & BATCH_AGAIN;

		time_us += (uint64_t)d->dt_us[i];
		assert_true(time_us * NS_PER_US <= batch->sent_realtime_ns);
		assert_false(touched[d->slot[i]]);
		touched[d->slot[i]] = true;
		assert_int_equal(again, socket->live);
		if (again) {
			assert_int_equal(socket->generation, d->generation[i]);
			assert_true(socket->tx_bytes <= d->tx_bytes[i]);
			reader->key_frames++;
		} else {
			assert_true(d->generation[i] > socket->generation);
			reader->established += d->role[i] == MILLRACE__V1__ROLE__ROLE_CLIENT;
		}
		*socket = (struct seen){.live = true,
					.client = d->role[i] == MILLRACE__V1__ROLE__ROLE_CLIENT,
					.generation = d->generation[i],
					.tx_bytes = d->tx_bytes[i],
					.rx_bytes = d->rx_bytes[i],
					.told_ns = batch->sent_realtime_ns};
	}
}

static void read_updates(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Updates *u = batch->updates;
	uint32_t slot = 0;

	for (size_t i = 0; u && i < u->n_slot; i++) {
		struct seen *socket;

		slot += (uint32_t)u->slot[i];
		socket = &reader->sockets[node][slot];
		assert_true(socket->live);
		assert_true(batch->sent_realtime_ns - socket->told_ns <= 45 * NS_PER_S);
		socket->tx_bytes += u->tx_bytes[i];
		socket->rx_bytes += u->rx_bytes[i];
		reader->updates++;
	}
}

static void read_closes(struct reader *reader, size_t node, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__Closes *c = batch->closes;
	uint64_t time_us = batch->base_time_us;

	for (size_t i = 0; c && i < c->n_slot; i++) {
		struct seen *socket = &reader->sockets[node][c->slot[i]];

		time_us += (uint64_t)c->dt_us[i];
		assert_true(socket->live);
		assert_true(socket->tx_bytes <= c->tx_bytes[i]);
		assert_true(socket->rx_bytes <= c->rx_bytes[i]);
		socket->live = false;
		if (close_reason_is_failure(c->reason[i])) {
			reader->failed++;
			if (!reader->first_failure_ns ||
			    time_us * NS_PER_US < reader->first_failure_ns)
				reader->first_failure_ns = time_us * NS_PER_US;
		}
		*(socket->client ? &reader->closed_clients : &reader->closed_servers) += 1;
		*(socket->client ? &reader->client_tx : &reader->server_tx) += c->tx_bytes[i];
		*(socket->client ? &reader->client_rx : &reader->server_rx) += c->rx_bytes[i];
		reader->closes[c->reason[i]] += socket->client;
	}
}

static void read_nat(struct reader *reader, const Millrace__V1__Batch *batch)
{
	const Millrace__V1__NatEntries *n = batch->nat;

	for (size_t i = 0; n && i < n->n_op; i++) {
		reader->nat_added += n->op[i] == MILLRACE__V1__NAT_OP__NAT_OP_ADD;
		reader->nat_ended += n->op[i] == MILLRACE__V1__NAT_OP__NAT_OP_DELETE;
	}
}

/* Lent until the next. */
static const Millrace__V1__Batch *decode(const struct batch_bytes *bytes)
{
	static struct decoder *decoder;
	static struct decoded decoded;
	if (!decoder)
		decoder = decoder_new(&(struct decode_options){.record_bytes_max = 1 << 20});
	decoder_read(decoder, bytes->bytes, bytes->length, &decoded);
	return decoded.batch;
}

static void read_batch(void *context, const char *name, const struct batch_bytes *bytes)
{
	static bool touched[SLOTS_MAX];
	struct reader *reader = context;
	size_t node = node_at(reader, name);
	const Millrace__V1__Batch *batch = decode(bytes);

	assert_non_null(batch);
	assert_string_equal(batch->node, name);
	assert_int_equal(batch->sequence, reader->sequences[node]++);
	assert_int_equal(batch->first_event, reader->events[node]);
	reader->events[node] += batch->events;
	if (reader->sent_ns[node] &&
	    batch->sent_realtime_ns - reader->sent_ns[node] > reader->longest_silence_ns)
		reader->longest_silence_ns = batch->sent_realtime_ns - reader->sent_ns[node];
	reader->sent_ns[node] = batch->sent_realtime_ns;
	memset(touched, 0, sizeof(touched));
	read_nat(reader, batch);
	read_definitions(reader, node, batch, touched);
	read_updates(reader, node, batch);
	read_closes(reader, node, batch);
	reader->containers += batch->containers ? batch->containers->n_cgroup : 0;
	reader->processes += batch->processes ? batch->processes->n_pid : 0;
	reader->batches++;
	reader->heartbeats += batch->events == 0;
	reader->hash = hash_mix(reader->hash ^ hash_bytes(bytes->bytes, bytes->length));
}

static void drain(struct world *world, uint64_t from_ns)
{
	uint64_t now_ns = from_ns;

	world_end_all(world);
	while (world_stats(world).live > 0) {
		now_ns += WORLD_TICK_NS;
		assert_true(now_ns < from_ns + 10 * NS_PER_S);
		world_advance(world, now_ns);
	}
}

static struct world_totals run_shop(struct reader *reader, uint64_t seed, enum shop_fault fault,
				    uint64_t *fault_ns)
{
	struct shop *shop = shop_new(&(struct shop_options){.seed = seed,
							    .start_ns = start_ns,
							    .rate = 100,
							    .batch = read_batch,
							    .context = reader});
	struct world_totals sum = {0};

	shop_run(shop, start_ns + 20 * NS_PER_S);
	shop_set_fault(shop, fault);
	shop_run(shop, start_ns + 70 * NS_PER_S);
	drain(shop_world(shop), start_ns + 70 * NS_PER_S);
	for (uint32_t i = 0; i < shop_edges(); i++) {
		struct world_totals edge = world_totals(shop_world(shop), i);

		assert_true(edge.attempts > 0);
		sum.attempts += edge.attempts;
		sum.established += edge.established;
		sum.ended += edge.ended;
		sum.tx_bytes += edge.tx_bytes;
		sum.rx_bytes += edge.rx_bytes;
		sum.translated += edge.translated;
		for (int reason = 0; reason < CLOSE_REASONS; reason++)
			sum.ended_by[reason] += edge.ended_by[reason];
	}
	assert_int_equal(world_stats(shop_world(shop)).batches, reader->batches);
	assert_int_equal(world_stats(shop_world(shop)).refused_full, 0);
	*fault_ns = shop_fault_ns(shop);
	shop_free(shop);
	return sum;
}

static void what_the_batches_say_is_the_truth(void **state)
{
	(void)state;
	for (enum shop_fault fault = 0; fault < SHOP_FAULTS; fault++) {
		struct reader *reader = memory_zeroed(1, sizeof(*reader));
		uint64_t seed = 7 + fault, fault_ns;
		struct world_totals truth = run_shop(reader, seed, fault, &fault_ns);

		print_message("seed %llu\n", (unsigned long long)seed);
		assert_int_equal(truth.attempts, 7000);
		assert_int_equal(reader->established,
				 truth.attempts); /* failed ones are defined too */
		assert_int_equal(reader->failed, truth.attempts - truth.established);
		assert_int_equal(reader->closed_clients, truth.attempts);
		assert_int_equal(reader->closed_servers, truth.established);
		assert_int_equal(truth.ended, truth.established);
		assert_memory_equal(reader->closes, truth.ended_by, sizeof(truth.ended_by));
		assert_int_equal(reader->client_tx, truth.tx_bytes);
		assert_int_equal(reader->client_rx, truth.rx_bytes);
		assert_int_equal(reader->server_tx, truth.rx_bytes);
		assert_int_equal(reader->server_rx, truth.tx_bytes);
		assert_true(reader->key_frames > 0 && reader->updates > 1000);
		assert_true(reader->nat_ended >= truth.translated);
		assert_true(reader->nat_added >= reader->nat_ended);
		assert_true(reader->containers >= 2 * 33); /* at the start and in key frames */
		assert_int_equal(reader->containers, reader->processes);
		assert_int_equal(reader->nodes, 21);
		assert_true(reader->longest_silence_ns <= NS_PER_S);
		assert_int_equal(fault != SHOP_HEALTHY, fault_ns != 0);
		if (fault == SHOP_CART_REFUSED) {
			assert_true(reader->closes[CLOSE_REFUSED] > 50);
			assert_int_equal(reader->first_failure_ns / NS_PER_US,
					 fault_ns / NS_PER_US);
		}
		if (fault == SHOP_CHECKOUT_RESET)
			assert_true(reader->closes[CLOSE_RESET] > 50);
		free(reader);
	}
}

static void the_same_seed_gives_the_same_bytes(void **state)
{
	struct reader *one = memory_zeroed(1, sizeof(*one)), *two = memory_zeroed(1, sizeof(*two)),
		      *other = memory_zeroed(1, sizeof(*other));
	uint64_t fault_ns;

	(void)state;
	run_shop(one, 3, SHOP_CART_REFUSED, &fault_ns);
	run_shop(two, 3, SHOP_CART_REFUSED, &fault_ns);
	run_shop(other, 4, SHOP_CART_REFUSED, &fault_ns);
	assert_true(one->hash == two->hash);
	assert_true(one->hash != other->hash);
	free(one);
	free(two);
	free(other);
}

/* One connection between two nodes; nat of the last batch that held NAT, and the definitions. */
struct lone {
	struct batch_nat nats[4];
	size_t nats_count;
	struct tuple_text {
		char local[ADDRESS_TEXT_MAX], remote[ADDRESS_TEXT_MAX];
		uint32_t local_port, remote_port;
	} client, server;
};

static struct address address_of(const Millrace__V1__Batch *batch, uint32_t index)
{
	return address_v6(batch->addresses.data + 16UL * index);
}

static void read_lone(void *context, const char *node, const struct batch_bytes *bytes)
{
	struct lone *lone = context;
	const Millrace__V1__Batch *batch = decode(bytes);
	const Millrace__V1__NatEntries *n = batch->nat;
	const Millrace__V1__Definitions *d = batch->definitions;

	(void)node;
	for (size_t i = 0; n && i < n->n_op; i++)
		if (n->op[i] == MILLRACE__V1__NAT_OP__NAT_OP_ADD)
			lone->nats[lone->nats_count++] = (struct batch_nat){
				.original_source = address_of(batch, n->original_source[i]),
				.original_destination =
					address_of(batch, n->original_destination[i]),
				.reply_source = address_of(batch, n->reply_source[i]),
				.reply_destination = address_of(batch, n->reply_destination[i]),
				.original_source_port = (uint16_t)n->original_source_port[i],
				.original_destination_port =
					(uint16_t)n->original_destination_port[i],
				.reply_source_port = (uint16_t)n->reply_source_port[i],
				.reply_destination_port = (uint16_t)n->reply_destination_port[i]};
	for (size_t i = 0; d && i < d->n_slot; i++) {
		bool client = d->role[i] == MILLRACE__V1__ROLE__ROLE_CLIENT;
		struct tuple_text *text = client ? &lone->client : &lone->server;
		struct address local = address_of(batch, d->local[i]);
		struct address remote = address_of(batch, d->remote[i]);

		address_format(&local, text->local);
		address_format(&remote, text->remote);
		text->local_port = d->local_port[i];
		text->remote_port = d->remote_port[i];
	}
}

static bool follows(const struct batch_nat *nat, struct address *source, uint16_t *source_port,
		    struct address *destination, uint16_t *destination_port)
{
	if (!address_equal(&nat->original_source, source) ||
	    !address_equal(&nat->original_destination, destination) ||
	    nat->original_source_port != *source_port ||
	    nat->original_destination_port != *destination_port)
		return false;
	*source = nat->reply_destination;
	*source_port = nat->reply_destination_port;
	*destination = nat->reply_source;
	*destination_port = nat->reply_source_port;
	return true;
}

/* Maps the client's view through the entries, as conntrack on the way would. */
static void translation_leads_from_what_the_client_dials_to_what_the_server_sees(void **state)
{
	(void)state;
	for (enum world_nat kind = 0; kind < WORLD_NATS; kind++) {
		struct lone lone = {0};
		struct world *world = world_new(&(struct world_options){.seed = 1,
									.start_ns = start_ns,
									.nodes_max = 3,
									.programs_max = 2,
									.edges_max = 1,
									.connections_max = 1,
									.batch = read_lone,
									.context = &lone});
		struct address source, destination, at_server;
		uint16_t source_port, destination_port;
		struct world_connection connection = {.client = 0,
						      .server = 1,
						      .nat = kind,
						      .gateway = 2,
						      .dialled = address_v4(0x0a600001),
						      .dialled_port = 80,
						      .server_port = 8080,
						      .opened_ns = start_ns,
						      .connect_ns = NS_PER_MS,
						      .life_ns = 2 * NS_PER_S,
						      .srtt_us = 1000,
						      .reason = CLOSE_NORMAL};
		char text[ADDRESS_TEXT_MAX];

		for (uint32_t i = 0; i < 3; i++) {
			static const char *const names[] = {"a", "b", "gateway"};

			world_node_add(world,
				       &(struct world_node){.name = names[i],
							    .address = address_v4(0x0a000001 + i)});
		}
		for (uint32_t i = 0; i < 2; i++)
			world_program_add(
				world, &(struct world_program){
					       .node = i, .address = address_v4(0x0af40001 + i)});
		assert_true(world_open(world, &connection));
		assert_false(world_open(world, &connection)); /* connections_max */
		assert_int_equal(world_stats(world).refused_full, 1);
		world_advance(world, start_ns + NS_PER_S);

		address_parse(lone.client.local, &source);
		address_parse(lone.client.remote, &destination);
		source_port = (uint16_t)lone.client.local_port;
		destination_port = (uint16_t)lone.client.remote_port;
		for (size_t hop = 0; hop < lone.nats_count; hop++)
			for (size_t i = 0; i < lone.nats_count; i++)
				if (follows(&lone.nats[i], &source, &source_port, &destination,
					    &destination_port))
					break;
		assert_int_equal(lone.nats_count, kind == WORLD_DIRECT	     ? 0
						  : kind == WORLD_MASQUERADE ? 2
									     : 1);
		address_format(&source, text);
		assert_string_equal(text, lone.server.remote);
		assert_int_equal(source_port, lone.server.remote_port);
		address_parse(lone.server.local, &at_server);
		assert_true(address_equal(&destination, &at_server));
		assert_int_equal(destination_port, lone.server.local_port);

		world_advance(world, start_ns + 5 * NS_PER_S);
		assert_int_equal(world_stats(world).live, 0);
		connection.opened_ns = start_ns + 5 * NS_PER_S;
		assert_true(world_open(world, &connection)); /* the place is free again */
		drain(world, start_ns + 5 * NS_PER_S);
		world_free(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_batches_say_is_the_truth),
		cmocka_unit_test(the_same_seed_gives_the_same_bytes),
		cmocka_unit_test(
			translation_leads_from_what_the_client_dials_to_what_the_server_sees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
