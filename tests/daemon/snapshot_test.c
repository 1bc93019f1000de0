/* Snapshots in a folder: when they count, which are kept, and what a failure leaves. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "daemon/snapshot.h"

enum { TASKS = 2, TURNS_MAX = 3000, BLOCK = 300000, MUCH = 200 << 20 };

struct rig {
	char folder[64];
	uv_loop_t loop;
	struct heap *heaps[TASKS];
	struct snapshots *snapshots;
	bool acknowledges;
	uint32_t marks, asked;
	char trouble[4500];
	int troubles;
	/* Of several, which share a folder; 0: a single one, that owns all. */
	uint64_t instance;
	struct task_set owned;
	uint32_t kept;
	bool every_cut;
	uint64_t period_ns;
	double share;
};

static uint32_t on_mark(void *context)
{
	struct rig *rig = context;

	return rig->marks++;
}

static bool is_acknowledged(void *context, uint32_t mark)
{
	struct rig *rig = context;

	rig->asked = mark;
	return rig->acknowledges;
}

static void on_trouble(void *context, const char *sentence)
{
	struct rig *rig = context;

	snprintf(rig->trouble, sizeof(rig->trouble), "%s", sentence);
	rig->troubles++;
}

static void rig_open(struct rig *rig)
{
	struct snapshots_options options = {.loop = &rig->loop,
					    .folder = rig->folder,
					    .period_ns = rig->period_ns,
					    .share = rig->share,
					    .every_cut = rig->every_cut,
					    .instance = rig->instance,
					    .kept = rig->kept,
					    .context = rig,
					    .mark = on_mark,
					    .acknowledged = is_acknowledged,
					    .trouble = on_trouble};
	char why[256];

	assert_int_equal(uv_loop_init(&rig->loop), 0);
	rig->snapshots = snapshots_new(&options, why, sizeof(why));
	assert_non_null(rig->snapshots);
}

static void rig_init(struct rig *rig)
{
	*rig = (struct rig){.folder = "/tmp/millrace-snapshot-XXXXXX",
			    .acknowledges = true,
			    .owned = task_set_all(TASKS)};
	assert_non_null(mkdtemp(rig->folder));
	for (uint32_t i = 0; i < TASKS; i++) {
		rig->heaps[i] = heap_new(i);
		assert_non_null(rig->heaps[i]);
		heap_set_root(rig->heaps[i], heap_take(rig->heaps[i], BLOCK, true));
	}
	rig_open(rig);
}

static void rig_close(struct rig *rig)
{
	snapshots_close(rig->snapshots);
	assert_int_equal(uv_run(&rig->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&rig->loop), 0);
	snapshots_free(rig->snapshots);
}

static void rig_done(struct rig *rig)
{
	char command[128];

	rig_close(rig);
	for (uint32_t i = 0; i < TASKS; i++)
		heap_free(rig->heaps[i]);
	snprintf(command, sizeof(command), "rm -rf %s", rig->folder);
	assert_int_equal(system(command), 0);
}

static struct image image_of(const struct rig *rig, uint64_t pane)
{
	struct image image = {
		.header = {
			.tasks = TASKS, .shape = 5, .epoch = 1, .pane = pane, .owned = rig->owned}};

	for (uint32_t i = 0; i < TASKS; i++)
		image.tasks[i].next = task_set_has(&rig->owned, i) ? (int64_t)(pane + i) : -1;
	image_build(image.header.build);
	return image;
}

/* A snapshot whose heaps say which pane it is of. */
static void cut(struct rig *rig, uint64_t pane)
{
	struct image image = image_of(rig, pane);

	for (uint32_t i = 0; i < TASKS; i++)
		memset(heap_root(rig->heaps[i]), (int)(pane & 0xff), BLOCK);
	snapshots_cut(rig->snapshots, &image, rig->heaps);
}

/* Until it counted or failed: the loop ends a turn when something happens or after a timer. */
static void settle(struct rig *rig)
{
	struct snapshots_stats before = snapshots_stats(rig->snapshots), now = before;

	for (int i = 0; i < TURNS_MAX && now.taken == before.taken && now.failed == before.failed;
	     i++) {
		uv_run(&rig->loop, UV_RUN_ONCE);
		now = snapshots_stats(rig->snapshots);
	}
	assert_true(now.taken + now.failed > before.taken + before.failed);
}

static void take(struct rig *rig, uint64_t pane)
{
	uint64_t taken = snapshots_stats(rig->snapshots).taken;

	cut(rig, pane);
	settle(rig);
	assert_int_equal(snapshots_stats(rig->snapshots).taken, taken + 1);
}

static int count(const struct rig *rig, const char *suffix)
{
	DIR *directory = opendir(rig->folder);
	struct dirent *entry;
	int found = 0;

	while ((entry = readdir(directory)) != NULL) {
		size_t length = strlen(entry->d_name), tail = strlen(suffix);

		found += length > tail && strcmp(entry->d_name + length - tail, suffix) == 0;
	}
	closedir(directory);
	return found;
}

static const char *path_of(const struct rig *rig, uint64_t pane)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%020llu.%016llx.snapshot", rig->folder,
		 (unsigned long long)pane, (unsigned long long)rig->instance);
	return path;
}

static bool there(const struct rig *rig, uint64_t pane)
{
	return access(path_of(rig, pane), F_OK) == 0;
}

static void unlock(const struct rig *rig)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%016llx.lock", rig->folder,
		 (unsigned long long)rig->instance);
	assert_int_equal(unlink(path), 0);
}

/* --- what is loaded --- */

static void on_told(void *context, const char *sentence)
{
	on_trouble(context, sentence);
}

/* The pane of the snapshot that a start would take; 0: none. Its bytes are the pane's. */
static uint64_t loaded(struct rig *rig, const struct snapshots_wanted *also)
{
	struct snapshots_wanted wanted = also ? *also : (struct snapshots_wanted){0};
	static struct image image;
	struct heap *heaps[TASKS];
	uint64_t pane = 0;

	wanted.folder = rig->folder;
	wanted.owned = rig->owned;
	wanted.tasks = wanted.tasks ? wanted.tasks : TASKS;
	wanted.shape = wanted.shape ? wanted.shape : 5;
	wanted.told = on_told;
	wanted.told_context = rig;
	rig->troubles = 0;
	for (uint32_t i = 0; i < TASKS; i++)
		heap_free(rig->heaps[i]);
	if (snapshots_load(&wanted, NULL, &image, heaps) == 0) {
		pane = image.header.pane;
		for (uint32_t i = 0; i < TASKS; i++) {
			const uint8_t *bytes = heap_root(heaps[i]);

			assert_int_equal(bytes[0], pane & 0xff);
			assert_memory_equal(bytes, bytes + 1, BLOCK - 1);
			heap_free(heaps[i]);
		}
	}
	for (uint32_t i = 0; i < TASKS; i++) {
		rig->heaps[i] = heap_new(i);
		assert_non_null(rig->heaps[i]);
		heap_set_root(rig->heaps[i], heap_take(rig->heaps[i], BLOCK, true));
	}
	return pane;
}

static void the_two_newest_are_kept(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	assert_int_equal(loaded(&rig, NULL), 0);
	for (uint64_t pane = 8; pane <= 40; pane += 8)
		take(&rig, pane);
	assert_int_equal(count(&rig, ".snapshot"), 2);
	assert_true(there(&rig, 32) && there(&rig, 40));
	assert_int_equal(count(&rig, ".new"), 0);
	assert_int_equal(loaded(&rig, NULL), 40);
	assert_int_equal(snapshots_stats(rig.snapshots).taken, 5);
	assert_int_equal(snapshots_stats(rig.snapshots).pane, 40);
	assert_int_equal(rig.troubles, 0);
	rig_done(&rig);
}

static void it_counts_only_when_outputs_are_acknowledged(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig.acknowledges = false;
	cut(&rig, 4);
	for (int i = 0; i < 30; i++)
		uv_run(&rig.loop, UV_RUN_ONCE);
	assert_int_equal(count(&rig, ".snapshot"), 0);
	assert_int_equal(count(&rig, ".snapshot.new"), 1);
	assert_int_equal(rig.asked, 0);
	/* No other while this one waits. */
	assert_false(snapshots_due(rig.snapshots, 8));
	cut(&rig, 8);
	assert_int_equal(rig.marks, 1);
	rig.acknowledges = true;
	settle(&rig);
	assert_true(there(&rig, 4));
	assert_int_equal(loaded(&rig, NULL), 4);
	rig_done(&rig);
}

static void what_changes_after_the_cut_is_not_in_it(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	cut(&rig, 4);
	for (uint32_t i = 0; i < TASKS; i++) /* a child that shared memory would write this */
		memset(heap_root(rig.heaps[i]), 0xee, BLOCK);
	settle(&rig);
	assert_int_equal(loaded(&rig, NULL), 4);
	rig_done(&rig);
}

static void a_damaged_one_is_passed_over_and_told(void **state)
{
	struct rig rig;
	int file;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	take(&rig, 8);
	file = open(path_of(&rig, 8), O_RDWR);
	assert_int_equal(pwrite(file, "x", 1, 200000), 1);
	close(file);
	assert_int_equal(loaded(&rig, NULL), 4);
	assert_int_equal(rig.troubles, 1);
	assert_non_null(strstr(rig.trouble, "is not used: a piece is not what was written"));
	assert_int_equal(truncate(path_of(&rig, 4), 1000), 0);
	assert_int_equal(loaded(&rig, NULL), 0);
	assert_int_equal(rig.troubles, 2);
	rig_done(&rig);
}

static void a_folder_that_cannot_be_read_is_told(void **state)
{
	struct rig rig = {0};
	static struct image image;
	struct heap *heaps[TASKS];
	struct snapshots_wanted wanted = {.folder = "/dev/null",
					  .tasks = TASKS,
					  .owned = task_set_all(TASKS),
					  .told = on_told,
					  .told_context = &rig};

	(void)state;
	assert_int_equal(snapshots_load(&wanted, NULL, &image, heaps), -ENOENT);
	assert_int_equal(rig.troubles, 1);
	assert_non_null(strstr(rig.trouble, "/dev/null cannot be read"));
	wanted.folder = "/nowhere";
	assert_int_equal(snapshots_load(&wanted, NULL, &image, heaps), -ENOENT);
	assert_int_equal(rig.troubles, 1);
}

static void one_of_other_settings_is_passed_over(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	assert_int_equal(loaded(&rig, &(struct snapshots_wanted){.shape = 6}), 0);
	assert_non_null(strstr(rig.trouble, "other settings"));
	assert_int_equal(loaded(&rig, &(struct snapshots_wanted){.tasks = 1}), 0);
	assert_non_null(strstr(rig.trouble, "other settings"));
	rig_done(&rig);
}

static void one_of_another_program_is_passed_over(void **state)
{
	struct rig rig;
	struct image image;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	image = image_of(&rig, 8);
	image.header.build[3] ^= 1;
	snapshots_cut(rig.snapshots, &image, rig.heaps);
	settle(&rig);
	assert_true(there(&rig, 8));
	assert_int_equal(loaded(&rig, NULL), 4);
	assert_non_null(strstr(rig.trouble, "another build"));
	rig_done(&rig);
}

static bool fits_first(void *context, const struct image *image, const char **why)
{
	const uint64_t *pane = context;

	*why = "too new";
	return image->header.pane <= *pane;
}

static void the_newest_that_fits_is_chosen(void **state)
{
	struct rig rig;
	uint64_t pane = 4;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	take(&rig, 8);
	assert_int_equal(
		loaded(&rig, &(struct snapshots_wanted){.fits = fits_first, .context = &pane}), 4);
	assert_non_null(strstr(rig.trouble, "too new"));
	pane = 3;
	assert_int_equal(
		loaded(&rig, &(struct snapshots_wanted){.fits = fits_first, .context = &pane}), 0);
	rig_done(&rig);
}

/* Else a start that reads an older log would throw its own away one after the other. */
static void files_of_a_later_log_do_not_displace_a_new_one(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	take(&rig, 1000);
	take(&rig, 2000);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(truncate(path_of(&rig, i ? 1000 : 2000), 100), 0);
	take(&rig, 4);
	assert_int_equal(loaded(&rig, NULL), 4);
	take(&rig, 8);
	assert_int_equal(loaded(&rig, NULL), 8);
	take(&rig, 12);
	assert_false(there(&rig, 4));
	assert_true(there(&rig, 8) && there(&rig, 12));
	rig_done(&rig);
}

static void a_child_that_is_killed_leaves_nothing(void **state)
{
	struct rig rig;
	char path[64], text[64] = {0};
	pid_t child;
	int file;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	for (uint32_t i = 0; i < TASKS; i++) /* long enough to be hit */
		memset(heap_take(rig.heaps[i], 256 << 20, false), 7, 256 << 20);
	cut(&rig, 8);
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = open(path, O_RDONLY);
	assert_true(read(file, text, sizeof(text) - 1) > 0);
	close(file);
	child = (pid_t)strtol(text, NULL, 10);
	assert_int_equal(kill(child, SIGKILL), 0);
	settle(&rig);
	assert_int_equal(snapshots_stats(rig.snapshots).failed, 1);
	assert_non_null(strstr(rig.trouble, "the process that wrote it ended"));
	assert_int_equal(count(&rig, ".new"), 0);
	assert_int_equal(loaded(&rig, NULL), 4);
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	take(&rig, 12);
	assert_int_equal(loaded(&rig, NULL), 12);
	rig_done(&rig);
}

static void a_disk_that_is_full_costs_only_the_snapshot(void **state)
{
	struct rlimit before, limit;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){BLOCK, before.rlim_max};
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	cut(&rig, 8);
	settle(&rig);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(snapshots_stats(rig.snapshots).failed, 1);
	assert_non_null(strstr(rig.trouble, strerror(EFBIG)));
	assert_int_equal(count(&rig, ".new"), 0);
	assert_int_equal(loaded(&rig, NULL), 4);
	take(&rig, 12);
	rig_done(&rig);
}

static void a_folder_that_went_away_costs_only_the_snapshot(void **state)
{
	struct rig rig;
	char command[256];

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	snprintf(command, sizeof(command), "rm -rf %s", rig.folder);
	assert_int_equal(system(command), 0);
	cut(&rig, 8);
	settle(&rig);
	assert_int_equal(snapshots_stats(rig.snapshots).failed, 1);
	assert_non_null(strstr(rig.trouble, strerror(ENOENT)));
	assert_int_equal(mkdir(rig.folder, 0700), 0);
	take(&rig, 12);
	assert_int_equal(loaded(&rig, NULL), 12);
	rig_done(&rig);
}

static void what_a_killed_process_left_unfinished_goes_at_the_next_start(void **state)
{
	struct rig rig;
	char path[256];

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	rig_close(&rig);
	snprintf(path, sizeof(path), "%s/%020u.%016x.%016x.snapshot.new", rig.folder, 8, 0, 1);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(count(&rig, ".new"), 1);
	rig_open(&rig);
	assert_int_equal(count(&rig, ".new"), 0);
	assert_true(there(&rig, 4));
	rig_done(&rig);
}

/* Who was stopped while its child wrote goes on after its successor has begun the same pane. */
static void a_zombie_does_not_name_what_its_successor_writes(void **state)
{
	struct rig zombie, successor;

	(void)state;
	rig_init(&zombie);
	zombie.acknowledges = false;
	cut(&zombie, 4); /* written, but not named: it stands here */
	for (int i = 0; i < 30; i++)
		uv_run(&zombie.loop, UV_RUN_ONCE);
	assert_int_equal(count(&zombie, ".snapshot.new"), 1);

	successor = zombie;
	unlock(&successor); /* on another host, over a disk that knows no locks between them */
	rig_open(&successor);
	assert_int_equal(count(&successor, ".new"), 0);
	successor.acknowledges = false;
	cut(&successor, 4);
	for (int i = 0; i < 30; i++)
		uv_run(&successor.loop, UV_RUN_ONCE);
	assert_int_equal(count(&successor, ".snapshot.new"), 1);

	zombie.acknowledges = true;
	settle(&zombie);
	assert_int_equal(count(&successor, ".snapshot"), 0);
	assert_int_equal(count(&successor, ".snapshot.new"), 1);
	successor.acknowledges = true;
	settle(&successor);
	assert_int_equal(snapshots_stats(zombie.snapshots).failed, 1);
	assert_int_equal(snapshots_stats(successor.snapshots).taken, 1);
	rig_close(&zombie);
	assert_int_equal(loaded(&successor, NULL), 4);
	rig_done(&successor);
}

static void count_handle(uv_handle_t *handle, void *context)
{
	(void)handle;
	++*(int *)context;
}

static void on_tick(uv_timer_t *timer)
{
	(void)timer;
}

/* Other handles of the loop come and go between. */
static void the_loop_stays_whole_over_many_snapshots(void **state)
{
	struct rig rig;
	uv_timer_t timers[8];
	int handles, before = 0;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	uv_walk(&rig.loop, count_handle, &before);
	for (int i = 0; i < 8; i++) {
		uv_timer_init(&rig.loop, &timers[i]);
		uv_timer_start(&timers[i], on_tick, 1, 1);
		take(&rig, 8 + (uint64_t)i);
		uv_run(&rig.loop, UV_RUN_NOWAIT);
		handles = 0;
		uv_walk(&rig.loop, count_handle, &handles);
		assert_int_equal(handles, before + i + 1);
	}
	for (int i = 0; i < 8; i++)
		uv_close((uv_handle_t *)&timers[i], NULL);
	uv_run(&rig.loop, UV_RUN_NOWAIT);
	handles = 0;
	uv_walk(&rig.loop, count_handle, &handles);
	assert_int_equal(handles, before);
	rig_done(&rig);
}

static void descriptors_do_not_pile_up(void **state)
{
	struct rig rig;
	int first, last;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	first = dup(0);
	close(first);
	for (uint64_t pane = 8; pane < 30; pane++)
		take(&rig, pane);
	last = dup(0);
	close(last);
	assert_int_equal(last, first);
	rig_done(&rig);
}

static void closing_ends_the_child_that_writes(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	take(&rig, 4);
	for (uint32_t i = 0; i < TASKS; i++)
		memset(heap_take(rig.heaps[i], 256 << 20, false), 7, 256 << 20);
	cut(&rig, 8);
	rig_close(&rig);
	assert_true(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
	rig_open(&rig);
	assert_int_equal(loaded(&rig, NULL), 4);
	assert_int_equal(count(&rig, ".new"), 0);
	rig_done(&rig);
}

static struct snapshots *refused(const char *folder, char *why, size_t size)
{
	static uv_loop_t loop;

	return snapshots_new(&(struct snapshots_options){.loop = &loop, .folder = folder}, why,
			     size);
}

static void of_one_instance_one_process_uses_the_folder(void **state)
{
	struct rig rig, other;
	char why[256];

	(void)state;
	rig_init(&rig);
	assert_null(refused(rig.folder, why, sizeof(why)));
	assert_non_null(strstr(why, "is used by another millraced: give each its own "
				    "snapshots.folder"));
	take(&rig, 4); /* the child that wrote does not hold it */
	other = rig;
	other.instance = 1;
	rig_open(&other);
	rig_close(&other);
	rig_close(&rig);
	rig_open(&rig);
	rig_done(&rig);
}

static void a_folder_that_others_may_write_to_is_refused(void **state)
{
	static const mode_t modes[] = {0777, 0770, 0720, 0702};
	char folder[] = "/tmp/millrace-snapshot-XXXXXX", why[256], path[128];
	int file;

	(void)state;
	assert_non_null(mkdtemp(folder));
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(chmod(folder, modes[i]), 0);
		assert_null(refused(folder, why, sizeof(why)));
		assert_non_null(strstr(why, "nobody else may write"));
	}
	assert_int_equal(chmod(folder, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(folder, 65534, 65534), 0);
		assert_null(refused(folder, why, sizeof(why)));
		assert_non_null(strstr(why, "must belong to this user"));
		assert_int_equal(chown(folder, 0, 0), 0);
	}
	snprintf(path, sizeof(path), "%s/file", folder);
	file = open(path, O_WRONLY | O_CREAT, 0600);
	close(file);
	assert_null(refused(path, why, sizeof(why)));
	assert_non_null(strstr(why, "is no folder"));
	snprintf(path, sizeof(path), "%s/none/none", folder);
	assert_null(refused(path, why, sizeof(why)));
	assert_non_null(strstr(why, "cannot be made"));
	snprintf(path, sizeof(path), "%s/file", folder);
	unlink(path);
	assert_int_equal(rmdir(folder), 0);
}

static void a_folder_that_is_missing_is_made_for_its_owner_alone(void **state)
{
	struct stat status;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig_close(&rig);
	unlock(&rig);
	assert_int_equal(rmdir(rig.folder), 0);
	rig_open(&rig);
	assert_int_equal(stat(rig.folder, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
	take(&rig, 4);
	assert_int_equal(stat(path_of(&rig, 4), &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	rig_done(&rig);
}

/* --- several instances --- */

/* Two of them over one folder, with a task each. */
struct pair {
	struct rig rigs[TASKS];
};

static void pair_init(struct pair *pair, uint32_t kept)
{
	rig_init(&pair->rigs[0]);
	rig_close(&pair->rigs[0]);
	for (uint32_t i = 0; i < TASKS; i++) {
		struct rig *rig = &pair->rigs[i];

		*rig = pair->rigs[0];
		rig->instance = 0xa0 + i;
		rig->owned = (struct task_set){{1 << i}};
		rig->kept = kept;
		rig_open(rig);
	}
}

static void pair_done(struct pair *pair)
{
	for (uint32_t i = 1; i < TASKS; i++)
		rig_close(&pair->rigs[i]);
	rig_done(&pair->rigs[0]);
}

static void pair_take(struct pair *pair, uint64_t pane)
{
	for (uint32_t i = 0; i < TASKS; i++)
		take(&pair->rigs[i], pane);
}

/* The pane from which these tasks would go on; 0: from none. Their bytes and places are the pane's.
 */
static uint64_t gone_on(struct pair *pair, struct task_set tasks, const struct lineup_pane *from)
{
	struct rig *rig = &pair->rigs[0];
	static struct image image;
	struct snapshots_wanted wanted = {.folder = rig->folder,
					  .tasks = TASKS,
					  .shape = 5,
					  .owned = tasks,
					  .told = on_told,
					  .told_context = rig};
	struct heap *heaps[TASKS] = {NULL};
	int rc;

	rig->troubles = 0;
	for (uint32_t i = 0; i < TASKS; i++)
		heap_free(rig->heaps[i]);
	rc = snapshots_load(&wanted, from, &image, heaps);
	assert_true(rc == 0 || rc == -ENOENT);
	for (uint32_t i = 0; i < TASKS; i++) {
		assert_int_equal(heaps[i] != NULL, rc == 0 && task_set_has(&tasks, i));
		if (heaps[i]) {
			assert_int_equal(*(uint8_t *)heap_root(heaps[i]), image.header.pane & 0xff);
			assert_int_equal(image.tasks[i].next, image.header.pane + i);
			heap_free(heaps[i]);
		}
	}
	for (uint32_t i = 0; i < TASKS; i++) {
		struct heap *heap = heap_new(i);

		assert_non_null(heap);
		heap_set_root(heap, heap_take(heap, BLOCK, true));
		for (uint32_t j = 0; j < TASKS; j++)
			pair->rigs[j].heaps[i] = heap;
	}
	if (rc == 0)
		assert_memory_equal(&image.header.owned, &tasks, sizeof(tasks));
	return rc ? 0 : image.header.pane;
}

static size_t panes_of(struct pair *pair, struct task_set tasks, struct lineup_pane *panes,
		       size_t max)
{
	struct snapshots_wanted wanted = {
		.folder = pair->rigs[0].folder, .tasks = TASKS, .shape = 5, .owned = tasks};

	return snapshots_panes(&wanted, panes, max);
}

static void damage(const char *path)
{
	int file = open(path, O_RDWR);

	assert_int_equal(pwrite(file, "x", 1, 100000), 1);
	close(file);
}

static const struct task_set all = {{3}}, first = {{1}}, second = {{2}};

static void files_of_two_instances_give_all_tasks(void **state)
{
	struct lineup_pane panes[LINEUP_PANES];
	struct pair pair;

	(void)state;
	pair_init(&pair, 4);
	pair_take(&pair, 4);
	pair_take(&pair, 8);
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 4);
	assert_int_equal(gone_on(&pair, all, NULL), 8);
	assert_int_equal(pair.rigs[0].troubles, 0);
	assert_int_equal(panes_of(&pair, all, panes, LINEUP_PANES), 2);
	assert_int_equal(panes[0].pane, 8);
	assert_int_equal(panes[0].epoch, 1);
	assert_int_equal(panes[1].pane, 4);
	assert_int_equal(panes_of(&pair, all, panes, 1), 1);
	assert_int_equal(panes[0].pane, 8);
	pair_done(&pair);
}

static void a_pane_that_lacks_a_task_is_none_to_go_on_from(void **state)
{
	struct lineup_pane panes[LINEUP_PANES];
	struct pair pair;

	(void)state;
	pair_init(&pair, 4);
	pair_take(&pair, 4);
	take(&pair.rigs[0], 8);
	assert_int_equal(panes_of(&pair, all, panes, LINEUP_PANES), 1);
	assert_int_equal(panes[0].pane, 4);
	assert_int_equal(gone_on(&pair, all, NULL), 4);
	assert_int_equal(pair.rigs[0].troubles, 1);
	assert_non_null(strstr(pair.rigs[0].trouble, "lack some of the tasks"));
	assert_int_equal(panes_of(&pair, first, panes, LINEUP_PANES), 2);
	assert_int_equal(gone_on(&pair, first, NULL), 8);
	assert_int_equal(panes_of(&pair, second, panes, LINEUP_PANES), 1);
	assert_int_equal(gone_on(&pair, second, NULL), 4);
	pair_done(&pair);
}

static void files_of_different_epochs_are_not_mixed(void **state)
{
	struct lineup_pane panes[LINEUP_PANES];
	struct pair pair;
	struct image image;

	(void)state;
	pair_init(&pair, 4);
	pair_take(&pair, 4);
	take(&pair.rigs[0], 8);
	image = image_of(&pair.rigs[1], 8);
	image.header.epoch = 2;
	snapshots_cut(pair.rigs[1].snapshots, &image, pair.rigs[1].heaps);
	settle(&pair.rigs[1]);
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 4);
	assert_int_equal(gone_on(&pair, all, NULL), 4);
	assert_int_equal(panes_of(&pair, all, panes, LINEUP_PANES), 1);
	assert_int_equal(panes_of(&pair, second, panes, LINEUP_PANES), 2);
	assert_int_equal(panes[0].epoch, 2);
	assert_int_equal(gone_on(&pair, first, NULL), 8);
	assert_int_equal(gone_on(&pair, first, &(struct lineup_pane){2, 8}), 0);
	pair_done(&pair);
}

static void one_pane_is_gone_on_from_if_it_must_be_that_one(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 4);
	for (uint64_t pane = 4; pane <= 12; pane += 4)
		pair_take(&pair, pane);
	assert_int_equal(gone_on(&pair, all, &(struct lineup_pane){1, 8}), 8);
	assert_int_equal(gone_on(&pair, all, &(struct lineup_pane){1, 7}), 0);
	assert_int_equal(gone_on(&pair, all, &(struct lineup_pane){2, 8}), 0);
	damage(path_of(&pair.rigs[1], 8));
	assert_int_equal(gone_on(&pair, all, &(struct lineup_pane){1, 8}), 0);
	assert_int_equal(pair.rigs[0].troubles, 1);
	pair_done(&pair);
}

static void some_tasks_are_taken_from_a_file_of_more(void **state)
{
	struct lineup_pane panes[LINEUP_PANES];
	struct pair pair;

	(void)state;
	pair_init(&pair, 4);
	pair.rigs[0].owned = all; /* before there were two */
	take(&pair.rigs[0], 4);
	assert_int_equal(gone_on(&pair, second, NULL), 4);
	assert_int_equal(gone_on(&pair, first, NULL), 4);
	assert_int_equal(panes_of(&pair, second, panes, LINEUP_PANES), 1);
	pair_done(&pair);
}

static void a_damaged_file_of_another_instance_is_made_up_for_or_passed_over(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 4);
	pair_take(&pair, 4);
	pair.rigs[0].owned = all; /* it had the other's task, too, that time */
	take(&pair.rigs[0], 8);
	pair.rigs[0].owned = first;
	take(&pair.rigs[1], 8);
	pair_take(&pair, 12);
	damage(path_of(&pair.rigs[1], 12));
	assert_int_equal(gone_on(&pair, all, NULL), 8);
	assert_int_equal(pair.rigs[0].troubles, 1);
	assert_non_null(strstr(pair.rigs[0].trouble, "a piece is not what was written"));
	damage(path_of(&pair.rigs[0], 8)); /* of its first task */
	assert_int_equal(gone_on(&pair, second, NULL), 8);
	assert_int_equal(gone_on(&pair, all, NULL), 4);
	pair_done(&pair);
}

static void what_is_as_old_as_what_one_lets_go_goes_with_it(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 3);
	for (uint64_t pane = 4; pane <= 16; pane += 4)
		pair_take(&pair, pane);
	for (uint32_t i = 0; i < TASKS; i++)
		assert_true(!there(&pair.rigs[i], 4) && there(&pair.rigs[i], 8));
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 6);
	for (uint64_t pane = 20; pane <= 28; pane += 4) { /* one of them is gone */
		take(&pair.rigs[0], pane);
		assert_int_equal(there(&pair.rigs[1], 16), pane < 28);
	}
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 3);
	take(&pair.rigs[1], 4); /* one that begins far behind takes nothing from the other */
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 4);
	pair_done(&pair);
}

static void the_one_that_is_needed_stays_whatever_is_written_after_it(void **state)
{
	const struct task_set both = task_set_all(TASKS);
	struct pair pair;

	(void)state;
	pair_init(&pair, 8);
	pair_take(&pair, 4);
	for (uint32_t i = 0; i < TASKS; i++)
		snapshots_need(pair.rigs[i].snapshots, 4);
	for (uint64_t pane = 8; pane <= 80; pane += 4) /* the other one is slow */
		take(&pair.rigs[0], pane);
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 8 + 1);
	assert_true(there(&pair.rigs[0], 56) && !there(&pair.rigs[0], 52));
	assert_int_equal(gone_on(&pair, both, NULL), 4);
	take(&pair.rigs[1], 64);
	take(&pair.rigs[1], 80);
	assert_true(there(&pair.rigs[1], 4));
	for (uint32_t i = 0; i < TASKS; i++)
		snapshots_need(pair.rigs[i].snapshots, 80);
	pair_take(&pair, 84);
	assert_int_equal(count(&pair.rigs[0], ".snapshot"), 4);
	assert_int_equal(gone_on(&pair, both, NULL), 84);
	pair_done(&pair);
}

static void another_instances_file_that_is_needed_stays(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 8);
	take(&pair.rigs[1], 4);
	snapshots_need(pair.rigs[0].snapshots, 4);
	for (uint64_t pane = 8; pane <= 80; pane += 4)
		take(&pair.rigs[0], pane);
	assert_true(there(&pair.rigs[1], 4));
	snapshots_need(pair.rigs[0].snapshots, 80);
	take(&pair.rigs[0], 84);
	assert_false(there(&pair.rigs[1], 4));
	pair_done(&pair);
}

static void age_unfinished(const struct rig *rig)
{
	struct timespec times[2] = {{.tv_sec = time(NULL) - 601}, {.tv_sec = time(NULL) - 601}};
	DIR *directory = opendir(rig->folder);
	struct dirent *entry;

	while ((entry = readdir(directory)) != NULL) {
		if (strstr(entry->d_name, ".new"))
			assert_int_equal(utimensat(dirfd(directory), entry->d_name, times, 0), 0);
	}
	closedir(directory);
}

static void another_instances_unfinished_one_goes_when_it_is_old(void **state)
{
	struct pair pair;

	(void)state;
	pair_init(&pair, 2);
	pair.rigs[0].acknowledges = false;
	cut(&pair.rigs[0], 4);
	for (int i = 0; i < 30; i++)
		uv_run(&pair.rigs[0].loop, UV_RUN_ONCE);
	assert_int_equal(count(&pair.rigs[0], ".snapshot.new"), 1);
	rig_close(&pair.rigs[1]);
	rig_open(&pair.rigs[1]);
	assert_int_equal(count(&pair.rigs[0], ".snapshot.new"), 1);
	rig_close(&pair.rigs[1]);
	age_unfinished(&pair.rigs[0]);
	rig_open(&pair.rigs[1]);
	assert_int_equal(count(&pair.rigs[0], ".snapshot.new"), 0);
	pair_done(&pair);
}

static void each_cut_is_due_when_the_last_one_counted_if_it_must_be(void **state)
{
	struct rig rig;

	(void)state;
	rig_init(&rig);
	rig_close(&rig);
	rig.period_ns = 3600ULL * 1000000000;
	rig_open(&rig);
	assert_false(snapshots_due(rig.snapshots, 4));
	rig_close(&rig);
	rig.period_ns = 4 * PANE_NS;
	rig.every_cut = true;
	rig_open(&rig);
	take(&rig, 4);
	take(&rig, 8);
	rig.acknowledges = false;
	assert_false(snapshots_due(rig.snapshots, 12));
	rig.acknowledges = true;
	assert_true(snapshots_due(rig.snapshots, 12));
	rig_done(&rig);
}

/* Tells whether the next one was due before this time had passed since the last began. */
static bool is_due_within(struct rig *rig, uint64_t pane, uint64_t since_ns, uint64_t within_ns)
{
	while (uv_hrtime() - since_ns < within_ns) {
		if (snapshots_due(rig->snapshots, pane))
			return true;
		uv_sleep(1);
	}
	return false;
}

static void one_that_costs_more_than_its_share_is_taken_less_often(void **state)
{
	const uint64_t period_ns = 100000000;
	struct rig rig;

	(void)state;
	rig_init(&rig);
	for (int dear = 0; dear < 2; dear++) {
		uint64_t began_ns;

		rig_close(&rig);
		rig.period_ns = period_ns;
		rig.share = dear ? 1e-9 : 0;
		rig_open(&rig);
		assert_true(is_due_within(&rig, 4, uv_hrtime(), 100 * period_ns));
		began_ns = uv_hrtime();
		take(&rig, 4 + (uint64_t)dear);
		assert_true(snapshots_stats(rig.snapshots).cost_s > 0);
		/* Never less often than that, whatever it costs. */
		assert_int_equal(is_due_within(&rig, 8, began_ns, 7 * period_ns), !dear);
		assert_true(is_due_within(&rig, 8, began_ns, 100 * period_ns));
	}
	rig_done(&rig);
}

/* Whether one is taken at each multiple of so many panes, and at none between. */
static void assert_apart(const struct rig *rig, uint64_t panes)
{
	for (uint64_t pane = 4; pane <= 64; pane += 4)
		assert_int_equal(snapshots_due(rig->snapshots, pane), pane % panes == 0);
}

static void among_several_it_is_taken_at_panes_that_all_take(void **state)
{
	struct rig rig;
	uint64_t pane = 0;
	void *much;

	(void)state;
	rig_init(&rig);
	rig_close(&rig);
	rig.period_ns = 4 * PANE_NS;
	rig.every_cut = true;
	rig.share = 1e-9;
	rig_open(&rig);
	take(&rig, 32); /* the first has none before it */
	assert_apart(&rig, 4);
	take(&rig, 64);
	assert_apart(&rig, 8);
	take(&rig, 96);
	assert_apart(&rig, 16);
	take(&rig, 128);
	assert_apart(&rig, 32);
	take(&rig, 160);
	assert_apart(&rig, 32);
	rig_close(&rig);

	/* And more often again when it costs less. */
	rig.share = 0.1;
	rig_open(&rig);
	much = heap_take(rig.heaps[0], MUCH, true);
	memset(much, 7, MUCH);
	for (int i = 0; i < 20 && snapshots_due(rig.snapshots, 4); i++)
		take(&rig, pane += 32);
	assert_false(snapshots_due(rig.snapshots, 4));
	heap_give(rig.heaps[0], much);
	for (int i = 0; i < 20 && !snapshots_due(rig.snapshots, 4); i++) {
		uv_sleep(500);
		take(&rig, pane += 32);
	}
	assert_apart(&rig, 4);
	rig_done(&rig);
}

static void *cut_and_end(void *context)
{
	const struct timespec a_moment = {.tv_nsec = 5000000};

	cut(context, 4);
	nanosleep(&a_moment, NULL); /* the child has begun */
	return NULL;
}

/* A run among several instances ends with its threads, and the process goes on. */
static void it_counts_when_the_thread_that_cut_has_ended(void **state)
{
	struct rig rig;
	pthread_t thread;
	void *much;

	(void)state;
	rig_init(&rig);
	rig_close(&rig);
	rig.every_cut = true;
	rig_open(&rig);
	much = heap_take(rig.heaps[0], MUCH, true); /* takes the child longer than the moment */
	memset(much, 7, MUCH);
	assert_int_equal(pthread_create(&thread, NULL, cut_and_end, &rig), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	settle(&rig);
	assert_string_equal(rig.trouble, "");
	assert_true(there(&rig, 4));
	rig_done(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_counts_when_the_thread_that_cut_has_ended),
		cmocka_unit_test(one_that_costs_more_than_its_share_is_taken_less_often),
		cmocka_unit_test(among_several_it_is_taken_at_panes_that_all_take),
		cmocka_unit_test(the_two_newest_are_kept),
		cmocka_unit_test(it_counts_only_when_outputs_are_acknowledged),
		cmocka_unit_test(what_changes_after_the_cut_is_not_in_it),
		cmocka_unit_test(a_damaged_one_is_passed_over_and_told),
		cmocka_unit_test(a_folder_that_cannot_be_read_is_told),
		cmocka_unit_test(one_of_other_settings_is_passed_over),
		cmocka_unit_test(one_of_another_program_is_passed_over),
		cmocka_unit_test(the_newest_that_fits_is_chosen),
		cmocka_unit_test(files_of_a_later_log_do_not_displace_a_new_one),
		cmocka_unit_test(a_child_that_is_killed_leaves_nothing),
		cmocka_unit_test(a_disk_that_is_full_costs_only_the_snapshot),
		cmocka_unit_test(a_folder_that_went_away_costs_only_the_snapshot),
		cmocka_unit_test(what_a_killed_process_left_unfinished_goes_at_the_next_start),
		cmocka_unit_test(a_zombie_does_not_name_what_its_successor_writes),
		cmocka_unit_test(the_loop_stays_whole_over_many_snapshots),
		cmocka_unit_test(descriptors_do_not_pile_up),
		cmocka_unit_test(closing_ends_the_child_that_writes),
		cmocka_unit_test(of_one_instance_one_process_uses_the_folder),
		cmocka_unit_test(a_folder_that_others_may_write_to_is_refused),
		cmocka_unit_test(a_folder_that_is_missing_is_made_for_its_owner_alone),
		cmocka_unit_test(files_of_two_instances_give_all_tasks),
		cmocka_unit_test(a_pane_that_lacks_a_task_is_none_to_go_on_from),
		cmocka_unit_test(files_of_different_epochs_are_not_mixed),
		cmocka_unit_test(one_pane_is_gone_on_from_if_it_must_be_that_one),
		cmocka_unit_test(some_tasks_are_taken_from_a_file_of_more),
		cmocka_unit_test(a_damaged_file_of_another_instance_is_made_up_for_or_passed_over),
		cmocka_unit_test(what_is_as_old_as_what_one_lets_go_goes_with_it),
		cmocka_unit_test(the_one_that_is_needed_stays_whatever_is_written_after_it),
		cmocka_unit_test(another_instances_file_that_is_needed_stays),
		cmocka_unit_test(another_instances_unfinished_one_goes_when_it_is_old),
		cmocka_unit_test(each_cut_is_due_when_the_last_one_counted_if_it_must_be),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
