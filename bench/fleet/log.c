#include "bench/fleet/log.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

#define LOG_CHUNK_BYTES ((size_t)16 << 20)

static const char magic[8] = {'M', 'R', 'F', 'L', 'E', 'E', 'T', '1'};

struct file_header {
	char magic[8];
	uint32_t partitions, zero;
};

struct record_header {
	uint32_t value_bytes, events;
	uint64_t append_ns;
	uint16_t partition, key_bytes;
	uint32_t zero;
};

_Static_assert(sizeof(struct file_header) == 16 && sizeof(struct record_header) == 24,
	       "as the file has them");

struct chunk {
	uint8_t *bytes;
	size_t used, size;
};

struct fleet_log {
	uint32_t partitions;
	struct chunk *chunks;
	size_t count, max, filling;
	void *mapped; /* of a file: the one chunk lies in it */
	size_t mapped_size;
	uint64_t records, events, bytes, size;
};

struct fleet_log *fleet_log_new(uint32_t partitions)
{
	struct fleet_log *log = memory_zeroed(1, sizeof(*log));

	assert(partitions > 0 && partitions <= UINT16_MAX);
	log->partitions = partitions;
	return log;
}

void fleet_log_free(struct fleet_log *log)
{
	if (!log)
		return;
	for (size_t i = 0; i < log->count && !log->mapped; i++)
		free(log->chunks[i].bytes);
	if (log->mapped)
		munmap(log->mapped, log->mapped_size);
	free(log->chunks);
	free(log);
}

void fleet_log_clear(struct fleet_log *log)
{
	assert(!log->mapped);
	for (size_t i = 0; i < log->count; i++)
		log->chunks[i].used = 0;
	log->filling = 0;
	log->records = log->events = log->bytes = log->size = 0;
}

static struct chunk *chunk_for(struct fleet_log *log, size_t bytes)
{
	while (log->filling < log->count &&
	       log->chunks[log->filling].size - log->chunks[log->filling].used < bytes)
		log->filling++;
	if (log->filling == log->count) {
		size_t size = bytes > LOG_CHUNK_BYTES ? bytes : LOG_CHUNK_BYTES;

		if (log->count == log->max) {
			log->max = memory_grown(log->max, log->count + 1);
			log->chunks = memory_resize(log->chunks, log->max, sizeof(*log->chunks));
		}
		log->chunks[log->count++] =
			(struct chunk){.bytes = memory_zeroed(size, 1), .size = size};
	}
	return &log->chunks[log->filling];
}

static struct record_header header_of(const struct fleet_batch *batch)
{
	return (struct record_header){.value_bytes = (uint32_t)batch->length,
				      .events = batch->events,
				      .append_ns = batch->append_ns,
				      .partition = (uint16_t)batch->partition,
				      .key_bytes = (uint16_t)batch->node_length};
}

void fleet_log_add(struct fleet_log *log, const struct fleet_batch *batch)
{
	struct record_header header = header_of(batch);
	size_t size = sizeof(header) + batch->node_length + batch->length;
	struct chunk *chunk = chunk_for(log, size);
	uint8_t *at = chunk->bytes + chunk->used;

	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), batch->node, batch->node_length);
	memcpy(at + sizeof(header) + batch->node_length, batch->bytes, batch->length);
	chunk->used += size;
	log->records++;
	log->events += batch->events;
	log->bytes += batch->length;
	log->size += size;
}

static struct fleet_batch record_at(const uint8_t *at, size_t *size)
{
	struct record_header header;

	memcpy(&header, at, sizeof(header));
	*size = sizeof(header) + header.key_bytes + header.value_bytes;
	return (struct fleet_batch){.node = (const char *)at + sizeof(header),
				    .node_length = header.key_bytes,
				    .partition = header.partition,
				    .append_ns = header.append_ns,
				    .bytes = at + sizeof(header) + header.key_bytes,
				    .length = header.value_bytes,
				    .events = header.events};
}

bool fleet_log_next(const struct fleet_log *log, struct fleet_cursor *cursor,
		    struct fleet_batch *batch)
{
	size_t size;

	while (cursor->chunk < log->count && cursor->at == log->chunks[cursor->chunk].used) {
		cursor->chunk++;
		cursor->at = 0;
	}
	if (cursor->chunk == log->count)
		return false;
	*batch = record_at(log->chunks[cursor->chunk].bytes + cursor->at, &size);
	cursor->at += size;
	return true;
}

uint32_t fleet_log_partitions(const struct fleet_log *log)
{
	return log->partitions;
}

uint64_t fleet_log_records(const struct fleet_log *log)
{
	return log->records;
}

uint64_t fleet_log_events(const struct fleet_log *log)
{
	return log->events;
}

uint64_t fleet_log_bytes(const struct fleet_log *log)
{
	return log->bytes;
}

uint64_t fleet_log_size(const struct fleet_log *log)
{
	return log->size;
}

/* --- files --- */

/* Whether records fill the bytes exactly; counts them. */
static bool check_records(struct fleet_log *log, const uint8_t *bytes, size_t left)
{
	while (left >= sizeof(struct record_header)) {
		size_t size;
		struct fleet_batch batch = record_at(bytes, &size);

		if (size > left || batch.partition >= log->partitions)
			return false;
		log->records++;
		log->events += batch.events;
		log->bytes += batch.length;
		bytes += size;
		left -= size;
	}
	return left == 0;
}

static bool map_file(struct fleet_log *log, int file, size_t size)
{
	struct file_header header;
	void *mapped;

	if (size < sizeof(header))
		return false;
	mapped = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
	if (mapped == MAP_FAILED)
		return false;
	log->mapped = mapped;
	log->mapped_size = log->size = size;
	memcpy(&header, mapped, sizeof(header));
	log->partitions = header.partitions;
	log->chunks = memory_zeroed(1, sizeof(*log->chunks));
	log->count = log->max = 1;
	log->chunks[0] = (struct chunk){.bytes = (uint8_t *)mapped + sizeof(header),
					.used = size - sizeof(header),
					.size = size - sizeof(header)};
	return memcmp(header.magic, magic, sizeof(magic)) == 0 &&
	       check_records(log, log->chunks[0].bytes, log->chunks[0].used);
}

struct fleet_log *fleet_log_open(const char *path, char *why, size_t size)
{
	struct fleet_log *log;
	struct stat stat;
	int file = open(path, O_RDONLY | O_CLOEXEC);

	if (file < 0 || fstat(file, &stat) != 0) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		if (file >= 0)
			close(file);
		return NULL;
	}
	log = memory_zeroed(1, sizeof(*log));
	if (!map_file(log, file, (size_t)stat.st_size)) {
		snprintf(why, size, "%s is not a whole log of a fleet", path);
		fleet_log_free(log);
		log = NULL;
	}
	close(file);
	return log;
}

struct fleet_writer {
	FILE *file;
};

struct fleet_writer *fleet_writer_open(const char *path, uint32_t partitions)
{
	struct file_header header = {.partitions = partitions};
	FILE *file = fopen(path, "we");
	struct fleet_writer *writer;

	if (!file)
		return NULL;
	memcpy(header.magic, magic, sizeof(magic));
	fwrite(&header, sizeof(header), 1, file);
	writer = memory_zeroed(1, sizeof(*writer));
	writer->file = file;
	return writer;
}

void fleet_writer_add(struct fleet_writer *writer, const struct fleet_batch *batch)
{
	struct record_header header = header_of(batch);

	fwrite(&header, sizeof(header), 1, writer->file);
	fwrite(batch->node, 1, batch->node_length, writer->file);
	fwrite(batch->bytes, 1, batch->length, writer->file);
}

int fleet_writer_close(struct fleet_writer *writer)
{
	bool failed = ferror(writer->file);

	if (fclose(writer->file) != 0)
		failed = true;
	free(writer);
	return failed ? -EIO : 0;
}

int fleet_log_save(const struct fleet_log *log, const char *path)
{
	struct fleet_writer *writer = fleet_writer_open(path, log->partitions);
	struct fleet_cursor cursor = {0};
	struct fleet_batch batch;

	if (!writer)
		return -errno;
	while (fleet_log_next(log, &cursor, &batch))
		fleet_writer_add(writer, &batch);
	return fleet_writer_close(writer);
}
