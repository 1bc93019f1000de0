#include "daemon/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/disk.h"
#include "base/memory.h"

#define SUFFIX	   ".snapshot"
#define UNFINISHED ".snapshot.new"

enum {
	KEPT = 2,
	LOOK_MS = 20,	    /* between two looks whether Kafka has acknowledged */
	FILES_MAX = 4096,   /* of the folder that are looked at */
	UNFINISHED_S = 600, /* after which another instance's unfinished one is nobody's */
	NAME_BYTES = 80,
	PATH_BYTES = 4096,
	SENTENCE_BYTES = PATH_BYTES + 256,
};

enum state { STATE_IDLE, STATE_WRITING, STATE_WAITING, STATE_PUBLISHING };

struct snapshots {
	struct snapshots_options options;
	_Atomic int state;	 /* the cut leaves IDLE, the loop comes back to it */
	_Atomic uint64_t due_ns; /* uv_hrtime */
	_Atomic uint32_t apart;	 /* of cuts at multiples of the period: one in so many */
	_Atomic uint64_t needed; /* pane; 0: none is known */
	/* Of the one under way. */
	pid_t child;
	int answer; /* read end: the child's result */
	bool marked;
	uint32_t mark;
	struct image_header cut;
	uint64_t began_ns, counted_ns; /* and when the last one that counted began */
	double cost_s;
	char path[PATH_BYTES];	     /* that it gets */
	char unfinished[PATH_BYTES]; /* and has until then */
	int problem;		     /* of its publishing */
	uint64_t bytes;

	int lock;      /* descriptor */
	uint64_t life; /* tells this process from another that writes to the folder */
	uv_async_t begun;
	uv_poll_t *readable; /* of the one under way: a handle is begun but once */
	uv_timer_t timer;
	uv_work_t work;
	bool closing;
	struct snapshots_stats stats;
};

static void tell(struct snapshots *snapshots, const char *what, int rc)
{
	char sentence[SENTENCE_BYTES];

	snprintf(sentence, sizeof(sentence), "snapshot %s: %s: %s", snapshots->path, what,
		 strerror(-rc));
	snapshots->options.trouble(snapshots->options.context, sentence);
}

/* --- the folder --- */

struct file {
	uint64_t pane, instance;
	char name[NAME_BYTES];
};

struct files {
	struct file *items;
	size_t count, max;
};

/* <pane>.<instance>.snapshot, or <pane>.<instance>.<life>.snapshot.new */
static bool is_file(const char *name, const char *suffix, struct file *file)
{
	size_t length = strlen(name), tail = strlen(suffix);
	int fields;

	if (length <= tail || length >= NAME_BYTES || strcmp(name + length - tail, suffix) != 0)
		return false;
	fields = sscanf(name, "%20" SCNu64 ".%16" SCNx64 ".", &file->pane, &file->instance);
	if (fields == 1) /* older programs' have no instance: they go as a single one's */
		file->instance = 0;
	memcpy(file->name, name, length + 1);
	return fields >= 1;
}

static int newer_first(const void *a, const void *b)
{
	const struct file *x = a, *y = b;

	return x->pane != y->pane ? (x->pane < y->pane) - (x->pane > y->pane)
				  : (x->instance > y->instance) - (x->instance < y->instance);
}

/* Newest pane first. 0 or -errno; files are to be freed in either case. */
static int list(const char *folder, const char *suffix, struct files *files)
{
	DIR *directory = opendir(folder);
	struct dirent *entry;

	*files = (struct files){0};
	if (!directory)
		return errno == ENOENT ? 0 : -errno;
	while (files->count < FILES_MAX && (entry = readdir(directory)) != NULL) {
		struct file file;

		if (!is_file(entry->d_name, suffix, &file))
			continue;
		if (files->count == files->max) {
			files->max = memory_grown(files->max, files->count + 1);
			files->items =
				memory_resize(files->items, files->max, sizeof(*files->items));
		}
		files->items[files->count++] = file;
	}
	closedir(directory);
	if (files->count)
		qsort(files->items, files->count, sizeof(*files->items), newer_first);
	return 0;
}

static void remove_file(const char *folder, const struct file *file)
{
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "%s/%s", folder, file->name);
	unlink(path);
}

/* Of those that this instance has written, newest first, the nth. */
static bool is_kept(const struct snapshots *snapshots, uint64_t pane, uint32_t nth)
{
	uint64_t needed = atomic_load(&snapshots->needed);
	uint32_t most = snapshots->options.kept ? snapshots->options.kept : KEPT;

	if (pane == needed || nth < KEPT)
		return true;
	return pane > needed && nth + (needed != 0) < most;
}

/* What another log left may stand behind all that is written now, and does not count. */
static bool is_own(const struct snapshots *snapshots, const struct file *file)
{
	return file->instance == snapshots->options.instance && file->pane <= snapshots->cut.pane;
}

/* Own ones that are not kept, and whatever is as old and not needed. */
static void prune(const struct snapshots *snapshots)
{
	uint64_t let_go = 0, oldest = 0, needed = atomic_load(&snapshots->needed);
	uint32_t nth = 0;
	struct files files;

	list(snapshots->options.folder, SUFFIX, &files);
	for (size_t i = 0; i < files.count; i++) {
		const struct file *file = &files.items[i];

		if (!is_own(snapshots, file))
			continue;
		if (is_kept(snapshots, file->pane, nth++)) {
			oldest = file->pane;
			continue;
		}
		remove_file(snapshots->options.folder, file);
		if (file->pane > let_go)
			let_go = file->pane;
	}
	for (size_t i = 0; i < files.count; i++) {
		uint64_t pane = files.items[i].pane;

		if (pane <= let_go && pane < oldest && pane != needed)
			remove_file(snapshots->options.folder, &files.items[i]);
	}
	free(files.items);
}

static bool is_old(const char *folder, const struct file *file)
{
	char path[PATH_BYTES];
	struct stat status;

	snprintf(path, sizeof(path), "%s/%s", folder, file->name);
	return stat(path, &status) == 0 && status.st_mtime + UNFINISHED_S < time(NULL);
}

/* Our own former life's, and what nobody writes any more. */
static void remove_unfinished(const char *folder, uint64_t instance)
{
	struct files files;

	list(folder, UNFINISHED, &files);
	for (size_t i = 0; i < files.count; i++) {
		const struct file *file = &files.items[i];

		if (file->instance == instance || is_old(folder, file))
			remove_file(folder, file);
	}
	free(files.items);
}

/* --- a child writes --- */

/* Nothing but the two stays open: a child that outlives its parent must not hold its port. */
static void close_others(int a, int b)
{
	int low = a < b ? a : b, high = a < b ? b : a;

	if (low > 3)
		close_range(3, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0U, 0);
}

/* mortal: it ends with the thread that cut. Among several instances that thread is of a run, which
 * ends before the process does. */
static _Noreturn void be_child(int file, int answer, bool mortal, const struct image *image,
			       struct heap *const *heaps)
{
	int rc;

	if (mortal)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_others(file, answer);
	rc = image_write(file, image, heaps);
	_exit(write(answer, &rc, sizeof(rc)) == sizeof(rc) ? 0 : 1);
}

static int begin(struct snapshots *snapshots, const struct image *image, struct heap *const *heaps)
{
	int ends[2], file, rc = 0;

	snapshots->cut = image->header;
	snprintf(snapshots->path, sizeof(snapshots->path), "%s/%020" PRIu64 ".%016" PRIx64 SUFFIX,
		 snapshots->options.folder, image->header.pane, snapshots->options.instance);
	/* A name of its own: who was stopped and goes on late must not name what another writes. */
	snprintf(snapshots->unfinished, sizeof(snapshots->unfinished),
		 "%s/%020" PRIu64 ".%016" PRIx64 ".%016" PRIx64 UNFINISHED,
		 snapshots->options.folder, image->header.pane, snapshots->options.instance,
		 snapshots->life);
	file = open(snapshots->unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (file < 0)
		return -errno;
	if (pipe2(ends, O_CLOEXEC)) {
		rc = -errno;
		close(file);
		return rc;
	}
	snapshots->child = fork();
	if (snapshots->child == 0)
		be_child(file, ends[1], !snapshots->options.every_cut, image, heaps);
	if (snapshots->child < 0)
		rc = -errno;
	close(file);
	close(ends[1]);
	snapshots->answer = ends[0];
	if (rc)
		close(ends[0]);
	return rc;
}

static bool is_time(const struct snapshots *snapshots, uint64_t pane)
{
	uint64_t apart_ns = atomic_load(&snapshots->apart) * snapshots->options.period_ns;

	if (!snapshots->options.every_cut)
		return uv_hrtime() >= atomic_load(&snapshots->due_ns);
	return apart_ns < PANE_NS || pane % (apart_ns / PANE_NS) == 0;
}

bool snapshots_due(const struct snapshots *snapshots, uint64_t pane)
{
	return atomic_load(&snapshots->state) == STATE_IDLE && is_time(snapshots, pane) &&
	       (!snapshots->marked ||
		snapshots->options.acknowledged(snapshots->options.context, snapshots->mark));
}

void snapshots_cut(struct snapshots *snapshots, const struct image *image,
		   struct heap *const *heaps)
{
	uint64_t now = uv_hrtime();

	if (!snapshots_due(snapshots, image->header.pane))
		return;
	atomic_store(&snapshots->due_ns, now + snapshots->options.period_ns);
	snapshots->began_ns = now;
	snapshots->mark = snapshots->options.mark(snapshots->options.context);
	snapshots->marked = true;
	snapshots->problem = begin(snapshots, image, heaps);
	snapshots->stats.stood_s = (double)(uv_hrtime() - now) / NS_PER_S;
	atomic_store(&snapshots->state, STATE_WRITING);
	uv_async_send(&snapshots->begun);
}

/* --- on the loop --- */

static void end(struct snapshots *snapshots, const char *what, int rc)
{
	if (rc) {
		unlink(snapshots->unfinished);
		snapshots->stats.failed++;
		tell(snapshots, what, rc);
	}
	atomic_store(&snapshots->state, STATE_IDLE);
}

static void publish(uv_work_t *work)
{
	struct snapshots *snapshots = work->data;
	struct stat status;

	snapshots->bytes = stat(snapshots->unfinished, &status) == 0 ? (uint64_t)status.st_size : 0;
	snapshots->problem = rename(snapshots->unfinished, snapshots->path) ? -errno : 0;
	if (snapshots->problem == 0)
		snapshots->problem = disk_sync_folder(snapshots->options.folder);
	if (snapshots->problem == 0)
		prune(snapshots);
}

/* What it costs says how soon the next one may begin. */
static void space_out(struct snapshots *snapshots)
{
	const struct snapshots_options *options = &snapshots->options;
	uint32_t apart = atomic_load(&snapshots->apart);
	double took_s = (double)(snapshots->began_ns - snapshots->counted_ns) / NS_PER_S;
	double most_s = (double)options->period_ns * SNAPSHOT_PERIODS_MAX / NS_PER_S;
	double wanted_s = options->share > 0 ? snapshots->stats.cost_s / options->share : 0;

	wanted_s = wanted_s < most_s ? wanted_s : most_s;
	if (wanted_s > (double)options->period_ns / NS_PER_S)
		atomic_store(&snapshots->due_ns,
			     snapshots->began_ns + (uint64_t)(wanted_s * NS_PER_S));
	/* Log time may pass faster than time, so what it took counts. Back only where the next
	 * would not lead here again. */
	if (snapshots->counted_ns && took_s < wanted_s && apart < SNAPSHOT_PERIODS_MAX)
		atomic_store(&snapshots->apart, 2 * apart);
	else if (took_s > 4 * wanted_s && apart > 1)
		atomic_store(&snapshots->apart, apart / 2);
	snapshots->counted_ns = snapshots->began_ns;
}

static void published(uv_work_t *work, int status)
{
	struct snapshots *snapshots = work->data;

	(void)status;
	if (snapshots->problem == 0) {
		snapshots->stats.taken++;
		snapshots->stats.pane = snapshots->cut.pane;
		snapshots->stats.bytes = snapshots->bytes;
		snapshots->stats.duration_s =
			(double)(uv_hrtime() - snapshots->began_ns) / NS_PER_S;
		snapshots->stats.cost_s = snapshots->cost_s + snapshots->stats.stood_s;
		space_out(snapshots);
		if (snapshots->options.counted)
			snapshots->options.counted(snapshots->options.context, &snapshots->cut);
	}
	end(snapshots, "it could not be given its name", snapshots->problem);
}

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void on_timer(uv_timer_t *timer)
{
	struct snapshots *snapshots = timer->data;
	int rc = snapshots->problem;

	/* Its memory is taken down after its answer, which may take long: nobody waits for it. */
	if (snapshots->child > 0) {
		struct rusage usage = {0};

		if (wait4(snapshots->child, NULL, WNOHANG, &usage) == 0)
			return;
		snapshots->cost_s = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
		snapshots->child = 0;
	}
	if (rc) {
		uv_timer_stop(timer);
		end(snapshots, rc == -ECHILD ? "the process that wrote it ended" : "writing", rc);
		return;
	}
	if (!snapshots->options.acknowledged(snapshots->options.context, snapshots->mark))
		return;
	uv_timer_stop(timer);
	atomic_store(&snapshots->state, STATE_PUBLISHING);
	uv_queue_work(snapshots->options.loop, &snapshots->work, publish, published);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle);
}

static void stop_polling(struct snapshots *snapshots)
{
	if (!snapshots->readable)
		return;
	uv_close((uv_handle_t *)snapshots->readable, on_closed);
	snapshots->readable = NULL;
	close(snapshots->answer);
}

static void on_answer(uv_poll_t *poll, int status, int events)
{
	struct snapshots *snapshots = poll->data;
	int rc = -EPIPE;

	(void)status;
	(void)events;
	if (read(snapshots->answer, &rc, sizeof(rc)) != sizeof(rc))
		rc = -ECHILD;
	stop_polling(snapshots);
	snapshots->problem = rc;
	atomic_store(&snapshots->state, STATE_WAITING);
	uv_timer_start(&snapshots->timer, on_timer, 0, LOOK_MS);
}

static void on_begun(uv_async_t *async)
{
	struct snapshots *snapshots = async->data;

	if (snapshots->closing || atomic_load(&snapshots->state) != STATE_WRITING)
		return;
	if (snapshots->problem) {
		end(snapshots, "it could not be begun", snapshots->problem);
		return;
	}
	snapshots->readable = memory_zeroed(1, sizeof(*snapshots->readable));
	snapshots->readable->data = snapshots;
	uv_poll_init(snapshots->options.loop, snapshots->readable, snapshots->answer);
	uv_poll_start(snapshots->readable, UV_READABLE, on_answer);
}

void snapshots_need(struct snapshots *snapshots, uint64_t pane)
{
	atomic_store(&snapshots->needed, pane);
}

struct snapshots_stats snapshots_stats(const struct snapshots *snapshots)
{
	return snapshots->stats;
}

/* --- life --- */

/* A folder of our own: what is in it is read back as memory. */
static int check_folder(const char *folder, char *why, size_t size)
{
	struct stat status;

	if (mkdir(folder, 0700) && errno != EEXIST) {
		snprintf(why, size, "cannot be made: %s", strerror(errno));
		return -1;
	}
	if (stat(folder, &status) || !S_ISDIR(status.st_mode)) {
		snprintf(why, size, "is no folder");
		return -1;
	}
	if (status.st_uid != geteuid() || (status.st_mode & 022)) {
		snprintf(why, size, "must belong to this user, and nobody else may write to it");
		return -1;
	}
	if (access(folder, W_OK)) {
		snprintf(why, size, "cannot be written to: %s", strerror(errno));
		return -1;
	}
	return 0;
}

/* The lock's descriptor; it is the process's until that is closed. */
static int take_lock(const struct snapshots_options *options, char *why, size_t size)
{
	char path[PATH_BYTES];
	int lock;

	snprintf(path, sizeof(path), "%s/%016" PRIx64 ".lock", options->folder, options->instance);
	lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0)
		return lock;
	if (lock >= 0 && errno == EWOULDBLOCK)
		snprintf(why, size, "is used by another millraced%s its own snapshots.folder",
			 options->instance ? " of the same name: give each its own "
					     "exchange.instance, or"
					   : ": give each");
	else
		snprintf(why, size, "cannot be locked: %s", strerror(errno));
	if (lock >= 0)
		close(lock);
	return -1;
}

struct snapshots *snapshots_new(const struct snapshots_options *options, char *why, size_t size)
{
	struct snapshots *snapshots;
	int lock;

	if (check_folder(options->folder, why, size))
		return NULL;
	lock = take_lock(options, why, size);
	if (lock < 0)
		return NULL;
	remove_unfinished(options->folder, options->instance);
	snapshots = memory_zeroed(1, sizeof(*snapshots));
	snapshots->options = *options;
	snapshots->lock = lock;
	snapshots->life = uv_hrtime() ^ (uint64_t)getpid() << 40;
	atomic_store(&snapshots->due_ns, uv_hrtime() + options->period_ns);
	atomic_store(&snapshots->apart, 1);
	uv_async_init(options->loop, &snapshots->begun, on_begun);
	uv_timer_init(options->loop, &snapshots->timer);
	snapshots->begun.data = snapshots->timer.data = snapshots->work.data = snapshots;
	return snapshots;
}

void snapshots_close(struct snapshots *snapshots)
{
	if (snapshots->closing)
		return;
	snapshots->closing = true;
	if (snapshots->child > 0) {
		kill(snapshots->child, SIGKILL);
		waitpid(snapshots->child, NULL, 0);
	}
	uv_close((uv_handle_t *)&snapshots->begun, NULL);
	uv_close((uv_handle_t *)&snapshots->timer, NULL);
	stop_polling(snapshots);
}

void snapshots_free(struct snapshots *snapshots)
{
	if (snapshots)
		close(snapshots->lock);
	free(snapshots);
}

/* --- reading back --- */

/* A file of one pane that may be read. */
struct part {
	const struct file *file;
	int descriptor;
	off_t pieces;	      /* where they begin */
	bool bad;	      /* they could not be read */
	struct task_set used; /* tasks that it is to give */
	struct image image;
};

/* Those of one pane, newest epoch first. */
struct parts {
	struct part **items;
	size_t count;
};

static void tell_wanting(const struct snapshots_wanted *wanted, const char *what, const char *why)
{
	char sentence[SENTENCE_BYTES];

	if (!wanted->told)
		return;
	snprintf(sentence, sizeof(sentence), "snapshot %s/%s is not used: %s", wanted->folder, what,
		 why);
	wanted->told(wanted->told_context, sentence);
}

static void free_heaps(const struct task_set *owned, struct heap **heaps)
{
	for (uint32_t i = 0; i < IMAGE_TASKS_MAX; i++) {
		if (!task_set_has(owned, i))
			continue;
		if (heaps[i])
			heap_free(heaps[i]);
		heaps[i] = NULL;
	}
}

static int make_heaps(const struct task_set *owned, struct heap **heaps, const char **why)
{
	for (uint32_t i = 0; i < IMAGE_TASKS_MAX; i++) {
		if (task_set_has(owned, i))
			heaps[i] = NULL;
	}
	for (uint32_t i = 0; i < IMAGE_TASKS_MAX; i++) {
		if (!task_set_has(owned, i))
			continue;
		heaps[i] = heap_new(i);
		if (heaps[i])
			continue;
		*why = strerror(errno);
		free_heaps(owned, heaps);
		return -ENOMEM;
	}
	return 0;
}

static bool is_ours(const struct snapshots_wanted *wanted, const struct part *part,
		    const char **why)
{
	const struct image_header *header = &part->image.header;
	uint8_t build[IMAGE_BUILD_BYTES];

	image_build(build);
	if (memcmp(build, header->build, sizeof(build)) != 0)
		*why = "another build of millraced wrote it";
	else if (header->tasks != wanted->tasks || header->shape != wanted->shape)
		*why = "it was made with other settings of the pipeline, limits or monitors";
	else if (header->pane != part->file->pane)
		*why = "its name is another's";
	else
		return true;
	return false;
}

static void part_close(struct part *part)
{
	if (part->descriptor >= 0)
		close(part->descriptor);
	free(part);
}

/* NULL, and told: it is none of ours. */
static struct part *part_open(const struct snapshots_wanted *wanted, const struct file *file)
{
	struct part *part = memory_zeroed(1, sizeof(*part));
	char path[PATH_BYTES];
	const char *why = NULL;
	int rc;

	snprintf(path, sizeof(path), "%s/%s", wanted->folder, file->name);
	part->file = file;
	part->descriptor = open(path, O_RDONLY | O_CLOEXEC);
	rc = part->descriptor < 0 ? -errno
				  : image_read_header(part->descriptor, &part->image, &why);
	if (rc == 0 && is_ours(wanted, part, &why)) {
		part->pieces = lseek(part->descriptor, 0, SEEK_CUR);
		return part;
	}
	tell_wanting(wanted, file->name, why ? why : strerror(-rc));
	part_close(part);
	return NULL;
}

static int newer_epoch_first(const void *a, const void *b)
{
	const struct part *x = *(struct part *const *)a, *y = *(struct part *const *)b;

	if (x->image.header.epoch != y->image.header.epoch)
		return x->image.header.epoch < y->image.header.epoch ? 1 : -1;
	return newer_first(x->file, y->file);
}

/* The files of the pane that the first of these is of; *count: how many these were. */
static struct parts open_pane(const struct snapshots_wanted *wanted, const struct file *files,
			      size_t files_count, size_t *count)
{
	struct parts parts = {0};

	for (*count = 1; *count < files_count && files[*count].pane == files[0].pane;)
		++*count;
	parts.items = memory_zeroed(*count, sizeof(*parts.items));
	for (size_t i = 0; i < *count; i++) {
		struct part *part = part_open(wanted, &files[i]);

		if (part)
			parts.items[parts.count++] = part;
	}
	qsort(parts.items, parts.count, sizeof(*parts.items), newer_epoch_first);
	return parts;
}

static void close_pane(struct parts *parts)
{
	for (size_t i = 0; i < parts->count; i++)
		part_close(parts->items[i]);
	free(parts->items);
}

/* How many parts from the first on are of its epoch. */
static size_t same_epoch(struct part *const *parts, size_t count)
{
	size_t same = 0;

	while (same < count && parts[same]->image.header.epoch == parts[0]->image.header.epoch)
		same++;
	return same;
}

/* Which part gives which task, and the image that they make; false: some task is in none. */
static bool gather(const struct snapshots_wanted *wanted, struct part *const *parts, size_t count,
		   struct image *image)
{
	struct task_set missing = wanted->owned;

	memset(image, 0, sizeof(*image));
	image->header = parts[0]->image.header;
	image->header.owned = wanted->owned;
	for (size_t i = 0; i < count; i++) {
		struct part *part = parts[i];

		part->used = (struct task_set){{0}};
		for (uint32_t task = 0; task < wanted->tasks && !part->bad; task++) {
			if (!task_set_has(&missing, task) ||
			    !task_set_has(&part->image.header.owned, task))
				continue;
			task_set_drop(&missing, task);
			task_set_add(&part->used, task);
			image->tasks[task] = part->image.tasks[task];
		}
	}
	return task_set_count(&missing) == 0;
}

/* Into the heaps; of an error the part that was no good is known to be bad. */
static int read_parts(const struct snapshots_wanted *wanted, struct part *const *parts,
		      size_t count, struct heap **heaps)
{
	for (size_t i = 0; i < count; i++) {
		struct part *part = parts[i];
		const char *why = NULL;
		int rc;

		if (task_set_count(&part->used) == 0)
			continue;
		rc = lseek(part->descriptor, part->pieces, SEEK_SET) < 0 ? -errno : 0;
		if (rc == 0)
			rc = image_read(part->descriptor, &part->image, &part->used, heaps, &why);
		if (rc == 0)
			continue;
		part->bad = true;
		tell_wanting(wanted, part->file->name, why ? why : strerror(-rc));
		return rc;
	}
	return 0;
}

static bool any_bad(struct part *const *parts, size_t count)
{
	bool bad = false;

	for (size_t i = 0; i < count; i++)
		bad |= parts[i]->bad;
	return bad;
}

static bool gathered_fits(const struct snapshots_wanted *wanted, struct part *const *parts,
			  size_t count, struct image *image)
{
	const char *why = NULL;

	if (!gather(wanted, parts, count, image)) {
		if (!any_bad(parts, count)) /* else it is told */
			tell_wanting(wanted, parts[0]->file->name,
				     "all of its pane together lack some of the tasks");
		return false;
	}
	if (!wanted->fits || wanted->fits(wanted->context, image, &why))
		return true;
	tell_wanting(wanted, parts[0]->file->name, why);
	return false;
}

/* Of parts of one epoch. A part that turns out to be no good may have another beside it with the
 * same tasks. */
static int load_epoch(const struct snapshots_wanted *wanted, struct part *const *parts,
		      size_t count, struct image *image, struct heap **heaps)
{
	while (gathered_fits(wanted, parts, count, image)) {
		const char *why = NULL;

		if (make_heaps(&wanted->owned, heaps, &why)) {
			tell_wanting(wanted, parts[0]->file->name, why);
			return -ENOENT;
		}
		if (read_parts(wanted, parts, count, heaps) == 0)
			return 0;
		free_heaps(&wanted->owned, heaps);
	}
	return -ENOENT;
}

static int load_pane(const struct snapshots_wanted *wanted, const struct lineup_pane *from,
		     const struct parts *parts, struct image *image, struct heap **heaps)
{
	int rc = -ENOENT;

	for (size_t i = 0, count; i < parts->count && rc; i += count) {
		struct part *const *first = &parts->items[i];

		count = same_epoch(first, parts->count - i);
		if (!from || from->epoch == first[0]->image.header.epoch)
			rc = load_epoch(wanted, first, count, image, heaps);
	}
	return rc;
}

static void list_wanted(const struct snapshots_wanted *wanted, struct files *files)
{
	char sentence[SENTENCE_BYTES];
	int rc = list(wanted->folder, SUFFIX, files);

	if (rc == 0 || !wanted->told)
		return;
	snprintf(sentence, sizeof(sentence), "no snapshot is used: %s cannot be read: %s",
		 wanted->folder, strerror(-rc));
	wanted->told(wanted->told_context, sentence);
}

int snapshots_load(const struct snapshots_wanted *wanted, const struct lineup_pane *from,
		   struct image *image, struct heap **heaps)
{
	struct files files;
	int rc = -ENOENT;

	list_wanted(wanted, &files);
	for (size_t i = 0, count; i < files.count && rc; i += count) {
		struct parts parts;

		count = 1;
		if (from && files.items[i].pane != from->pane)
			continue;
		parts = open_pane(wanted, &files.items[i], files.count - i, &count);
		rc = load_pane(wanted, from, &parts, image, heaps);
		close_pane(&parts);
	}
	free(files.items);
	return rc;
}

static size_t panes_of(const struct snapshots_wanted *wanted, const struct parts *parts,
		       struct lineup_pane *panes, size_t max)
{
	struct image *image = memory_zeroed(1, sizeof(*image));
	size_t found = 0;

	for (size_t i = 0, count; i < parts->count && found < max; i += count) {
		struct part *const *first = &parts->items[i];

		count = same_epoch(first, parts->count - i);
		if (gathered_fits(wanted, first, count, image))
			panes[found++] =
				(struct lineup_pane){image->header.epoch, image->header.pane};
	}
	free(image);
	return found;
}

size_t snapshots_panes(const struct snapshots_wanted *wanted, struct lineup_pane *panes, size_t max)
{
	struct files files;
	size_t found = 0;

	list_wanted(wanted, &files);
	for (size_t i = 0, count; i < files.count && found < max; i += count) {
		struct parts parts = open_pane(wanted, &files.items[i], files.count - i, &count);

		found += panes_of(wanted, &parts, panes + found, max - found);
		close_pane(&parts);
	}
	free(files.items);
	return found;
}
