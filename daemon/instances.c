#include "daemon/instances.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "daemon/cuts.h"
#include "daemon/log.h"
#include "daemon/snapshot.h"
#include "daemon/topics.h"
#include "daemon/wire_parcel.h"

enum {
	TIMEOUT_MS = 2000, /* of each question to the broker */
	RETRY_MS = 250,
	CLOSE_TIMEOUT_MS = 1000, /* for the group to be told */
	FLUSH_TIMEOUT_MS = 200,	 /* for what was told last */
	/* A call that nobody has answered in full for so long is made again: a record of it may
	 * have been refused, or who would have answered is gone. */
	AGAIN_MS = 5000,
	BAD_MAX = 8,
	SPARE_MS = 5000,	     /* between two times that a spare says that it is there */
	LISTENS_MS = 15000,	     /* so long others believe it */
	PARCEL_BYTES_MAX = 24 << 20, /* below what the topic takes */
};

enum common_kind { COMMON_LINEUP = 1, COMMON_PARCEL, COMMON_CUT, COMMON_REACH, COMMON_SPARE };

enum state {
	STATE_OPENING, /* the exchange */
	STATE_IDLE,    /* no member */
	STATE_STOPPING,
	STATE_PREPARING, /* reading for what is owned, and looking for snapshots */
	STATE_CALLING,	 /* waits for the others */
	STATE_RUN,
};

/* An owner has a snapshot; as memory, for all are of one build. */
struct cut_said {
	int64_t run;
	uint64_t life, pane;
};

/* How far its tasks' outputs reach, of an owner in a run that begins anew. */
struct reach_said {
	int64_t run;
	uint64_t life;
	struct resume_reach reach;
};

/* A record of the common partition, or news of the members, on its way to the loop. */
struct note {
	struct letter letter; /* first */
	enum { NOTE_COMMON, NOTE_CHANGED, NOTE_REVOKED, NOTE_FENCED, NOTE_BROKEN } kind;
	uint32_t common;
	int64_t offset;
	uint64_t append_ms;
	int32_t generation;
	struct task_set tasks;
	size_t length;
	uint8_t bytes[];
};

struct instances {
	struct instances_options options;
	struct exchange *exchange;
	struct members *members;
	struct lineup *lineup;
	struct cuts *cuts;
	struct mailbox mailbox;
	uv_timer_t timer;
	uv_work_t work;
	bool working, leaving, closing, running;
	bool lingers; /* a thread of the members' client */
	enum state state;

	struct task_set owned; /* by the members */
	int32_t generation;
	int64_t call; /* to be answered; -1: one is to be made */
	uint64_t epoch_min;
	struct lineup_pane bad[BAD_MAX]; /* not to be begun from */
	size_t bad_count;
	struct lineup_run run;
	struct task_set reached; /* tasks of the run whose owners have said it */
	struct resume_reach reach;
	struct lineup_record self;
	uint64_t spare_ms; /* by the loop's clock: when one was heard; 0: never */

	/* Of the work at hand: the pool's until it is done. */
	struct task_set wanted;
	struct lineup_pane panes[LINEUP_PANES];
	size_t panes_count;
	int problem;
	char why[256], waits_for[384];
	uint64_t runs, calls;
	struct log_limit log;
};

static void prepare(struct instances *instances);
static void on_again(uv_timer_t *timer);

/* --- from other threads --- */

static void post(struct instances *instances, struct note *note)
{
	mailbox_send(&instances->mailbox, &note->letter);
}

static struct note *make_note(int kind, size_t length)
{
	struct note *note = memory_zeroed(1, sizeof(*note) + length);

	note->kind = kind;
	note->length = length;
	return note;
}

static void on_common(void *context, uint32_t kind, int64_t offset, uint64_t append_ms,
		      const uint8_t *bytes, size_t length)
{
	struct note *note = make_note(NOTE_COMMON, length);

	note->common = kind;
	note->offset = offset;
	note->append_ms = append_ms;
	memcpy(note->bytes, bytes, length);
	post(context, note);
}

static void on_changed(void *context, int32_t generation, const struct task_set *tasks)
{
	struct note *note = make_note(NOTE_CHANGED, 0);

	note->generation = generation;
	note->tasks = *tasks;
	post(context, note);
}

static void on_revoked(void *context)
{
	post(context, make_note(NOTE_REVOKED, 0));
}

static void post_text(struct instances *instances, int kind, const char *text)
{
	struct note *note = make_note(kind, strlen(text) + 1);

	memcpy(note->bytes, text, note->length);
	post(instances, note);
}

static void on_fenced(void *context, const char *why)
{
	post_text(context, NOTE_FENCED, why);
}

static void on_broken(void *context, const char *why)
{
	post_text(context, NOTE_BROKEN, why);
}

static void on_messages(void *context, struct message *messages)
{
	const struct instances *instances = context;

	instances->options.messages(instances->options.context, messages);
}

static void on_trouble(void *context, const char *sentence)
{
	const struct instances *instances = context;

	instances->options.trouble(instances->options.context, sentence);
}

/* --- calls and answers --- */

static bool is_bad(const struct instances *instances, const struct lineup_pane *pane)
{
	for (size_t i = 0; i < instances->bad_count; i++) {
		if (instances->bad[i].epoch == pane->epoch && instances->bad[i].pane == pane->pane)
			return true;
	}
	return false;
}

static void say(struct instances *instances)
{
	struct lineup_record record = instances->self;
	uint8_t bytes[LINEUP_RECORD_MAX];
	size_t length;

	record.call = instances->call;
	record.generation = instances->generation;
	record.tasks = instances->owned;
	record.epoch_min = instances->epoch_min;
	for (size_t i = 0; i < instances->panes_count; i++) {
		if (!is_bad(instances, &instances->panes[i]))
			record.panes[record.panes_count++] = instances->panes[i];
	}
	instances->calls += record.call < 0;
	length = lineup_encode(&record, bytes);
	exchange_say(instances->exchange, COMMON_LINEUP, bytes, length);
	instances->state = STATE_CALLING;
	/* Each at another time, so that they do not call over each other for ever. */
	uv_timer_start(&instances->timer, on_again, AGAIN_MS + record.life % AGAIN_MS, 0);
}

/* --- what takes its time --- */

static void prepare_work(uv_work_t *work)
{
	struct instances *instances = work->data;
	const struct instances_options *options = &instances->options;
	struct snapshots_wanted wanted = {.folder = options->snapshots,
					  .shape = options->shape,
					  .tasks = options->tasks,
					  .owned = instances->wanted};

	instances->panes_count = 0;
	instances->problem = exchange_own(instances->exchange, &instances->wanted, TIMEOUT_MS,
					  instances->why, sizeof(instances->why));
	if (instances->problem == 0 && options->snapshots)
		instances->panes_count = snapshots_panes(&wanted, instances->panes, LINEUP_PANES);
}

static void open_work(uv_work_t *work)
{
	struct instances *instances = work->data;

	instances->problem = exchange_open(instances->exchange, TIMEOUT_MS, instances->why,
					   sizeof(instances->why));
}

static void start_work(struct instances *instances, uv_work_cb work, uv_after_work_cb after)
{
	instances->working = true;
	uv_queue_work(instances->options.loop, &instances->work, work, after);
}

static void close_now(struct instances *instances);

/* Whether all was closed while a thread worked. */
static bool is_over(struct instances *instances)
{
	instances->working = false;
	if (instances->closing)
		close_now(instances);
	return instances->closing;
}

/* Whether the work is to be done again in a while. */
static bool has_failed(struct instances *instances)
{
	if (instances->problem == 0)
		return false;
	snprintf(instances->waits_for, sizeof(instances->waits_for), "%s", instances->why);
	if (instances->problem == -EINVAL) {
		instances->options.fatal(instances->options.context, instances->waits_for);
		return true;
	}
	log_limited(&instances->log, LOG_LEVEL_WARNING, "waiting for Kafka: %s",
		    instances->waits_for);
	uv_timer_start(&instances->timer, on_again, RETRY_MS, 0);
	return true;
}

static void prepared(uv_work_t *work, int status)
{
	struct instances *instances = work->data;

	(void)status;
	if (is_over(instances) || has_failed(instances))
		return;
	if (!task_set_equal(&instances->wanted, &instances->owned))
		prepare(instances);
	else
		say(instances);
}

/* It has no task, and people ask it all the same. */
static void say_spare(struct instances *instances)
{
	const uint64_t life = instances->self.life;

	exchange_say(instances->exchange, COMMON_SPARE, (const uint8_t *)&life, sizeof(life));
	uv_timer_start(&instances->timer, on_again, SPARE_MS, 0);
}

/* Nothing of ours runs: reads for what is owned now, then says so. */
static void prepare(struct instances *instances)
{
	if (instances->working || instances->closing)
		return; /* comes back here */
	uv_timer_stop(&instances->timer);
	if (task_set_count(&instances->owned) == 0) {
		instances->state = STATE_IDLE;
		say_spare(instances);
		snprintf(instances->waits_for, sizeof(instances->waits_for),
			 "this instance has no task: the group %s gave it none",
			 instances->options.settings->kafka_group);
		return;
	}
	instances->state = STATE_PREPARING;
	instances->wanted = instances->owned;
	start_work(instances, prepare_work, prepared);
}

static void opened(uv_work_t *work, int status);

/* The run at hand, if there is one, is no more; then to prepare. */
static void stop_and_prepare(struct instances *instances)
{
	if (instances->state == STATE_OPENING || instances->state == STATE_STOPPING)
		return;
	snprintf(instances->waits_for, sizeof(instances->waits_for),
		 "the instances line up: not all tasks are owned by one that has answered");
	if (!instances->running) {
		prepare(instances);
		return;
	}
	exchange_end(instances->exchange);
	instances->state = STATE_STOPPING;
	instances->options.stop(instances->options.context);
}

void instances_stopped(struct instances *instances)
{
	instances->running = false;
	if (instances->closing)
		return;
	instances->state = STATE_PREPARING;
	prepare(instances);
}

static void call(struct instances *instances)
{
	instances->call = -1;
	stop_and_prepare(instances);
}

void instances_failed(struct instances *instances, uint64_t epoch_min, bool bad)
{
	if (epoch_min > instances->epoch_min)
		instances->epoch_min = epoch_min;
	if (bad && instances->run.from.pane)
		instances->bad[instances->bad_count++ % BAD_MAX] = instances->run.from;
	if (instances->bad_count > BAD_MAX)
		instances->bad_count = BAD_MAX;
	call(instances);
}

/* Nobody has answered in full, or what was to be done failed for now. */
static void on_again(uv_timer_t *timer)
{
	struct instances *instances = timer->data;

	if (instances->state == STATE_OPENING)
		start_work(instances, open_work, opened);
	else if (instances->state == STATE_PREPARING || instances->state == STATE_IDLE)
		prepare(instances);
	else if (instances->state == STATE_CALLING)
		call(instances);
}

/* --- what is heard --- */

static void take_call(struct instances *instances)
{
	instances->call = lineup_call(instances->lineup);
	if (instances->state == STATE_CALLING)
		say(instances);
	else if (instances->state == STATE_RUN)
		stop_and_prepare(instances);
}

/* Whether the run has this process with what it owns now. */
static bool is_ours(const struct instances *instances, const struct lineup_run *run)
{
	for (size_t i = 0; i < run->members_count; i++) {
		if (run->members[i].life == instances->self.life)
			return task_set_equal(&run->members[i].tasks, &instances->owned);
	}
	return false;
}

/* Members stand in the order of their first tasks. */
static bool leads_run(const struct instances *instances, const struct lineup_run *run)
{
	return run->members[0].life == instances->self.life;
}

static void take_run(struct instances *instances)
{
	const struct lineup_run *run = lineup_run(instances->lineup);

	/* Also where this one has no task, and hears of it all the same. */
	if (!leads_run(instances, run))
		instances->options.yielded(instances->options.context);
	if (instances->state != STATE_CALLING && instances->state != STATE_RUN)
		return; /* something has changed since it was said */
	if (instances->state == STATE_CALLING && !is_ours(instances, run) &&
	    run->generation > instances->generation) {
		/* Others own what this one has; the group will say so. To call again would end
		 * their run, and begin none that has this one. */
		uv_timer_stop(&instances->timer);
		return;
	}
	if (instances->state == STATE_RUN || !is_ours(instances, run)) {
		call(instances);
		return;
	}
	uv_timer_stop(&instances->timer);
	instances->run = *run;
	instances->state = STATE_RUN;
	instances->running = true;
	instances->runs++;
	instances->waits_for[0] = '\0';
	instances->reached = (struct task_set){{0}};
	instances->reach = (struct resume_reach){0};
	cuts_begin(instances->cuts, run);
	instances->options.needed(instances->options.context, run->from.pane);
	if (run->from.pane)
		log_line(LOG_LEVEL_INFO,
			 "run %" PRId64 ": %zu instances, this one with %u of %u tasks, from pane "
			 "%" PRIu64,
			 run->number, run->members_count, task_set_count(&instances->owned),
			 instances->options.tasks, run->from.pane);
	else
		log_line(LOG_LEVEL_INFO,
			 "run %" PRId64 ": %zu instances, this one with %u of %u tasks, anew",
			 run->number, run->members_count, task_set_count(&instances->owned),
			 instances->options.tasks);
	instances->options.begin(instances->options.context, &instances->owned,
				 &instances->run.from);
}

void instances_running(struct instances *instances)
{
	const struct lineup_run *run = &instances->run;
	uint32_t homes[IMAGE_TASKS_MAX] = {0}; /* by task: the lowest of its instance */

	instances->bad_count = 0;
	for (uint32_t i = 0; i < instances->options.tasks; i++) {
		for (size_t j = 0; j < run->members_count; j++) {
			if (task_set_has(&run->members[j].tasks, i))
				homes[i] = task_set_first(&run->members[j].tasks);
		}
	}
	exchange_begin(instances->exchange, run->number, homes);
}

/* A run began from what this process had said before it called: it is over already. */
static void take_own_call(struct instances *instances)
{
	if (instances->state != STATE_RUN)
		return;
	instances->call = lineup_call(instances->lineup);
	stop_and_prepare(instances);
}

static void take_lineup(struct instances *instances, const struct note *note)
{
	struct lineup_record record;
	const char *why = NULL;
	enum lineup_news news;

	if (lineup_decode(note->bytes, note->length, &record)) {
		log_limited(&instances->log, LOG_LEVEL_WARNING,
			    "a record of " TOPIC_EXCHANGE " is no call or answer; passed over");
		return;
	}
	news = lineup_take(instances->lineup, note->offset, note->append_ms, &record, &why);
	if (why)
		log_limited(&instances->log, LOG_LEVEL_ERROR, "instance %s takes no part: %s",
			    record.name, why);
	if (record.life == instances->self.life && record.call < 0)
		take_own_call(instances);
	if (news == LINEUP_CALLED)
		take_call(instances);
	else if (news == LINEUP_RUN)
		take_run(instances);
}

static void take_parcel(struct instances *instances, const struct note *note)
{
	struct parcel *parcel;

	if (note->length < sizeof(uint64_t) ||
	    memcmp(note->bytes, &instances->self.life, sizeof(uint64_t)) == 0)
		return; /* our own */
	if (parcel_decode(note->bytes + sizeof(uint64_t), note->length - sizeof(uint64_t),
			  instances->options.tasks, &parcel) == 0)
		instances->options.parcel(instances->options.context, parcel);
}

static void take_cut(struct instances *instances, const struct note *note)
{
	struct cut_said cut;

	if (note->length != sizeof(cut))
		return;
	memcpy(&cut, note->bytes, sizeof(cut));
	cuts_take(instances->cuts, cut.run, cut.life, cut.pane);
	instances->options.needed(instances->options.context, cuts_common(instances->cuts));
}

static void take_spare(struct instances *instances, const struct note *note)
{
	if (note->length == sizeof(uint64_t) &&
	    memcmp(note->bytes, &instances->self.life, sizeof(uint64_t)) != 0)
		instances->spare_ms = uv_now(instances->options.loop);
}

static void take_reach(struct instances *instances, const struct note *note)
{
	const struct task_set all = task_set_all(instances->options.tasks);
	const struct lineup_run *run = &instances->run;
	struct reach_said said;

	if (note->length != sizeof(said) || instances->state != STATE_RUN)
		return;
	memcpy(&said, note->bytes, sizeof(said));
	if (said.run != run->number)
		return;
	resume_join(&instances->reach, &said.reach);
	for (size_t i = 0; i < run->members_count; i++) {
		if (run->members[i].life == said.life)
			task_set_join(&instances->reached, &run->members[i].tasks);
	}
	if (task_set_equal(&instances->reached, &all))
		instances->options.agreed(instances->options.context, &instances->reach);
}

static void take_changed(struct instances *instances, const struct note *note)
{
	bool same = task_set_equal(&note->tasks, &instances->owned) &&
		    note->generation == instances->generation;

	instances->generation = note->generation;
	instances->owned = note->tasks;
	instances->options.owned(instances->options.context);
	if (!same)
		call(instances);
}

void instances_release(struct instances *instances)
{
	if (instances->members)
		members_release(instances->members);
}

static void take_note(struct instances *instances, const struct note *note)
{
	switch (note->kind) {
	case NOTE_COMMON:
		if (note->common == COMMON_LINEUP)
			take_lineup(instances, note);
		else if (note->common == COMMON_PARCEL)
			take_parcel(instances, note);
		else if (note->common == COMMON_CUT)
			take_cut(instances, note);
		else if (note->common == COMMON_REACH)
			take_reach(instances, note);
		else if (note->common == COMMON_SPARE)
			take_spare(instances, note);
		break;
	case NOTE_CHANGED:
		take_changed(instances, note);
		break;
	case NOTE_REVOKED:
		instances->options.revoked(instances->options.context);
		break;
	case NOTE_FENCED:
		instances->options.fatal(instances->options.context, (const char *)note->bytes);
		break;
	case NOTE_BROKEN:
		log_limited(&instances->log, LOG_LEVEL_ERROR, "the exchange breaks off: %s",
			    (const char *)note->bytes);
		if (instances->state == STATE_RUN || instances->state == STATE_CALLING)
			call(instances);
		break;
	}
}

static void on_mail(void *context)
{
	struct instances *instances = context;
	struct letter *letter = mailbox_take(&instances->mailbox);

	while (letter) {
		struct letter *next = letter->next;

		if (!instances->leaving)
			take_note(instances, (struct note *)letter);
		free(letter);
		letter = next;
	}
}

/* --- what is told --- */

static void on_send(void *context, uint32_t worker, struct message *message)
{
	const struct instances *instances = context;

	exchange_send(instances->exchange, worker, message);
}

static void on_flush(void *context, uint32_t worker)
{
	const struct instances *instances = context;

	exchange_flush(instances->exchange, worker);
}

struct pipeline_elsewhere instances_elsewhere(struct instances *instances)
{
	return (struct pipeline_elsewhere){instances, on_send, on_flush};
}

/* Whether others listen. */
static bool shares(const struct instances *instances)
{
	bool spare = instances->spare_ms &&
		     uv_now(instances->options.loop) < instances->spare_ms + LISTENS_MS;

	return (instances->state == STATE_RUN || instances->state == STATE_STOPPING) &&
	       !instances->closing && (instances->run.members_count > 1 || spare);
}

/* What was cut in a run before may be of other tasks, or of an epoch that is over. */
void instances_counted(struct instances *instances, const struct image_header *header)
{
	const struct cut_said cut = {instances->run.number, instances->self.life, header->pane};

	/* A thread may end a snapshot behind the exchange, when all is closed. */
	if (!instances->closing && instances->state == STATE_RUN &&
	    header->epoch == instances->run.from.epoch &&
	    task_set_equal(&header->owned, &instances->owned))
		exchange_say(instances->exchange, COMMON_CUT, (const uint8_t *)&cut, sizeof(cut));
}

void instances_anew(struct instances *instances, const struct resume_reach *reach)
{
	const struct reach_said said = {instances->run.number, instances->self.life, *reach};

	if (instances->state == STATE_RUN)
		exchange_say(instances->exchange, COMMON_REACH, (const uint8_t *)&said,
			     sizeof(said));
}

static void say_parcel(struct instances *instances, const uint8_t *bytes, size_t length)
{
	uint8_t *record = memory_resize(NULL, 1, sizeof(uint64_t) + length);

	memcpy(record, &instances->self.life, sizeof(uint64_t));
	memcpy(record + sizeof(uint64_t), bytes, length);
	exchange_say(instances->exchange, COMMON_PARCEL, record, sizeof(uint64_t) + length);
	free(record);
}

/* The nth part of what its agents are, who all are in it: false when that is too much. */
static bool tell_part(struct instances *instances, const struct parcel *parcel, size_t nth,
		      size_t parts)
{
	struct parcel part = *parcel;
	uint8_t *bytes;
	size_t length;

	part.agents = memory_resize(NULL, parcel->agents_count + 1, sizeof(*part.agents));
	for (size_t i = 0; i < parcel->agents_count; i++) {
		part.agents[i] = parcel->agents[i];
		if (i % parts == nth)
			continue;
		part.agents[i].about = NULL;
		part.agents[i].about_length = 0;
	}
	bytes = parcel_encode(&part, &length);
	free(part.agents);
	if (length <= PARCEL_BYTES_MAX)
		say_parcel(instances, bytes, length);
	free(bytes);
	return length <= PARCEL_BYTES_MAX;
}

void instances_tell(struct instances *instances, const struct parcel *parcel)
{
	size_t parts = 1, nth = 0;

	if (!shares(instances))
		return;
	while (nth < parts && parts <= parcel->agents_count + 1) {
		if (tell_part(instances, parcel, nth, parts)) {
			nth++;
		} else {
			parts *= 2;
			nth = 0;
		}
	}
}

bool instances_leads(const struct instances *instances)
{
	return task_set_has(&instances->owned, 0);
}

bool instances_spare(const struct instances *instances)
{
	return instances->generation >= 0 && task_set_count(&instances->owned) == 0;
}

const char *instances_trouble(const struct instances *instances)
{
	return instances->waits_for;
}

struct instances_stats instances_stats(struct instances *instances)
{
	bool runs = instances->state == STATE_RUN;
	struct instances_stats stats = {.members = {.generation = -1},
					.runs = instances->runs,
					.calls = instances->calls,
					.run = runs ? instances->run.number : -1,
					.instances =
						runs ? (uint32_t)instances->run.members_count : 0};

	/* There are no members before the exchange is open, and none of both after the end. */
	if (instances->members)
		stats.members = members_stats(instances->members);
	if (instances->exchange)
		stats.exchange = exchange_stats(instances->exchange);
	return stats;
}

/* --- life --- */

static int join(struct instances *instances)
{
	const struct instances_options *options = &instances->options;
	struct members_options members = {.brokers = options->brokers,
					  .security = options->security,
					  .topic = TOPIC_EVENTS,
					  .group = options->settings->kafka_group,
					  .instance = instances->self.name,
					  .session_ns = options->settings->session_ns,
					  .tasks = options->tasks,
					  .context = instances,
					  .changed = on_changed,
					  .revoked = on_revoked,
					  .fenced = on_fenced,
					  .trouble = on_trouble};
	char error[512];

	instances->members = members_new(&members, error, sizeof(error));
	if (instances->members)
		return 0;
	log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
	return -EINVAL;
}

/* The group comes after the exchange: what it gives is called for at once. */
static void opened(uv_work_t *work, int status)
{
	struct instances *instances = work->data;

	(void)status;
	if (is_over(instances) || has_failed(instances))
		return;
	instances->state = STATE_IDLE;
	snprintf(instances->waits_for, sizeof(instances->waits_for),
		 "waiting for the group %s to give tasks to this instance",
		 instances->options.settings->kafka_group);
	if (join(instances))
		instances->options.fatal(instances->options.context,
					 "the consumer group cannot be joined");
}

static uint64_t by_chance(void)
{
	uint64_t life = 0;

	if (uv_random(NULL, NULL, &life, sizeof(life), 0, NULL))
		life = uv_hrtime() ^ (uint64_t)uv_os_getpid() << 32;
	return life;
}

/* Of all that must be the same everywhere: where snapshots are cut, and the group, too. */
static uint64_t shape_of(const struct instances_options *options)
{
	const char *group = options->settings->kafka_group;
	uint64_t shape = options->shape ^ hash_bytes(group, strlen(group));

	return hash_mix(shape ^ hash_mix(options->settings->snapshots_period_ns));
}

struct instances *instances_new(const struct instances_options *options)
{
	struct instances *instances = memory_zeroed(1, sizeof(*instances));
	struct exchange_options exchange = {.brokers = options->brokers,
					    .security = options->security,
					    .topic = TOPIC_EXCHANGE,
					    .tasks = options->tasks,
					    .context = instances,
					    .on_messages = on_messages,
					    .on_common = on_common,
					    .on_broken = on_broken,
					    .trouble = on_trouble};
	char error[512];

	instances->options = *options;
	instances->generation = instances->call = -1;
	instances->run.number = -1;
	instances->work.data = instances;
	instances->self = (struct lineup_record){
		.tasks_count = options->tasks, .shape = shape_of(options), .life = by_chance()};
	image_build(instances->self.build);
	instances_name(options->settings, instances->self.name);
	instances->lineup = lineup_new(&instances->self);
	instances->cuts = cuts_new();
	mailbox_init(&instances->mailbox, options->loop, on_mail, instances);
	uv_timer_init(options->loop, &instances->timer);
	instances->timer.data = instances;
	snprintf(instances->waits_for, sizeof(instances->waits_for),
		 "topic " TOPIC_EXCHANGE " at %s was not found yet", options->brokers);
	instances->exchange = exchange_new(&exchange, error, sizeof(error));
	if (!instances->exchange) {
		log_line(LOG_LEVEL_ERROR, "kafka: %s", error);
		return NULL;
	}
	start_work(instances, open_work, opened);
	return instances;
}

void instances_name(const struct settings *settings, char name[LINEUP_NAME_BYTES])
{
	size_t size = LINEUP_NAME_BYTES;

	snprintf(name, LINEUP_NAME_BYTES, "%s", settings->instance);
	if (!name[0] && uv_os_gethostname(name, &size))
		snprintf(name, LINEUP_NAME_BYTES, "millraced");
}

/* Kafka's clients have threads that call back: they end first. */
static void close_now(struct instances *instances)
{
	if (instances->members)
		instances->lingers = !members_close(instances->members, true, CLOSE_TIMEOUT_MS);
	exchange_close(instances->exchange, FLUSH_TIMEOUT_MS);
	instances->members = NULL;
	instances->exchange = NULL;
	uv_close((uv_handle_t *)&instances->timer, NULL);
	mailbox_close(&instances->mailbox);
}

void instances_leave(struct instances *instances)
{
	instances->leaving = true;
	exchange_end(instances->exchange);
}

void instances_close(struct instances *instances)
{
	instances->closing = true;
	if (!instances->working)
		close_now(instances);
}

bool instances_free(struct instances *instances)
{
	bool whole = !instances->lingers;
	struct letter *letter;

	letter = mailbox_take(&instances->mailbox);
	while (letter) {
		struct letter *next = letter->next;

		free(letter);
		letter = next;
	}
	cuts_free(instances->cuts);
	lineup_free(instances->lineup);
	free(instances);
	return whole;
}
