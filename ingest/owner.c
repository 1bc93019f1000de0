/* Who owns a half: the workload is the first of the pod's in the census, container workload,
 * container, systemd unit, executable, node that is known. Names are made when the metadata comes,
 * so that an instance is a matter of ids. The sockets of a process share an owner, whose instance
 * is looked up once and again when metadata changed. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/version.h"
#include "ingest/state.h"
#include "metadata/census.h"
#include "metadata/change.h"

/* A name of two words: "namespace/workload", "executable@role". Words are at most NAME_MAX_BYTES
 * long each before the table cuts the whole. */
static uint64_t put_joined(struct mirror *mirror, const char *first, char between,
			   const char *second)
{
	char joined[2 * NAME_MAX_BYTES + 1];
	size_t first_length = strnlen(first, NAME_MAX_BYTES);
	size_t second_length = strnlen(second, NAME_MAX_BYTES);
	memcpy(joined, first, first_length);
	joined[first_length] = between;
	memcpy(joined + first_length + 1, second, second_length);
	return names_put(mirror->names, joined, first_length + 1 + second_length,
			 mirror_open_pane(mirror));
}

static uint64_t put_name(struct mirror *mirror, const char *text, size_t length)
{
	return names_put(mirror->names, text, length, mirror_open_pane(mirror));
}

static uint64_t put_qualified(struct mirror *mirror, const char *namespace, const char *name)
{
	if (!name[0])
		return 0;
	if (!namespace[0])
		return put_name(mirror, name, strlen(name));
	return put_joined(mirror, namespace, '/', name);
}

static uint64_t put_image_version(struct mirror *mirror, const char *image)
{
	size_t length;
	const char *version = version_of_image(image, &length);
	return put_name(mirror, version, length);
}

/* Services only: a session's scope or a user's manager is no workload. */
static uint64_t put_unit(struct mirror *mirror, const char *unit, const char *path)
{
	static const char suffix[] = ".service";
	size_t length = strlen(unit), suffix_length = sizeof(suffix) - 1;
	if (length <= suffix_length || strcmp(unit + length - suffix_length, suffix) != 0 ||
	    !strstr(path, "system.slice/"))
		return 0;
	return put_name(mirror, unit, length - suffix_length);
}

/* The cgroup is named by the id, as a rule with more round it. */
static bool is_whole(const char *path, const char *id)
{
	const char *slash = strrchr(path, '/');
	return id[0] && strstr(slash ? slash : path, id);
}

void owner_container(struct mirror *mirror, const Millrace__V1__Batch *batch, size_t i,
		     struct container_row *row)
{
	const Millrace__V1__Containers *containers = batch->containers;
	const char *namespace = batch->strings[containers->namespace_[i]];
	const char *name = batch->strings[containers->name[i]];
	const char *pod = batch->strings[containers->pod[i]];
	const char *version = batch->strings[containers->version[i]];
	const char *replica = pod[0] ? pod : name;
	const char *uid = batch->strings[containers->pod_uid[i]];
	const char *id = batch->strings[containers->id[i]];
	row->cgroup = containers->cgroup[i];
	row->pod = uid[0] ? hash_bytes(uid, strlen(uid)) : 0;
	row->id = id[0] ? hash_bytes(id, strlen(id)) : 0;
	row->oom_kills = containers->oom_kills[i];
	row->whole = is_whole(batch->strings[containers->path[i]], id);
	row->workload = put_qualified(mirror, namespace, batch->strings[containers->workload[i]]);
	row->name = put_qualified(mirror, namespace, name[0] ? name : pod);
	row->container = put_name(mirror, replica, strlen(replica));
	row->unit = put_unit(mirror, batch->strings[containers->unit[i]],
			     batch->strings[containers->path[i]]);
	row->version = put_image_version(mirror, batch->strings[containers->image[i]]);
	if (!row->version)
		row->version = put_name(mirror, version, strlen(version));
}

/* Where the executable's name on this role may be known; NULL: it is too long. */
static struct known_process *known_place(struct mirror *mirror, uint64_t role, const char *text,
					 size_t length)
{
	uint64_t hash = role;
	if (length > sizeof(mirror->known_processes[0].text))
		return NULL;
	for (size_t i = 0; i < length; i++)
		hash = hash * 31 + (uint8_t)text[i];
	return &mirror->known_processes[hash_mix(hash) % KNOWN_PROCESSES];
}

/* The same names come from every node: they are put once a pane. */
static struct process_names put_process(struct mirror *mirror, const struct node *node,
					const char *exe, const char *comm)
{
	const char *slash = strrchr(exe, '/');
	const char *base = slash ? slash + 1 : exe;
	if (!base[0])
		base = comm;
	size_t length = strlen(base);
	uint64_t pane = mirror_open_pane(mirror);
	struct known_process *known = known_place(mirror, node->role, base, length);
	if (known && known->pane == pane && known->role == node->role && known->length == length &&
	    memcmp(known->text, base, length) == 0)
		return (struct process_names){.name = known->name, .workload = known->workload};
	struct process_names names = {.name = put_name(mirror, base, length)};
	names.workload = names.name;
	if (names.name && node->role_text[0])
		names.workload = put_joined(mirror, base, '@', node->role_text);
	if (!known)
		return names;
	*known = (struct known_process){names.name, names.workload,   node->role,
					pane,	    (uint32_t)length, {0}};
	memcpy(known->text, base, length);
	return names;
}

void owner_process(struct mirror *mirror, const struct node *node, const Millrace__V1__Batch *batch,
		   size_t i, struct process_names cache[PROCESS_NAMES], struct process_row *row)
{
	const Millrace__V1__Processes *processes = batch->processes;
	uint32_t exe = processes->exe[i], comm = processes->comm[i];
	struct process_names *names = &cache[(exe + comm) % PROCESS_NAMES];
	if (!names->known || names->exe != exe || names->comm != comm) {
		*names = put_process(mirror, node, batch->strings[exe], batch->strings[comm]);
		names->exe = exe;
		names->comm = comm;
		names->known = true;
	}
	row->pid = processes->pid[i];
	row->started_ns = processes->started_ns[i];
	row->cgroup = processes->cgroup[i];
	row->name = names->name;
	row->workload = names->workload;
}

/* ---- as applied ---- */

/* Whoever needed this id and did not find it, or used what it said before, is looked at again. */
static void metadata_changed(struct node *node, uint64_t id, bool used)
{
	if (used || node_wanted(node, id))
		node->recheck = true;
}

/* A new entry in a table that may hold so many over all nodes; NULL if there is no room. */
void *table_admit(struct table *table, const void *key, uint64_t *live, uint32_t max)
{
	if (*live >= max)
		return table_find(table, key);
	uint32_t before = table->count;
	void *entry = table_put(table, key);
	*live += table->count - before;
	return entry;
}

static void tell_happening(struct apply *apply, const struct container_row *row, uint32_t kind)
{
	happenings_add(apply->mirror, &(struct happening){
					      .time_ns = apply->run->batch_ns,
					      .workload = row->workload ? row->workload : row->name,
					      .container = row->container,
					      .node = apply->node->name_id,
					      .kind = kind,
				      });
}

/* A container that is started again keeps its id and gets another cgroup. Returns how often it had
 * been short of memory before. */
static uint32_t tell_restart(struct apply *apply, const struct container_row *row)
{
	uint64_t cgroup = row->whole ? pod_cgroup(apply->mirror, apply->node, row->id) : 0;
	struct container_entry *former =
		cgroup ? table_find(&apply->node->containers, &cgroup) : NULL;
	if (!former || !former->whole || former->id != row->id || cgroup == row->cgroup)
		return row->oom_kills;
	former->whole = false; /* told of */
	tell_happening(apply, row, CHANGE_RESTARTED);
	return former->oom_kills;
}

static void apply_container(struct apply *apply, const struct container_row *row)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	struct container_entry *entry =
		table_admit(&node->containers, &row->cgroup, &mirror->stats.containers,
			    mirror->options.containers_max);
	if (!entry) {
		apply->refused++;
		return;
	}
	if (!entry->seen_ns)
		entry->oom_kills = tell_restart(apply, row);
	if (row->whole && row->oom_kills > entry->oom_kills)
		tell_happening(apply, row, CHANGE_OOM_KILLED);
	if (row->pod)
		pod_seen(mirror, node, row->pod, 0);
	if (row->id)
		pod_seen(mirror, node, row->id, row->whole ? row->cgroup : 0);
	if (entry->pod != row->pod || entry->id != row->id || entry->workload != row->workload ||
	    entry->container != row->container || entry->name != row->name ||
	    entry->unit != row->unit || entry->version != row->version)
		metadata_changed(node, row->cgroup, entry->used);
	if (!entry->seen_ns || entry->pod != row->pod)
		entry->waits_until_ns = pane_end(mirror->pane) + mirror->options.keep_ns;
	entry->pod = row->pod;
	entry->id = row->id;
	entry->oom_kills = row->oom_kills;
	entry->whole = row->whole;
	entry->workload = row->workload;
	entry->container = row->container;
	entry->name = row->name;
	entry->unit = row->unit;
	entry->version = row->version;
	entry->seen_ns = apply->run->batch_ns;
}

void apply_containers(struct apply *apply, const struct container_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		apply_container(apply, &rows[i]);
}

static void apply_process(struct apply *apply, const struct process_row *row)
{
	struct mirror *mirror = apply->mirror;
	struct node *node = apply->node;
	struct process_entry *entry =
		table_admit(&node->processes, &row->pid, &mirror->stats.processes,
			    mirror->options.processes_max);
	if (!entry) {
		apply->refused++;
		return;
	}
	if (entry->workload != row->workload || entry->cgroup != row->cgroup)
		metadata_changed(node, row->pid, entry->used);
	entry->started_ns = row->started_ns;
	entry->cgroup = row->cgroup;
	entry->name = row->name;
	entry->workload = row->workload;
	entry->seen_ns = run_time(apply->run, row->time_us);
}

void apply_processes(struct apply *apply, const struct process_row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i % TABLE_GROUP == 0)
			table_prefetch_rows(&apply->node->processes, &rows[i], sizeof(*rows),
					    count - i);
		apply_process(apply, &rows[i]);
	}
}

/* Most processes never own a socket: those are forgotten soon after their end. A socket may outlive
 * its process, so an owner stays as long as any entry that is not told again. */
void apply_exits(struct apply *apply, const struct exit_row *rows, size_t count)
{
	const uint64_t early_ns = (OBJECT_KEEP_S - EXIT_KEEP_S) * NS_PER_S;
	for (size_t i = 0; i < count; i++) {
		if (i % TABLE_GROUP == 0)
			table_prefetch_rows(&apply->node->processes, &rows[i], sizeof(*rows),
					    count - i);
		uint64_t pid = rows[i].pid;
		struct process_entry *entry = table_find(&apply->node->processes, &pid);
		if (entry && !entry->used && entry->started_ns == rows[i].started_ns)
			entry->seen_ns = run_time(apply->run, rows[i].time_us) - early_ns;
	}
}

/* ---- owners ---- */

static struct container_entry *owner_container_entry(struct node *node, uint64_t cgroup)
{
	struct container_entry *container = cgroup ? table_find(&node->containers, &cgroup) : NULL;
	if (container)
		container->used = true;
	else if (cgroup)
		node_want(node, cgroup);
	return container;
}

static struct process_entry *owner_process_entry(struct node *node, uint64_t pid)
{
	struct process_entry *process = pid ? table_find(&node->processes, &pid) : NULL;
	if (process)
		process->used = true;
	else if (pid)
		node_want(node, pid);
	return process;
}

/* What the cluster says of the container's pod, or NULL: of the uid that its cgroup tells, else of
 * the container's id then. A pod whose manifest lies on its node has another uid there than in the
 * cluster, and some runtimes' cgroups tell none. */
static const struct fact *pod_of(const struct mirror *mirror,
				 const struct container_entry *container)
{
	const struct census *census = mirror->options.census;
	if (!census || !container)
		return NULL;
	const struct fact *fact = census_pod(census, container->pod);
	const struct address place = fact_container(container->id);
	if (fact || !container->id ||
	    census_address(census, &place, pane_end(mirror->pane), &fact) != CENSUS_ONE)
		return fact;
	return fact->kind == FACT_POD ? fact : NULL;
}

static uint64_t zone_of(const struct mirror *mirror, const struct node *node)
{
	const struct census *census = mirror->options.census;
	if (node->applied_zone || !census)
		return node->applied_zone;
	const struct fact *fact = census_node(census, node->name_id);
	return fact ? fact->zone : 0;
}

static void instance_workload(struct instance *instance, const struct fact *pod,
			      const struct container_entry *container,
			      const struct process_entry *process)
{
	const struct {
		uint64_t name;
		uint32_t resolution;
	} candidates[] = {
		{pod ? pod->workload : 0, RESOLUTION_WORKLOAD},
		{container ? container->workload : 0, RESOLUTION_WORKLOAD},
		{container ? container->name : 0, RESOLUTION_CONTAINER},
		{container ? container->unit : 0, RESOLUTION_UNIT},
		{process ? process->workload : 0, RESOLUTION_PROCESS},
		{instance->node, RESOLUTION_NODE},
	};
	size_t i = 0;
	while (!candidates[i].name)
		i++; /* a node always has a name */
	instance->workload = candidates[i].name;
	instance->resolution = candidates[i].resolution;
}

/* The agent says that this is a pod, and the cluster, if there is one, does not yet. Returns until
 * when it may; 0: nothing is waited for. */
static uint64_t waits_until(const struct mirror *mirror, const struct container_entry *container)
{
	if (!mirror->clustered || !container || !container->pod ||
	    container->waits_until_ns <= pane_end(mirror->pane))
		return 0;
	return container->waits_until_ns;
}

static void owner_wait(struct node *node, struct owner *owner, uint64_t until_ns)
{
	owner->waits = until_ns != 0;
	if (owner->waits && (!node->waits_until_ns || until_ns < node->waits_until_ns))
		node->waits_until_ns = until_ns;
}

static struct instance owner_instance(const struct mirror *mirror, struct node *node,
				      struct owner *owner)
{
	const struct process_entry *process = owner_process_entry(node, owner->pid);
	uint64_t cgroup = owner->cgroup ? owner->cgroup : process ? process->cgroup : 0;
	const struct container_entry *container = owner_container_entry(node, cgroup);
	const struct fact *pod = pod_of(mirror, container);
	struct instance instance = {
		.version = container ? container->version : 0,
		.zone = zone_of(mirror, node),
		.node = node->name_id,
		.container = container ? container->container : 0,
		.process = process ? process->name : 0,
	};
	owner->known = pod != NULL;
	owner_wait(node, owner, pod ? 0 : waits_until(mirror, container));
	if (pod) { /* as those name it who have no agent there */
		instance.version = pod->version ? pod->version : instance.version;
		instance.container = pod->instance;
	}
	instance_workload(&instance, pod, container, process);
	instance.id = instance_id(&instance);
	return instance;
}

void owner_names(const struct mirror *mirror, const struct node *node, uint32_t pid,
		 uint64_t cgroup, uint64_t *program, uint64_t *workload)
{
	const uint64_t pid_key = pid;
	const struct process_entry *process = pid ? table_find(&node->processes, &pid_key) : NULL;
	uint64_t of = cgroup ? cgroup : process ? process->cgroup : 0;
	const struct container_entry *container = of ? table_find(&node->containers, &of) : NULL;
	struct instance instance = {.node = node->name_id};
	instance_workload(&instance, pod_of(mirror, container), container, process);
	*program = process ? process->name : 0;
	*workload = instance.resolution == RESOLUTION_NODE ? 0 : instance.workload;
}

static void owner_resolve(struct mirror *mirror, struct node *node, struct owner *owner)
{
	bool waited = owner->waits;
	struct instance instance = owner_instance(mirror, node, owner);
	uint32_t before = owner->self;
	owner->changed = owner->self_id != instance.id ||
			 owner->resolution != instance.resolution || owner->waits != waited;
	owner->self_id = instance.id;
	owner->resolution = instance.resolution;
	owner->self = roster_put(mirror->roster, &instance, mirror->pane);
	roster_hold(mirror->roster, owner->self);
	roster_drop(mirror->roster, before);
}

/* A free place; 0, nobody's, when all are taken. */
static uint32_t owner_place(struct node *node)
{
	uint32_t place = node->owners_free;
	if (place) {
		node->owners_free = node->owners[place].next_free;
		return place;
	}
	if (node->owners_count > OWNERS_MAX)
		return 0;
	if (node->owners_count == node->owners_capacity) {
		node->owners_capacity =
			(uint32_t)memory_grown(node->owners_capacity, node->owners_count + 1);
		node->owners =
			memory_resize(node->owners, node->owners_capacity, sizeof(*node->owners));
	}
	return node->owners_count++;
}

uint16_t owner_take(struct mirror *mirror, struct node *node, uint32_t pid, uint64_t cgroup)
{
	struct owner_key key = {cgroup, pid};
	uint16_t *cached = &node->owner_cache[(pid + cgroup) % OWNER_CACHE];
	struct owner *known = &node->owners[*cached];
	if (known->users && known->pid == pid && known->cgroup == cgroup) {
		known->users++;
		return *cached;
	}
	struct owner_entry *entry = table_find(&node->owner_keys, &key);
	uint32_t place = entry ? entry->owner : owner_place(node);
	struct owner *owner = &node->owners[place];
	mirror->stats.owners_refused += !place;
	if (!entry && place) {
		*owner = (struct owner){.cgroup = cgroup, .pid = pid};
		entry = table_put(&node->owner_keys, &key);
		entry->owner = place;
	}
	if (!owner->users++) {
		owner_resolve(mirror, node, owner);
		owner->changed = false;
	}
	*cached = (uint16_t)place;
	return (uint16_t)place;
}

void owner_drop(struct mirror *mirror, struct node *node, uint16_t place)
{
	struct owner *owner = &node->owners[place];
	if (--owner->users)
		return;
	roster_drop(mirror->roster, owner->self);
	owner->self = 0;
	if (!place)
		return;
	struct owner_key key = {owner->cgroup, owner->pid};
	table_remove(&node->owner_keys, table_find(&node->owner_keys, &key));
	owner->next_free = node->owners_free;
	node->owners_free = place;
}

/* One of the owner's living halves. */
static void half_renamed(struct mirror *mirror, struct node *node, uint32_t index,
			 struct half *half)
{
	struct owner *owner = &node->owners[half->owner];
	if (!owner->moved) {
		owner->moved = true;
		server_moved(mirror, owner);
	}
	socket_again(mirror, node, index, half);
}

static void recheck_halves(struct mirror *mirror, struct node *node, const struct page_index *pages)
{
	for (uint32_t at = 0; at < pages->count; at++) {
		uint32_t page = pages->pages[at];
		for (uint32_t i = 0; page && i < PAGE_HALVES; i++) {
			uint32_t index = (page - 1) << PAGE_SHIFT | i;
			struct half *half = pages_at(&mirror->pages, index);
			if (half->live && node->owners[half->owner].changed)
				half_renamed(mirror, node, index, half);
		}
	}
}

/* ---- halves that ended while their owner waits ---- */

void owner_awaited(struct mirror *mirror, struct node *node, uint16_t owner, uint32_t at)
{
	struct linger *linger = &mirror->lingers.items[at];
	linger->waits = true;
	linger->node = (uint16_t)node->place;
	linger->owner = owner;
	node->owners[owner].users++;
	node->owners[owner].told_pane = 0; /* another may serve there when it has sockets again */
	node->awaited++;
}

void owner_unawaited(struct mirror *mirror, struct linger *linger)
{
	struct node *node = mirror->nodes[linger->node];
	linger->waits = false;
	node->awaited--;
	owner_drop(mirror, node, linger->owner);
}

/* The next of the node's that waits, from this one (+ 1) on; 0: there is none. */
static uint32_t awaited(const struct mirror *mirror, const struct node *node, uint32_t next)
{
	const struct linger *lingers = mirror->lingers.items;
	while (next && (!lingers[next - 1].waits || lingers[next - 1].node != node->place))
		next = lingers[next - 1].later;
	return next;
}

void owners_unawaited(struct mirror *mirror, const struct node *node)
{
	uint32_t next = node->awaited ? mirror->lingers.first : 0;
	while ((next = awaited(mirror, node, next)) != 0)
		owner_unawaited(mirror, &mirror->lingers.items[next - 1]);
}

/* If nothing came, it keeps the name that it had. */
static void linger_named(struct mirror *mirror, struct node *node, struct linger *linger)
{
	const struct owner *owner = &node->owners[linger->owner];
	const struct place *place = &linger->place;
	uint32_t self = owner->known		     ? owner->self
			: place->side == SIDE_CLIENT ? place->client
						     : place->server;
	if (linger->labelled) /* else its opening names it */
		send_named(mirror, linger, owner->pid, self);
	owner_unawaited(mirror, linger);
}

static void recheck_ended(struct mirror *mirror, struct node *node)
{
	uint32_t next = node->awaited ? mirror->lingers.first : 0;
	while ((next = awaited(mirror, node, next)) != 0) {
		struct linger *linger = &mirror->lingers.items[next - 1];
		next = linger->later;
		if (!node->owners[linger->owner].waits)
			linger_named(mirror, node, linger);
	}
}

bool owners_due(const struct mirror *mirror, const struct node *node)
{
	return node->recheck ||
	       (node->waits_until_ns && node->waits_until_ns <= pane_end(mirror->pane));
}

/* Late metadata may say better whose a half is: it is then announced again, and where it serves.
 * Who ended in this pane keeps the name it had, however long its openings still hold its owner;
 * unless that waited for what the cluster tells. */
void owners_recheck(struct mirror *mirror, struct node *node)
{
	bool changed = false;
	node->recheck = false;
	node->waits_until_ns = 0;
	memset(node->wanted, 0, sizeof(node->wanted));
	for (uint32_t i = 0; i < node->owners_count; i++) {
		struct owner *owner = &node->owners[i];
		if (!owner->users)
			continue;
		owner_resolve(mirror, node, owner);
		owner->moved = false;
		changed |= owner->changed;
	}
	if (!changed)
		return;
	recheck_halves(mirror, node, &node->index);
	if (node->orphans)
		recheck_halves(mirror, node, slot_pages(node, DECODE_SLOTS_MAX));
	recheck_ended(mirror, node);
}
