#include "daemon/culprit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/disk.h"
#include "base/memory.h"
#include "ingest/kafka.h"
#include "ingest/mirror.h"

#define MARKS_NAME  "marks"
#define PASSED_NAME "passed-over"

enum { LINE_BYTES = 80, PATH_BYTES = 4096 };

static const uint64_t magic = 0x33736b72616d726dULL; /* "mrmarks3" */

/* A line of the cache for each task: no two threads write to the same. */
struct mark {
	_Alignas(64) _Atomic int64_t offset; /* that is being read; -1: none */
	_Atomic uint64_t append_ns;
	int64_t crashed_offset; /* at which a life ended last */
	uint64_t crashed_ns;
	uint32_t crashes; /* lives that ended there */
};

struct marks {
	uint64_t magic;
	uint32_t tasks;
	struct mark of[];
};

struct passed {
	uint32_t task;
	int64_t offset;
	uint64_t append_ns;
};

struct culprits {
	struct culprits_options options;
	struct marks *marks;
	size_t bytes;
	struct passed *passed;
	size_t count;
};

/* --- the list --- */

static bool is_passed(const struct culprits *culprits, uint32_t task, int64_t offset,
		      uint64_t append_ns)
{
	for (size_t i = 0; i < culprits->count; i++) {
		const struct passed *passed = &culprits->passed[i];

		if (passed->offset == offset && passed->task == task &&
		    passed->append_ns == append_ns)
			return true;
	}
	return false;
}

/* A line that a crash cut short has no end, and its record is found again. */
static void read_passed(struct culprits *culprits, FILE *file)
{
	char line[LINE_BYTES];

	while (culprits->count < CULPRITS_MAX && fgets(line, sizeof(line), file)) {
		struct passed *passed = &culprits->passed[culprits->count];

		if (strchr(line, '\n') &&
		    sscanf(line, "%" SCNu32 " %" SCNd64 " %" SCNu64, &passed->task, &passed->offset,
			   &passed->append_ns) == 3)
			culprits->count++;
	}
}

static void path_of(const struct culprits *culprits, const char *name, char path[PATH_BYTES])
{
	const struct culprits_options *options = &culprits->options;

	if (options->instance)
		snprintf(path, PATH_BYTES, "%s/%s.%016" PRIx64, options->folder, name,
			 options->instance);
	else
		snprintf(path, PATH_BYTES, "%s/%s", options->folder, name);
}

static int open_list(struct culprits *culprits, int flags)
{
	char path[PATH_BYTES];

	path_of(culprits, PASSED_NAME, path);
	return open(path, flags | O_CLOEXEC, 0600);
}

static int load_passed(struct culprits *culprits)
{
	int descriptor = open_list(culprits, O_RDONLY);
	FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "r");

	if (!file)
		return errno == ENOENT ? 0 : -errno;
	read_passed(culprits, file);
	fclose(file);
	return 0;
}

/* Each line after a new line of its own: what came before may have been cut short. */
static int append_passed(struct culprits *culprits, const struct passed *passed)
{
	char line[LINE_BYTES];
	int length = snprintf(line, sizeof(line), "\n%" PRIu32 " %" PRId64 " %" PRIu64 "\n",
			      passed->task, passed->offset, passed->append_ns);
	int descriptor = open_list(culprits, O_WRONLY | O_CREAT | O_APPEND), rc = 0;

	if (descriptor < 0)
		return -errno;
	errno = ENOSPC; /* what a short write means */
	if (write(descriptor, line, (size_t)length) != length || fdatasync(descriptor))
		rc = -errno;
	close(descriptor);
	return rc ? rc : disk_sync_folder(culprits->options.folder);
}

/* --- what the last life left --- */

static void pass_over(struct culprits *culprits, uint32_t task, const struct mark *mark)
{
	struct passed passed = {task, mark->crashed_offset, mark->crashed_ns};
	char sentence[256];
	int rc = culprits->count < CULPRITS_MAX ? append_passed(culprits, &passed) : -ENOBUFS;

	if (rc) {
		snprintf(sentence, sizeof(sentence),
			 "partition %" PRIu32 ": the record at offset %" PRId64
			 " ended the process %" PRIu32 " times and cannot be passed over: %s",
			 task, passed.offset, mark->crashes, strerror(-rc));
	} else {
		culprits->passed[culprits->count++] = passed;
		snprintf(sentence, sizeof(sentence),
			 "partition %" PRIu32 ": the record at offset %" PRId64
			 " ended the process %" PRIu32
			 " times: it goes to millrace.deadletter and is passed over from now on",
			 task, passed.offset, mark->crashes);
	}
	culprits->options.told(culprits->options.context, sentence);
}

static void take_mark(struct culprits *culprits, uint32_t task)
{
	struct mark *mark = &culprits->marks->of[task];
	int64_t offset = atomic_load(&mark->offset);
	uint64_t append_ns = atomic_load(&mark->append_ns);
	char sentence[256];

	atomic_store(&mark->offset, -1);
	if (offset < 0)
		return;
	if (mark->crashed_offset != offset || mark->crashed_ns != append_ns)
		mark->crashes = 0;
	mark->crashed_offset = offset;
	mark->crashed_ns = append_ns;
	mark->crashes++;
	if (mark->crashes >= CULPRIT_CRASHES) {
		pass_over(culprits, task, mark);
		return;
	}
	snprintf(sentence, sizeof(sentence),
		 "partition %" PRIu32 ": the process ended while it read the record at offset "
		 "%" PRId64 ", %" PRIu32 " of %d times before it is passed over",
		 task, offset, mark->crashes, CULPRIT_CRASHES);
	culprits->options.told(culprits->options.context, sentence);
}

/* --- the file of marks --- */

static int map_marks(struct culprits *culprits)
{
	char path[PATH_BYTES];
	void *marks;
	int descriptor, rc;

	culprits->bytes = sizeof(struct marks) +
			  culprits->options.tasks *
				  (sizeof(culprits->marks->of[0]) + sizeof(struct consumer_anchor));
	path_of(culprits, MARKS_NAME, path);
	descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (descriptor < 0)
		return -errno;
	/* With its blocks: a store into a hole of a full disk would end the process. */
	rc = -posix_fallocate(descriptor, 0, (off_t)culprits->bytes);
	marks = rc ? MAP_FAILED
		   : mmap(NULL, culprits->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (rc == 0 && marks == MAP_FAILED)
		rc = -errno;
	close(descriptor);
	if (rc)
		return rc;
	culprits->marks = marks;
	return 0;
}

/* Behind the marks. */
struct consumer_anchor *culprits_anchors(struct culprits *culprits)
{
	return (struct consumer_anchor *)&culprits->marks->of[culprits->options.tasks];
}

static void begin_marks(struct culprits *culprits)
{
	struct marks *marks = culprits->marks;

	memset(marks, 0, culprits->bytes);
	for (uint32_t i = 0; i < culprits->options.tasks; i++) {
		atomic_store(&marks->of[i].offset, -1);
		culprits_anchors(culprits)[i] = CONSUMER_NO_ANCHOR;
	}
	marks->tasks = culprits->options.tasks;
	marks->magic = magic;
}

struct culprits *culprits_open(const struct culprits_options *options, char *why, size_t size)
{
	struct culprits *culprits = memory_zeroed(1, sizeof(*culprits));
	int rc;

	culprits->options = *options;
	culprits->passed = memory_zeroed(CULPRITS_MAX, sizeof(*culprits->passed));
	rc = load_passed(culprits);
	if (rc == 0)
		rc = map_marks(culprits);
	if (rc) {
		snprintf(why, size, "%s", strerror(-rc));
		free(culprits->passed);
		free(culprits);
		return NULL;
	}
	if (culprits->marks->magic != magic || culprits->marks->tasks != options->tasks)
		begin_marks(culprits);
	for (uint32_t i = 0; i < options->tasks; i++)
		take_mark(culprits, i);
	return culprits;
}

void culprits_close(struct culprits *culprits)
{
	if (!culprits)
		return;
	munmap(culprits->marks, culprits->bytes);
	free(culprits->passed);
	free(culprits);
}

/* --- on the tasks' threads --- */

bool culprits_enter(struct culprits *culprits, uint32_t task, const struct mirror_record *record)
{
	struct mark *mark = &culprits->marks->of[task];

	if (culprits->count && is_passed(culprits, task, record->offset, record->append_ns))
		return true;
	atomic_store_explicit(&mark->append_ns, record->append_ns, memory_order_relaxed);
	atomic_store_explicit(&mark->offset, record->offset, memory_order_release);
	atomic_signal_fence(memory_order_seq_cst);
	return false;
}

void culprits_leave(struct culprits *culprits, uint32_t task)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&culprits->marks->of[task].offset, -1, memory_order_release);
}

size_t culprits_count(const struct culprits *culprits)
{
	return culprits->count;
}
