#include "api/notify/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/disk.h"
#include "base/memory.h"

enum { MAGIC_BYTES = 4, HEAD_BYTES = 8 };

static const char magic[MAGIC_BYTES + 1] = "MRJ1";

struct journal {
	struct journal_options options;
	char *path, *next_path, *folder;
	int file; /* -1: the last one failed */
	bool keeping;
	int keep_rc;
	struct journal_stats stats;
};

/* --- the format --- */

static void put32(uint8_t *to, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

static uint32_t get32(const uint8_t *from)
{
	return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 |
	       (uint32_t)from[3] << 24;
}

static uint32_t check_of(const uint8_t head[4], const uint8_t *bytes, size_t length)
{
	return crc32c(crc32c(0, head, 4), bytes, length);
}

size_t journal_scan(const uint8_t *bytes, size_t length, void *context,
		    void (*record)(void *context, const uint8_t *bytes, size_t length))
{
	size_t at = MAGIC_BYTES;

	if (length < MAGIC_BYTES || memcmp(bytes, magic, MAGIC_BYTES) != 0)
		return 0;
	while (length - at >= HEAD_BYTES) {
		const uint8_t *head = bytes + at;
		size_t size = get32(head);

		if (size > JOURNAL_RECORD_MAX || size > length - at - HEAD_BYTES ||
		    check_of(head, head + HEAD_BYTES, size) != get32(head + 4))
			break;
		record(context, head + HEAD_BYTES, size);
		at += HEAD_BYTES + size;
	}
	return at;
}

/* --- the file --- */

static int write_record(struct journal *journal, const uint8_t *bytes, size_t length)
{
	uint8_t *whole = memory_zeroed(1, HEAD_BYTES + length);
	int rc;

	put32(whole, (uint32_t)length);
	memcpy(whole + HEAD_BYTES, bytes, length);
	put32(whole + 4, check_of(whole, bytes, length));
	rc = disk_write(journal->file, whole, HEAD_BYTES + length);
	free(whole);
	if (rc == 0)
		journal->stats.bytes += HEAD_BYTES + length;
	return rc;
}

static void drop_file(struct journal *journal)
{
	if (journal->file >= 0)
		close(journal->file);
	journal->file = -1;
}

/* A new file in the place of the old one, with what still counts. */
static int rewrite(struct journal *journal)
{
	int rc;

	drop_file(journal);
	journal->file =
		open(journal->next_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (journal->file < 0)
		return -errno;
	journal->stats.bytes = MAGIC_BYTES;
	rc = disk_write(journal->file, magic, MAGIC_BYTES);
	journal->keeping = true;
	journal->keep_rc = rc;
	if (rc == 0)
		journal->options.keep(journal->options.context, journal);
	journal->keeping = false;
	rc = journal->keep_rc;
	if (rc == 0 && fsync(journal->file))
		rc = -errno;
	if (rc == 0 && rename(journal->next_path, journal->path))
		rc = -errno;
	if (rc == 0)
		rc = disk_sync_folder(journal->folder);
	if (rc) {
		drop_file(journal);
		return rc;
	}
	journal->stats.rewritten++;
	return 0;
}

void journal_keep(struct journal *journal, const uint8_t *bytes, size_t length)
{
	if (!journal->keeping || journal->keep_rc)
		return;
	if (journal->stats.bytes + HEAD_BYTES + length > journal->options.bytes_max)
		journal->stats.failed++;
	else
		journal->keep_rc = write_record(journal, bytes, length);
}

int journal_append(struct journal *journal, const uint8_t *bytes, size_t length)
{
	int rc = length > JOURNAL_RECORD_MAX ? -EMSGSIZE : 0;

	if (rc == 0 && (journal->file < 0 ||
			journal->stats.bytes + HEAD_BYTES + length > journal->options.bytes_max))
		rc = rewrite(journal);
	/* What counts may itself fill it: then nothing more is taken. */
	if (rc == 0 && journal->stats.bytes + HEAD_BYTES + length > journal->options.bytes_max)
		rc = -ENOSPC;
	if (rc == 0) {
		rc = write_record(journal, bytes, length);
		if (rc == 0 && fdatasync(journal->file))
			rc = -errno;
		if (rc)
			drop_file(journal); /* it may hold half a record */
	}
	if (rc)
		journal->stats.failed++;
	else
		journal->stats.appended++;
	return rc;
}

/* --- life --- */

static char *text_of(const char *format, const char *path)
{
	char *text;

	if (asprintf(&text, format, path) < 0)
		abort(); /* out of memory */
	return text;
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder =
		slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");

	if (!folder)
		abort(); /* out of memory */
	return folder;
}

/* The whole file, which is bounded: what somebody else put there may not be. */
static int read_file(const struct journal *journal, uint8_t **bytes, size_t *length)
{
	size_t most = journal->options.bytes_max;
	struct stat status;
	size_t at = 0;
	int rc = 0;

	if (fstat(journal->file, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || (size_t)status.st_size > most + JOURNAL_RECORD_MAX)
		return -EFBIG;
	*length = (size_t)status.st_size;
	*bytes = memory_zeroed(1, *length + 1);
	while (at < *length && rc == 0) {
		ssize_t got = pread(journal->file, *bytes + at, *length - at, (off_t)at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			rc = got ? -errno : -EIO;
		else
			at += (size_t)got;
	}
	return rc;
}

static int replay(struct journal *journal)
{
	uint8_t *bytes = NULL;
	size_t length = 0, whole;
	int rc = read_file(journal, &bytes, &length);

	if (rc == 0 && length) {
		whole = journal_scan(bytes, length, journal->options.context,
				     journal->options.record);
		/* A file that began and was not finished is ours; anything else is not. */
		if (whole == 0 && (length >= MAGIC_BYTES || memcmp(bytes, magic, length) != 0))
			rc = -EBADMSG;
		journal->stats.cut = rc ? 0 : length - whole;
	}
	free(bytes);
	return rc;
}

struct journal *journal_open(const struct journal_options *options, int *rc)
{
	struct journal *journal = memory_zeroed(1, sizeof(*journal));

	journal->options = *options;
	journal->path = text_of("%s", options->path);
	journal->next_path = text_of("%s.new", options->path);
	journal->folder = folder_of(options->path);
	journal->file = open(options->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	*rc = journal->file < 0 ? (errno == ENOENT ? 0 : -errno) : replay(journal);
	/* Begins anew with what counts, which also cuts a damaged tail off. */
	if (*rc == 0)
		*rc = rewrite(journal);
	if (*rc == 0)
		return journal;
	journal_close(journal);
	return NULL;
}

struct journal_stats journal_stats(const struct journal *journal)
{
	return journal->stats;
}

void journal_close(struct journal *journal)
{
	if (!journal)
		return;
	drop_file(journal);
	free(journal->path);
	free(journal->next_path);
	free(journal->folder);
	free(journal);
}
