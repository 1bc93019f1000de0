#include "bench/fleet/truth.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/memory.h"

struct rows {
	struct truth_row *items;
	size_t count, max;
};

static uint64_t number_of(const cJSON *line, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);

	return cJSON_IsNumber(item) ? (uint64_t)item->valuedouble : 0;
}

static char *text_of(const cJSON *line, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(line, name);

	return cJSON_IsString(item) ? strdup(item->valuestring) : NULL;
}

static struct truth_counts counts_of(const cJSON *line)
{
	return (struct truth_counts){
		.existed = number_of(line, "existed"),
		.opened = number_of(line, "opened"),
		.failed = number_of(line, "failed"),
		.closed = number_of(line, "closed"),
		.tx_bytes = number_of(line, "tx_bytes"),
		.rx_bytes = number_of(line, "rx_bytes"),
	};
}

static void add_row(struct rows *rows, const cJSON *line)
{
	if (rows->count == rows->max) {
		rows->max = memory_grown(rows->max, rows->count + 1);
		rows->items = memory_resize(rows->items, rows->max, sizeof(*rows->items));
	}
	rows->items[rows->count++] = (struct truth_row){
		.client = text_of(line, "client"),
		.server = text_of(line, "server"),
		.port = (uint16_t)number_of(line, "port"),
		.protocol = (uint8_t)number_of(line, "protocol"),
		.client_zone = text_of(line, "client_zone"),
		.server_zone = text_of(line, "server_zone"),
		.client_version = text_of(line, "client_version"),
		.server_version = text_of(line, "server_version"),
		.counts = counts_of(line),
	};
}

static int compare_texts(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

static int compare_rows(const void *a, const void *b)
{
	const struct truth_row *x = a, *y = b;
	const int differences[] = {
		compare_texts(x->client, y->client),
		compare_texts(x->server, y->server),
		x->port - y->port,
		x->protocol - y->protocol,
		compare_texts(x->client_zone, y->client_zone),
		compare_texts(x->server_zone, y->server_zone),
		compare_texts(x->client_version, y->client_version),
		compare_texts(x->server_version, y->server_version),
	};

	for (size_t i = 0; i < sizeof(differences) / sizeof(differences[0]); i++)
		if (differences[i])
			return differences[i];
	return 0;
}

static int read_lines(FILE *file, struct truth *truth, struct rows *edges, struct rows *lanes)
{
	char *text = NULL;
	size_t size = 0;
	int number = 0;

	while (getline(&text, &size, file) > 0) {
		cJSON *line = cJSON_Parse(text);
		char *type = text_of(line, "type");

		number++;
		if (!type) {
			cJSON_Delete(line);
			free(text);
			return number;
		}
		if (strcmp(type, "fleet") == 0)
			truth->total = counts_of(line);
		else if (strcmp(type, "edge") == 0)
			add_row(edges, line);
		else if (strcmp(type, "lane") == 0)
			add_row(lanes, line);
		free(type);
		cJSON_Delete(line);
	}
	free(text);
	return 0;
}

struct truth *truth_read(const char *path, char *why, size_t size)
{
	FILE *file = fopen(path, "re");
	struct truth *truth;
	struct rows edges = {0}, lanes = {0};
	int wrong;

	if (!file) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		return NULL;
	}
	truth = memory_zeroed(1, sizeof(*truth));
	wrong = read_lines(file, truth, &edges, &lanes);
	fclose(file);
	if (edges.count)
		qsort(edges.items, edges.count, sizeof(*edges.items), compare_rows);
	if (lanes.count)
		qsort(lanes.items, lanes.count, sizeof(*lanes.items), compare_rows);
	truth->edges = edges.items;
	truth->edges_count = edges.count;
	truth->lanes = lanes.items;
	truth->lanes_count = lanes.count;
	if (wrong) {
		snprintf(why, size, "%s:%d: no object with a type", path, wrong);
		truth_free(truth);
		return NULL;
	}
	return truth;
}

static void free_rows(struct truth_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(rows[i].client);
		free(rows[i].server);
		free(rows[i].client_zone);
		free(rows[i].server_zone);
		free(rows[i].client_version);
		free(rows[i].server_version);
	}
	free(rows);
}

void truth_free(struct truth *truth)
{
	if (!truth)
		return;
	free_rows(truth->edges, truth->edges_count);
	free_rows(truth->lanes, truth->lanes_count);
	free(truth);
}

const struct truth_row *truth_edge(const struct truth *truth, const char *client,
				   const char *server, uint16_t port, uint8_t protocol)
{
	struct truth_row wanted = {.client = (char *)client,
				   .server = (char *)server,
				   .port = port,
				   .protocol = protocol};

	return truth->edges_count ? bsearch(&wanted, truth->edges, truth->edges_count,
					    sizeof(*truth->edges), compare_rows)
				  : NULL;
}
