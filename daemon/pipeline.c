#include "daemon/pipeline.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/real.h"
#include "daemon/culprit.h"
#include "daemon/mailbox.h"
#include "daemon/watchdog.h"

/* Records a partition may give before the other partitions of its worker have their turn. */
enum { RECORDS_A_TURN = 256 };

struct input {
	uv_poll_t poll;
	struct worker *worker;
	uint32_t task;
	int descriptor;
	bool ready;    /* may have records */
	uint64_t pane; /* that left the aggregate last; 0: none yet */
	int64_t next;  /* offset of the record that is read next; -1: none was */
	struct histogram event_to_pane;
};

struct worker {
	struct pipeline *pipeline;
	uv_loop_t loop;
	uv_thread_t thread;
	struct mailbox mailbox;
	uv_idle_t again; /* runs while an input has more to read */
	uv_timer_t turn, stats;
	struct input *inputs;
	uint32_t inputs_count;
	_Atomic bool stopping;
	bool closed;
	uint64_t stands; /* before this pane, with all of its tasks; 0: it does not */
};

struct pipeline {
	struct pipeline_options options;
	struct task **tasks;	/* NULL: runs elsewhere */
	struct worker **places; /* by task; likewise */
	struct worker *workers;
	bool started;
	_Atomic uint32_t standing; /* workers */
	_Atomic uint64_t let_into; /* the pane before which all stood last */
	int64_t *next;		   /* by task, at a cut */
};

static struct worker *place_of(const struct pipeline *pipeline, const struct letter *letter)
{
	return pipeline->places[((const struct message *)letter)->task];
}

/* A worker is woken once for all that is its. */
void pipeline_deliver(struct pipeline *pipeline, struct message *messages)
{
	struct letter *left = &messages->letter;

	while (left) {
		struct worker *worker = place_of(pipeline, left);
		struct letter *its, **its_end = &its, **end = &left;

		for (struct letter *letter = left; letter; letter = letter->next) {
			if (place_of(pipeline, letter) == worker) {
				*its_end = letter;
				its_end = &letter->next;
			} else {
				*end = letter;
				end = &letter->next;
			}
		}
		*its_end = *end = NULL;
		mailbox_send_all(&worker->mailbox, its);
	}
}

static uint32_t number_of(const struct worker *worker)
{
	return (uint32_t)(worker - worker->pipeline->workers);
}

static void on_send(void *context, struct message *message)
{
	const struct pipeline *pipeline = context;
	const struct pipeline_elsewhere *elsewhere = &pipeline->options.elsewhere;
	struct worker *worker = pipeline->places[message->task];

	if (worker)
		mailbox_send(&worker->mailbox, &message->letter);
	else
		elsewhere->send(elsewhere->context, number_of(pipeline->places[message->source]),
				message);
}

/* --- a worker's turn --- */

static void take_mail(struct worker *worker)
{
	struct letter *letter = mailbox_take(&worker->mailbox);

	while (letter) {
		struct letter *next = letter->next;
		struct message *message = (struct message *)letter;

		task_receive(worker->pipeline->tasks[message->task], message);
		letter = next;
	}
}

static void read_record(struct worker *worker, struct input *input,
			const struct mirror_record *record)
{
	struct culprits *culprits = worker->pipeline->options.culprits;
	struct task *task = worker->pipeline->tasks[input->task];

	if (culprits && culprits_enter(culprits, input->task, record))
		task_pass_over(task, record);
	else
		task_records(task, record, 1);
	if (culprits)
		culprits_leave(culprits, input->task);
	input->next = record->offset + 1;
	watchdog_beat();
}

/* Returns whether the input may have more and its task wants it. */
static bool read_input(struct worker *worker, struct input *input)
{
	const struct pipeline_source *source = &worker->pipeline->options.source;
	struct task *task = worker->pipeline->tasks[input->task];
	struct mirror_record record;

	for (int i = 0; i < RECORDS_A_TURN && input->ready; i++) {
		if (!task_hungry(task))
			return false;
		if (!source->next(source->context, input->task, &record)) {
			input->ready = false;
			continue;
		}
		read_record(worker, input, &record);
	}
	return input->ready;
}

/* Whole panes only: the clock is read once a pane that leaves. */
static bool run_task(struct worker *worker, struct input *input)
{
	struct task *task = worker->pipeline->tasks[input->task];
	bool any = task_run(task);
	uint64_t next = task_pane(task);
	uint64_t now;

	watchdog_beat();
	if (next == 0 || (input->pane && input->pane + 1 == next))
		return any;
	now = real_ns();
	for (uint64_t pane = input->pane ? input->pane + 1 : next; pane < next; pane++)
		histogram_observe(&input->event_to_pane,
				  (double)(int64_t)(now - pane * PANE_NS) / NS_PER_S);
	input->pane = next - 1;
	return any;
}

static void worker_close(struct worker *worker);
static void on_again(uv_idle_t *idle);

/* --- standing still --- */

static struct task *task_of(const struct worker *worker, uint32_t input)
{
	return worker->pipeline->tasks[worker->inputs[input].task];
}

static bool all_held(const struct worker *worker)
{
	for (uint32_t i = 0; i < worker->inputs_count; i++) {
		if (!task_held(task_of(worker, i)))
			return false;
	}
	return true;
}

/* All workers stand: the cut, then all are woken. */
static void cut(struct pipeline *pipeline, uint64_t pane)
{
	for (uint32_t i = 0; i < pipeline->options.workers; i++) {
		const struct worker *worker = &pipeline->workers[i];

		for (uint32_t j = 0; j < worker->inputs_count; j++)
			pipeline->next[worker->inputs[j].task] = worker->inputs[j].next;
	}
	if (pipeline->options.cut)
		pipeline->options.cut(pipeline->options.cut_context, pane, pipeline->next);
	atomic_store(&pipeline->standing, 0);
	atomic_store(&pipeline->let_into, pane);
	for (uint32_t i = 0; i < pipeline->options.workers; i++)
		uv_async_send(&pipeline->workers[i].mailbox.wake);
}

/* From here on until it goes on the worker touches none of its tasks. */
static void stand(struct worker *worker)
{
	struct pipeline *pipeline = worker->pipeline;

	worker->stands = task_pane(task_of(worker, 0));
	for (uint32_t i = 0; i < worker->inputs_count; i++)
		task_settle(task_of(worker, i));
	uv_idle_stop(&worker->again);
	if (atomic_fetch_add(&pipeline->standing, 1) + 1 == pipeline->options.workers)
		cut(pipeline, worker->stands);
}

/* Whether it may work again. */
static bool go_on(struct worker *worker)
{
	if (!worker->stands)
		return true;
	if (atomic_load(&worker->pipeline->let_into) != worker->stands)
		return false;
	worker->stands = 0;
	for (uint32_t i = 0; i < worker->inputs_count; i++)
		task_release(task_of(worker, i));
	return true;
}

/* Before records are read, which takes its time, and before the worker waits. */
static void flush(const struct worker *worker)
{
	const struct pipeline_elsewhere *elsewhere = &worker->pipeline->options.elsewhere;

	if (elsewhere->flush)
		elsewhere->flush(elsewhere->context, number_of(worker));
}

/* Mail, records, stages, until nothing is left that can be done without waiting. */
static void work(struct worker *worker)
{
	bool more = false;

	if (worker->closed)
		return;
	if (atomic_load(&worker->stopping)) {
		worker_close(worker);
		return;
	}
	if (!go_on(worker))
		return;
	for (bool moved = true; moved;) {
		moved = false;
		take_mail(worker);
		for (uint32_t i = 0; i < worker->inputs_count; i++)
			moved |= run_task(worker, &worker->inputs[i]);
	}
	flush(worker);
	for (uint32_t i = 0; i < worker->inputs_count; i++)
		more |= read_input(worker, &worker->inputs[i]);
	for (uint32_t i = 0; i < worker->inputs_count; i++)
		more |= run_task(worker, &worker->inputs[i]);
	flush(worker);
	if (all_held(worker)) {
		stand(worker);
		return;
	}
	if (more && !uv_is_active((uv_handle_t *)&worker->again))
		uv_idle_start(&worker->again, on_again);
	else if (!more)
		uv_idle_stop(&worker->again);
}

static void worker_work(struct worker *worker)
{
	watchdog_begin();
	work(worker);
	watchdog_end();
}

static void on_again(uv_idle_t *idle)
{
	worker_work(idle->loop->data);
}

static void on_mail(void *context)
{
	worker_work(context);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct input *input = poll->data;
	char bytes[64];

	(void)status;
	(void)events;
	while (read(input->descriptor, bytes, sizeof(bytes)) == sizeof(bytes))
		;
	input->ready = true;
	worker_work(input->worker);
}

static void on_turn(uv_timer_t *timer)
{
	struct worker *worker = timer->loop->data;
	const struct pipeline_source *source = &worker->pipeline->options.source;

	for (uint32_t i = 0; i < worker->inputs_count; i++) {
		struct input *input = &worker->inputs[i];

		/* A descriptor fires only when its queue was empty; reading again costs little and
		 * misses nothing. */
		input->ready = true;
		if (source->turn)
			source->turn(source->context, input->task,
				     task_stats(worker->pipeline->tasks[input->task]).pane);
	}
	worker_work(worker);
}

static void on_stats(uv_timer_t *timer)
{
	struct worker *worker = timer->loop->data;
	const struct pipeline_options *options = &worker->pipeline->options;

	if (worker->stands)
		return;
	for (uint32_t i = 0; i < worker->inputs_count; i++) {
		struct task *task = worker->pipeline->tasks[worker->inputs[i].task];
		struct task_stats stats = task_stats(task);

		stats.event_to_pane = worker->inputs[i].event_to_pane;
		options->stats(options->stats_context, worker->inputs[i].task, &stats,
			       task_mirror(task));
	}
}

/* --- life --- */

static void worker_close(struct worker *worker)
{
	worker->closed = true;
	for (uint32_t i = 0; i < worker->inputs_count; i++) {
		if (worker->inputs[i].descriptor >= 0)
			uv_close((uv_handle_t *)&worker->inputs[i].poll, NULL);
	}
	uv_close((uv_handle_t *)&worker->again, NULL);
	uv_close((uv_handle_t *)&worker->turn, NULL);
	uv_close((uv_handle_t *)&worker->stats, NULL);
	mailbox_close(&worker->mailbox);
}

static int worker_init(struct worker *worker, struct pipeline *pipeline)
{
	int rc = uv_loop_init(&worker->loop);

	if (rc)
		return rc;
	worker->pipeline = pipeline;
	worker->loop.data = worker;
	uv_idle_init(&worker->loop, &worker->again);
	uv_timer_init(&worker->loop, &worker->turn);
	uv_timer_init(&worker->loop, &worker->stats);
	return mailbox_init(&worker->mailbox, &worker->loop, on_mail, worker);
}

static int worker_watch(struct worker *worker)
{
	const struct pipeline_source *source = &worker->pipeline->options.source;

	for (uint32_t i = 0; i < worker->inputs_count; i++) {
		struct input *input = &worker->inputs[i];
		int rc;

		input->descriptor =
			source->descriptor ? source->descriptor(source->context, input->task) : -1;
		if (input->descriptor < 0)
			continue;
		input->poll.data = input;
		rc = uv_poll_init(&worker->loop, &input->poll, input->descriptor);
		if (rc == 0)
			rc = uv_poll_start(&input->poll, UV_READABLE, on_readable);
		if (rc)
			return rc;
	}
	uv_timer_start(&worker->turn, on_turn, 0, PIPELINE_TURN_MS);
	if (worker->pipeline->options.stats)
		uv_timer_start(&worker->stats, on_stats, PIPELINE_STATS_MS, PIPELINE_STATS_MS);
	return 0;
}

static void worker_main(void *context)
{
	struct worker *worker = context;
	struct pipeline *pipeline = worker->pipeline;

	if (pipeline->options.watchdog)
		watchdog_join(pipeline->options.watchdog, number_of(worker));
	uv_run(&worker->loop, UV_RUN_DEFAULT);
}

static struct task *make_task(struct pipeline *pipeline, uint32_t number)
{
	const struct pipeline_options *options = &pipeline->options;
	struct task_options task = options->task;

	task.task = number;
	task.send = on_send;
	task.send_context = pipeline;
	task.known_pane = options->known ? options->known[number] : 0;
	task.heap = options->heaps ? options->heaps[number] : NULL;
	return options->resume ? task_restore(&task) : task_new(&task);
}

/* In turn: each worker gets as many as any other, or one more. */
static void place_task(struct pipeline *pipeline, uint32_t number, uint32_t nth)
{
	const struct pipeline_options *options = &pipeline->options;
	struct worker *worker = &pipeline->workers[nth % options->workers];

	if (!worker->inputs)
		worker->inputs = memory_zeroed(options->task.tasks / options->workers + 1,
					       sizeof(*worker->inputs));
	pipeline->places[number] = worker;
	worker->inputs[worker->inputs_count++] =
		(struct input){.worker = worker,
			       .task = number,
			       .descriptor = -1,
			       .ready = true,
			       .next = options->resume ? options->resume[number] : -1};
}

struct pipeline *pipeline_new(const struct pipeline_options *options)
{
	struct pipeline *pipeline = memory_zeroed(1, sizeof(*pipeline));
	uint32_t tasks = options->task.tasks, owned = 0;

	assert(options->workers >= 1 && options->workers <= task_set_count(&options->owned));
	pipeline->options = *options;
	pipeline->tasks = memory_zeroed(tasks, sizeof(*pipeline->tasks));
	pipeline->places = memory_zeroed(tasks, sizeof(struct worker *));
	pipeline->workers = memory_zeroed(options->workers, sizeof(*pipeline->workers));
	pipeline->next = memory_zeroed(tasks, sizeof(*pipeline->next));
	for (uint32_t i = 0; i < options->workers; i++) {
		if (worker_init(&pipeline->workers[i], pipeline))
			abort(); /* a handful of descriptors at the start */
	}
	for (uint32_t i = 0; i < tasks; i++) {
		if (!task_set_has(&options->owned, i))
			continue;
		place_task(pipeline, i, owned++);
		pipeline->tasks[i] = make_task(pipeline, i);
	}
	return pipeline;
}

struct task *pipeline_task(struct pipeline *pipeline, uint32_t task)
{
	return pipeline->tasks[task];
}

int pipeline_start(struct pipeline *pipeline)
{
	int rc = 0;

	for (uint32_t i = 0; i < pipeline->options.workers && rc == 0; i++)
		rc = worker_watch(&pipeline->workers[i]);
	for (uint32_t i = 0; i < pipeline->options.workers && rc == 0; i++)
		rc = uv_thread_create(&pipeline->workers[i].thread, worker_main,
				      &pipeline->workers[i]);
	pipeline->started = rc == 0;
	return rc;
}

void pipeline_stop(struct pipeline *pipeline)
{
	if (!pipeline->started)
		return;
	for (uint32_t i = 0; i < pipeline->options.workers; i++) {
		atomic_store(&pipeline->workers[i].stopping, true);
		uv_async_send(&pipeline->workers[i].mailbox.wake);
	}
	for (uint32_t i = 0; i < pipeline->options.workers; i++)
		uv_thread_join(&pipeline->workers[i].thread);
	pipeline->started = false;
}

void pipeline_free(struct pipeline *pipeline)
{
	assert(!pipeline->started);
	for (uint32_t i = 0; i < pipeline->options.workers; i++) {
		struct worker *worker = &pipeline->workers[i];
		struct letter *letter;

		if (!worker->closed) { /* never started */
			worker_close(worker);
			uv_run(&worker->loop, UV_RUN_DEFAULT);
		}
		letter = mailbox_take(&worker->mailbox);
		while (letter) {
			struct letter *next = letter->next;

			message_free((struct message *)letter);
			letter = next;
		}
		uv_loop_close(&worker->loop);
		free(worker->inputs);
	}
	for (uint32_t i = 0; i < pipeline->options.task.tasks; i++) {
		if (pipeline->tasks[i])
			task_free(pipeline->tasks[i]);
	}
	free(pipeline->next);
	free(pipeline->places);
	free(pipeline->workers);
	free(pipeline->tasks);
	free(pipeline);
}
