/* Preloaded into a program under test: counts the calls by which it keeps state in one folder (and
 *in its heaps), and at a call that is named lets it fail or ends the process. The program knows
 * nothing of it.
 *
 *	FAULTS_FOLDER	files under it are watched
 *	FAULTS		SIDE.CALL.N.ACTION, several with commas: at the Nth such call of the side
 *			(parent, or child: whatever was forked). ACTION: before, after (the process
 *is killed), crash (the parent too, before), short, or an error's name. N 0: each FAULTS_LIES
 *fdatasync or fsync: is told to be done and is not FAULTS_LOG	gets a line for each call, in the
 *order in which they were done, and zeros after FAULTS_KEPT	a folder on the same disk that gets
 *a link to each file that is made
 *
 * Counts are shared with children. Lines are: side, call, number, bytes, path, second path. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/heap.h"

enum call {
	CALL_OPEN,
	CALL_OPENDIR,
	CALL_READ,
	CALL_WRITE,
	CALL_FDATASYNC,
	CALL_FSYNC,
	CALL_CLOSE,
	CALL_RENAME,
	CALL_UNLINK,
	CALL_FTRUNCATE,
	CALL_FORK,
	CALL_PIPE,
	CALL_TELL,    /* a child's write to anything else: its answer */
	CALL_PAGEMAP, /* what of its memory was touched: opened or read */
	CALL_MMAP,
	CALL_MPROTECT,
	CALLS,
};

static const char *const call_names[CALLS] = {
	"open",	  "opendir",   "read", "write", "fdatasync", "fsync",	"close", "rename",
	"unlink", "ftruncate", "fork", "pipe",	"tell",	     "pagemap", "mmap",	 "mprotect"};

enum {
	RULES_MAX = 8,
	DESCRIPTORS = 1024,
	PATH_BYTES = 512,
	BEFORE = -1,
	AFTER = -2,
	CRASH = -3,
	SHORT = -4,
	LOG_BYTES = 4 << 20
};

struct rule {
	bool child;
	enum call call;
	uint32_t number;
	int action; /* one of the above, or an errno */
};

struct shared {
	_Atomic uint32_t counts[2][CALLS];
	_Atomic uint32_t logged;
};

static struct {
	struct shared *shared;
	struct rule rules[RULES_MAX];
	int rules_count;
	char *log; /* of the file: a child that closes all else, and a death, leave it */
	const char *folder, *kept, *lies;
	bool child;
	pid_t parent;
	char paths[DESCRIPTORS][PATH_BYTES]; /* of watched descriptors */
} faults;

/* --- settings --- */

static int action_of(const char *name)
{
	static const struct {
		const char *name;
		int action;
	} actions[] = {{"before", BEFORE}, {"after", AFTER},   {"crash", CRASH},
		       {"short", SHORT},   {"EIO", EIO},       {"ENOSPC", ENOSPC},
		       {"EINTR", EINTR},   {"ENOMEM", ENOMEM}, {"EMFILE", EMFILE},
		       {"EAGAIN", EAGAIN}, {"EACCES", EACCES}};

	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(actions[i].name, name) == 0)
			return actions[i].action;
	fprintf(stderr, "faults: no action %s\n", name);
	_exit(99);
}

static void add_rule(const char *text)
{
	char side[8], call[16], action[16];
	struct rule *rule = &faults.rules[faults.rules_count];
	int at = 0;

	if (faults.rules_count == RULES_MAX ||
	    sscanf(text, "%7[^.].%15[^.].%u.%15[^,]", side, call, &rule->number, action) != 4) {
		fprintf(stderr, "faults: %s is no rule\n", text);
		_exit(99);
	}
	while (at < CALLS && strcmp(call_names[at], call) != 0)
		at++;
	if (at == CALLS) {
		fprintf(stderr, "faults: no call %s\n", call);
		_exit(99);
	}
	rule->child = strcmp(side, "child") == 0;
	rule->call = (enum call)at;
	rule->action = action_of(action);
	faults.rules_count++;
}

static int (*real_open)(const char *, int, ...);

__attribute__((constructor)) static void begin(void)
{
	const char *rule = getenv("FAULTS"), *log = getenv("FAULTS_LOG");
	int file = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_RDWR | O_CREAT | O_TRUNC, 0600)
		       : -1;

	faults.shared = mmap(NULL, sizeof(*faults.shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	faults.folder = getenv("FAULTS_FOLDER");
	faults.kept = getenv("FAULTS_KEPT");
	faults.lies = getenv("FAULTS_LIES");
	faults.parent = getpid();
	if (file >= 0 && syscall(SYS_ftruncate, file, LOG_BYTES) == 0) {
		faults.log = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		syscall(SYS_close, file);
	}
	for (; rule && *rule; rule = strchr(rule, ',') ? strchr(rule, ',') + 1 : NULL)
		add_rule(rule);
}

/* --- what happens at a call --- */

static bool watched(const char *path)
{
	return faults.folder && strncmp(path, faults.folder, strlen(faults.folder)) == 0;
}

static const char *path_of(int descriptor)
{
	return descriptor >= 0 && descriptor < DESCRIPTORS && faults.paths[descriptor][0]
		       ? faults.paths[descriptor]
		       : NULL;
}

static void watch(int descriptor, const char *path)
{
	if (descriptor >= 0 && descriptor < DESCRIPTORS)
		snprintf(faults.paths[descriptor], PATH_BYTES, "%s", path);
}

static void die(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
}

static void note(const char *call, uint32_t number, long bytes, const char *path,
		 const char *second)
{
	char line[2 * PATH_BYTES + 64];
	uint32_t at;
	int length;

	if (!faults.log)
		return;
	length = snprintf(line, sizeof(line), "%s %s %u %ld %s %s\n",
			  faults.child ? "child" : "parent", call, number, bytes, path ? path : "-",
			  second ? second : "-");
	at = atomic_fetch_add(&faults.shared->logged, (uint32_t)length);
	if (at + (uint32_t)length < LOG_BYTES)
		memcpy(faults.log + at, line, (size_t)length);
}

/* The action for this call: 0 if it goes on. */
static int strike(enum call call, uint32_t *number)
{
	*number = 1 + atomic_fetch_add(&faults.shared->counts[faults.child][call], 1);
	for (int i = 0; i < faults.rules_count; i++) {
		const struct rule *rule = &faults.rules[i];

		if (rule->child != faults.child || rule->call != call ||
		    (rule->number && rule->number != *number))
			continue;
		note("struck", *number, rule->action, call_names[call], NULL);
		if (rule->action == CRASH)
			syscall(SYS_kill, faults.parent, SIGKILL);
		if (rule->action == CRASH || rule->action == BEFORE)
			die();
		return rule->action;
	}
	return 0;
}

/* After it was done. */
static void done(enum call call, uint32_t number, int action, long bytes, const char *path,
		 const char *second)
{
	note(call_names[call], number, bytes, path, second);
	if (action == AFTER)
		die();
}

#define REAL(name) real_##name = real_##name ? real_##name : dlsym(RTLD_NEXT, #name)

#define FAIL(action, value)               \
	do {                              \
		if ((action) > 0) {       \
			errno = (action); \
			return value;     \
		}                         \
	} while (0)

/* --- files --- */

int open(const char *path, int flags, ...)
{
	bool pagemap = faults.child && strcmp(path, "/proc/self/pagemap") == 0;
	uint32_t number = 0;
	int action = 0, descriptor, error;
	mode_t mode = 0;
	va_list more;

	va_start(more, flags);
	if (flags & O_CREAT)
		mode = va_arg(more, mode_t);
	va_end(more);
	REAL(open);
	if (!watched(path) && !pagemap)
		return real_open(path, flags, mode);
	action = strike(pagemap ? CALL_PAGEMAP : CALL_OPEN, &number);
	FAIL(action, -1);
	descriptor = real_open(path, flags, mode);
	error = errno;
	if (descriptor >= 0 && watched(path)) {
		watch(descriptor, path);
		if (faults.kept && (flags & O_CREAT)) {
			char kept[PATH_BYTES];
			const char *name = strrchr(path, '/');

			snprintf(kept, sizeof(kept), "%s%s", faults.kept, name);
			syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
		}
	}
	done(pagemap ? CALL_PAGEMAP : CALL_OPEN, number, action, flags & O_CREAT ? 1 : 0, path,
	     NULL);
	errno = error;
	return descriptor;
}

DIR *opendir(const char *path)
{
	static DIR *(*real_opendir)(const char *);
	uint32_t number;
	DIR *directory;
	int action;

	REAL(opendir);
	if (!watched(path))
		return real_opendir(path);
	action = strike(CALL_OPENDIR, &number);
	FAIL(action, NULL);
	directory = real_opendir(path);
	done(CALL_OPENDIR, number, action, 0, path, NULL);
	return directory;
}

int close(int descriptor)
{
	static int (*real_close)(int);
	const char *path = path_of(descriptor);
	char kept[PATH_BYTES];
	uint32_t number;
	int action, rc;

	REAL(close);
	if (!path)
		return real_close(descriptor);
	snprintf(kept, sizeof(kept), "%s", path);
	action = strike(CALL_CLOSE, &number);
	faults.paths[descriptor][0] = '\0';
	rc = real_close(descriptor);
	done(CALL_CLOSE, number, action, 0, kept, NULL);
	FAIL(action, -1);
	return rc;
}

ssize_t read(int descriptor, void *bytes, size_t length)
{
	static ssize_t (*real_read)(int, void *, size_t);
	const char *path = path_of(descriptor);
	uint32_t number;
	ssize_t rc;
	int action;

	REAL(read);
	if (!path)
		return real_read(descriptor, bytes, length);
	action = strike(CALL_READ, &number);
	FAIL(action, -1);
	rc = real_read(descriptor, bytes, action == SHORT && length > 1 ? length / 2 : length);
	done(CALL_READ, number, action, rc, path, NULL);
	return rc;
}

ssize_t pread(int descriptor, void *bytes, size_t length, off_t offset)
{
	static ssize_t (*real_pread)(int, void *, size_t, off_t);
	uint32_t number;
	int action;

	REAL(pread);
	if (!faults.child)
		return real_pread(descriptor, bytes, length, offset);
	action = strike(CALL_PAGEMAP, &number);
	FAIL(action, -1);
	return real_pread(descriptor, bytes, action == SHORT ? length / 2 : length, offset);
}

ssize_t write(int descriptor, const void *bytes, size_t length)
{
	static ssize_t (*real_write)(int, const void *, size_t);
	const char *path = path_of(descriptor);
	enum call call = path ? CALL_WRITE : CALL_TELL;
	uint32_t number;
	ssize_t rc;
	int action;

	REAL(write);
	if (!path && !faults.child)
		return real_write(descriptor, bytes, length);
	action = strike(call, &number);
	FAIL(action, -1);
	rc = real_write(descriptor, bytes, action == SHORT && length > 1 ? length / 2 : length);
	done(call, number, action, rc, path, NULL);
	return rc;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
	static ssize_t (*real_writev)(int, const struct iovec *, int);
	const char *path = path_of(descriptor);
	uint32_t number;
	ssize_t rc;
	int action;

	REAL(writev);
	if (!path)
		return real_writev(descriptor, parts, count);
	action = strike(CALL_WRITE, &number);
	FAIL(action, -1);
	rc = real_writev(descriptor, parts, action == SHORT ? count - 1 : count);
	done(CALL_WRITE, number, action, rc, path, NULL);
	return rc;
}

static int synced(enum call call, int descriptor, int (*real)(int))
{
	const char *path = path_of(descriptor);
	bool lie = faults.lies && strcmp(faults.lies, call_names[call]) == 0;
	uint32_t number;
	int action, rc;

	if (!path)
		return real(descriptor);
	action = strike(call, &number);
	FAIL(action, -1);
	rc = lie ? 0 : real(descriptor);
	done(call, number, action, lie, path, NULL);
	return rc;
}

int fdatasync(int descriptor)
{
	static int (*real_fdatasync)(int);

	return synced(CALL_FDATASYNC, descriptor, REAL(fdatasync));
}

int fsync(int descriptor)
{
	static int (*real_fsync)(int);

	return synced(CALL_FSYNC, descriptor, REAL(fsync));
}

int ftruncate(int descriptor, off_t length)
{
	static int (*real_ftruncate)(int, off_t);
	const char *path = path_of(descriptor);
	uint32_t number;
	int action, rc;

	REAL(ftruncate);
	if (!path)
		return real_ftruncate(descriptor, length);
	action = strike(CALL_FTRUNCATE, &number);
	FAIL(action, -1);
	rc = real_ftruncate(descriptor, length);
	done(CALL_FTRUNCATE, number, action, (long)length, path, NULL);
	return rc;
}

int rename(const char *from, const char *to)
{
	static int (*real_rename)(const char *, const char *);
	uint32_t number;
	int action, rc;

	REAL(rename);
	if (!watched(to))
		return real_rename(from, to);
	action = strike(CALL_RENAME, &number);
	FAIL(action, -1);
	rc = real_rename(from, to);
	done(CALL_RENAME, number, action, rc, from, to);
	return rc;
}

int unlink(const char *path)
{
	static int (*real_unlink)(const char *);
	uint32_t number;
	int action, rc;

	REAL(unlink);
	if (!watched(path))
		return real_unlink(path);
	action = strike(CALL_UNLINK, &number);
	FAIL(action, -1);
	rc = real_unlink(path);
	done(CALL_UNLINK, number, action, rc, path, NULL);
	return rc;
}

/* --- processes and memory --- */

pid_t fork(void)
{
	static pid_t (*real_fork)(void);
	uint32_t number;
	int action;
	pid_t child;

	REAL(fork);
	action = strike(CALL_FORK, &number);
	FAIL(action, -1);
	child = real_fork();
	if (child == 0)
		faults.child = true;
	else
		done(CALL_FORK, number, action, child, NULL, NULL);
	return child;
}

/* Libraries make pipes, too. */
static bool from_program(const void *caller)
{
	Dl_info here, program;

	return dladdr(caller, &here) && dladdr((void *)getauxval(AT_ENTRY), &program) &&
	       here.dli_fbase == program.dli_fbase;
}

int pipe2(int ends[2], int flags)
{
	static int (*real_pipe2)(int[2], int);
	uint32_t number;
	int action, rc;

	REAL(pipe2);
	if (!from_program(__builtin_return_address(0)))
		return real_pipe2(ends, flags);
	action = strike(CALL_PIPE, &number);
	FAIL(action, -1);
	rc = real_pipe2(ends, flags);
	done(CALL_PIPE, number, action, rc, NULL, NULL);
	return rc;
}

static bool in_heaps(const void *memory)
{
	return heap_of(memory) != NULL;
}

void *mmap(void *memory, size_t length, int protection, int flags, int descriptor, off_t offset)
{
	uint32_t number;
	int action;
	void *mapped;

	if (!faults.shared || !in_heaps(memory))
		return (void *)syscall(SYS_mmap, memory, length, protection, flags, descriptor,
				       offset);
	action = strike(CALL_MMAP, &number);
	FAIL(action, MAP_FAILED);
	mapped = (void *)syscall(SYS_mmap, memory, length, protection, flags, descriptor, offset);
	done(CALL_MMAP, number, action, 0, NULL, NULL);
	return mapped;
}

int mprotect(void *memory, size_t length, int protection)
{
	uint32_t number;
	int action, rc;

	if (!faults.shared || !in_heaps(memory))
		return (int)syscall(SYS_mprotect, memory, length, protection);
	action = strike(CALL_MPROTECT, &number);
	FAIL(action, -1);
	rc = (int)syscall(SYS_mprotect, memory, length, protection);
	done(CALL_MPROTECT, number, action, 0, NULL, NULL);
	return rc;
}
