#include "api/http/site.h"

#include <string.h>

#include "api/http/reflection.h"

static void default_u32(uint32_t *option, uint32_t value)
{
	if (!*option)
		*option = value;
}

static void fill_defaults(struct server_options *options)
{
	if (!options->host)
		options->host = "127.0.0.1";
	if (!options->backlog)
		options->backlog = 512;
	if (!options->bodies_max)
		options->bodies_max = 64 << 20;
	default_u32(&options->connections_max, 1024);
	default_u32(&options->connections_per_address_max, 64);
	default_u32(&options->streams_max, 100);
	default_u32(&options->header_bytes_max, 16 << 10);
	default_u32(&options->body_max, 1 << 20);
	default_u32(&options->message_max, 4 << 20);
	default_u32(&options->pending_max, 256 << 10);
	default_u32(&options->header_timeout_ms, 5000);
	default_u32(&options->body_grace_ms, 5000);
	default_u32(&options->idle_timeout_ms, 60000);
	default_u32(&options->stall_timeout_ms, 30000);
	default_u32(&options->drain_timeout_ms, 5000);
}

void site_init(struct site *site, const struct server_options *options, uint64_t request_ids)
{
	memset(site, 0, sizeof(*site));
	site->options = *options;
	fill_defaults(&site->options);
	site->request_ids = request_ids;
	grpc_health_init(&site->health, site);
	reflection_register(site);
}

void site_done(struct site *site)
{
	grpc_health_done(&site->health);
}
