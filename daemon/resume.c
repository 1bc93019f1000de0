#include "daemon/resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "daemon/snapshot.h"
#include "daemon/survey.h"

/* Tasks run their panes together, so one that told nothing for longer had nothing to tell; one
 * whose partition could not be written to had its records in the producer's queue, which is full
 * sooner. */
enum { BEHIND_PANES = 600 * PANES_PER_S };

struct search {
	const struct resume_options *options;
	const struct survey_task *found;
};

/* How many outputs of the epoch there are. */
static uint64_t written_of(const struct survey_last *last, uint64_t epoch)
{
	return last->epoch == epoch ? last->sequence + 1 : 0;
}

static bool task_fits(const struct image *image, const struct survey_task *found,
		      const struct image_task *task, const char **why)
{
	if (task->next > found->high) {
		*why = "the log of events ends before it: it is another log, or was cut";
		return false;
	}
	for (int output = 0; output < SURVEY_OUTPUTS; output++) {
		const struct survey_last *last = &found->last[output];

		if (last->epoch > image->header.epoch) {
			*why = "another pipeline has written to the outputs since";
			return false;
		}
		if (last->epoch &&
		    written_of(last, image->header.epoch) < task->sequences[output]) {
			*why = "the outputs lack records that were written before it";
			return false;
		}
		if (last->epoch == image->header.epoch && last->digest >= 0 &&
		    last->sequence + 1 == task->sequences[output] &&
		    last->digest != (int64_t)task->digests[output]) {
			*why = "the outputs hold something else than was written before it";
			return false;
		}
	}
	return true;
}

static bool fits(void *context, const struct image *image, const char **why)
{
	const struct search *search = context;

	for (uint32_t i = 0; i < image->header.tasks; i++) {
		if (task_set_has(&image->header.owned, i) &&
		    !task_fits(image, &search->found[i], &image->tasks[i], why))
			return false;
	}
	return true;
}

static void go_on(struct resume *resume, const struct image *image, const struct survey_task *found)
{
	resume->goes_on = true;
	resume->epoch = image->header.epoch;
	resume->pane = image->header.pane;
	for (uint32_t i = 0; i < image->header.tasks; i++) {
		struct exit_numbers *numbers = &resume->numbers[i];

		resume->next[i] = -1;
		if (!task_set_has(&image->header.owned, i))
			continue;
		resume->next[i] = image->tasks[i].next;
		memcpy(numbers->next, image->tasks[i].sequences, sizeof(numbers->next));
		memcpy(numbers->digests, image->tasks[i].digests, sizeof(numbers->digests));
		for (int output = 0; output < SURVEY_OUTPUTS; output++) {
			const struct survey_last *last = &found[i].last[output];

			numbers->written[output] = written_of(last, image->header.epoch);
			numbers->written_digest[output] = last->digest;
			if (last->epoch == image->header.epoch && last->pane)
				numbers->last[output] =
					(struct exit_place){last->pane, last->place + 1};
		}
	}
}

/* Without a snapshot: what was told last says where to begin to tell. */
static void look_back(const struct resume_options *options, struct resume *resume,
		      const struct survey_task *found)
{
	for (uint32_t i = 0; i < options->tasks; i++) {
		struct exit_place *told = resume->numbers[i].told;
		struct resume_reach reach = {.read_before = found[i].committed >= 0};

		if (!task_set_has(&options->owned, i))
			continue;
		for (int output = 0; output < SURVEY_OUTPUTS; output++) {
			const struct survey_last *last = &found[i].last[output];

			if (last->epoch > resume->newest_epoch)
				resume->newest_epoch = last->epoch;
			if (last->pane)
				told[output] = (struct exit_place){last->pane, last->place + 1};
			if (last->pane > resume->known[i])
				resume->known[i] = last->pane;
		}
		/* Dead letters are in one partition: as far as rows were told, so were they. */
		told[IMAGE_DEADLETTERS] = told[IMAGE_ROLLUPS];
		reach.oldest = reach.newest = told[IMAGE_ROLLUPS].pane;
		resume_join(&resume->reach, &reach);
	}
}

void resume_join(struct resume_reach *reach, const struct resume_reach *more)
{
	reach->read_before |= more->read_before;
	if (more->oldest && (!reach->oldest || more->oldest < reach->oldest))
		reach->oldest = more->oldest;
	if (more->newest > reach->newest)
		reach->newest = more->newest;
}

/* And how long before it to begin to read. */
void resume_follow(struct resume *resume, const struct resume_reach *reach, uint64_t warm_ns)
{
	uint64_t oldest = reach->oldest;

	if (!reach->read_before) {
		memset(resume->known, 0, sizeof(resume->known));
		for (uint32_t i = 0; i < IMAGE_TASKS_MAX; i++)
			memset(resume->numbers[i].told, 0, sizeof(resume->numbers[i].told));
		return;
	}
	if (reach->newest == 0)
		return;
	if (oldest + BEHIND_PANES < reach->newest)
		oldest = reach->newest - BEHIND_PANES;
	resume->follows = true;
	resume->begin_ns = oldest * PANE_NS > warm_ns ? oldest * PANE_NS - warm_ns : 1;
}

static void make_heaps(const struct resume_options *options, struct resume *resume)
{
	char sentence[256];

	resume->has_heaps = true;
	for (uint32_t i = 0; i < options->tasks; i++) {
		if (!task_set_has(&options->owned, i))
			continue;
		resume->heaps[i] = heap_new(i);
		if (resume->heaps[i])
			continue;
		snprintf(sentence, sizeof(sentence),
			 "no snapshots are taken: the addresses for the tasks' memory cannot be "
			 "had: %s",
			 strerror(errno));
		options->told(options->context, sentence);
		resume_done(resume, options->tasks);
		return;
	}
}

/* 0: it goes on; -ENOENT: from no snapshot. */
static int load(const struct resume_options *options, struct resume *resume,
		const struct survey_task *found)
{
	struct search search = {.options = options, .found = found};
	struct snapshots_wanted wanted = {.folder = options->folder,
					  .shape = options->shape,
					  .tasks = options->tasks,
					  .owned = options->owned,
					  .context = &search,
					  .fits = fits,
					  .told = options->told,
					  .told_context = options->context};
	struct image *image;
	int rc;

	if (!options->folder)
		return -ENOENT;
	image = memory_zeroed(1, sizeof(*image));
	rc = snapshots_load(&wanted, options->from, image, resume->heaps);
	if (rc == 0) {
		resume->has_heaps = true;
		go_on(resume, image, found);
	}
	free(image);
	return rc;
}

static bool any_told(const struct survey_task *found, uint32_t tasks)
{
	bool told = false;

	for (uint32_t i = 0; i < tasks; i++) {
		for (int output = 0; output < SURVEY_OUTPUTS; output++)
			told |= found[i].last[output].epoch > 0;
	}
	return told;
}

/* 0: it goes on; -ENOENT: from no snapshot; or what the survey said. */
static int look(const struct resume_options *options, struct resume *resume,
		struct survey_task *found, bool far, char *why, size_t size)
{
	struct survey_options question = {.brokers = options->brokers,
					  .security = options->security,
					  .group = options->group,
					  .tasks = options->tasks,
					  .owned = options->owned,
					  .timeout_ms = options->timeout_ms,
					  .cancelled = options->cancelled,
					  .far = far};
	bool anew = options->from && options->from->pane == 0;
	int rc = survey(&question, found, why, size);

	if (rc)
		return rc;
	return anew ? -ENOENT : load(options, resume, found);
}

static void tell(const struct resume_options *options, const char *what)
{
	char sentence[256];

	snprintf(sentence, sizeof(sentence),
		 "the tasks cannot begin from pane %" PRIu64 " of epoch %" PRIu64 ": %s",
		 options->from->pane, options->from->epoch, what);
	options->told(options->context, sentence);
}

/* Whether what was asked for is what it is, so far; else told. */
static bool is_possible(const struct resume_options *options, const struct resume *resume)
{
	if (!options->from)
		return true;
	if (options->from->pane) {
		tell(options, "there is no snapshot of it that fits");
		return false;
	}
	if (resume->newest_epoch < options->from->epoch)
		return true;
	tell(options, "another pipeline has written to the outputs since");
	return false;
}

int resume_find(const struct resume_options *options, struct resume *resume, char *why, size_t size)
{
	struct survey_task *found = memory_zeroed(options->tasks, sizeof(*found));
	int rc;

	memset(resume, 0, sizeof(*resume));
	rc = look(options, resume, found, false, why, size);
	if (rc == -ENOENT && any_told(found, options->tasks))
		rc = look(options, resume, found, true, why, size);
	if (rc == -ENOENT)
		look_back(options, resume, found);
	if (rc == -ENOENT && !options->from)
		resume_follow(resume, &resume->reach, options->warm_ns);
	free(found);
	if (rc == 0 || rc == -EAGAIN || rc == -ECANCELED)
		return rc;
	if (rc != -ENOENT)
		options->told(options->context, why);
	if (!is_possible(options, resume))
		return -ENOENT;
	if (options->from)
		resume->epoch = options->from->epoch;
	if (options->folder)
		make_heaps(options, resume);
	return 0;
}

void resume_done(struct resume *resume, uint32_t tasks)
{
	for (uint32_t i = 0; i < tasks && resume->has_heaps; i++) {
		if (resume->heaps[i])
			heap_free(resume->heaps[i]);
		resume->heaps[i] = NULL;
	}
	resume->has_heaps = false;
}
