#include "agent/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/memory.h"

struct notify {
	int socket; /* -1: nobody wants to know */
	struct sockaddr_un address;
	socklen_t length;
	uint64_t every_ns, told_ns; /* 0: no watchdog */
};

static void tell(const struct notify *notify, const char *text)
{
	if (notify->socket >= 0) /* a manager that does not listen is no reason to stop */
		(void)!sendto(notify->socket, text, strlen(text), MSG_NOSIGNAL,
			      (const struct sockaddr *)&notify->address, notify->length);
}

/* Half of WATCHDOG_USEC, if it is meant for this process. */
static uint64_t watchdog_period_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	if (!usec || (pid && strtol(pid, NULL, 10) != getpid()))
		return 0;
	return strtoull(usec, NULL, 10) * 1000 / 2;
}

struct notify *notify_new(void)
{
	struct notify *notify = memory_zeroed(1, sizeof(*notify));
	const char *path = getenv("NOTIFY_SOCKET");
	size_t length = path ? strlen(path) : 0;
	notify->socket = -1;
	if (length < 2 || length >= sizeof(notify->address.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return notify;
	notify->address.sun_family = AF_UNIX;
	memcpy(notify->address.sun_path, path, length);
	if (path[0] == '@') /* abstract */
		notify->address.sun_path[0] = 0;
	notify->length =
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '/'));
	notify->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	notify->every_ns = watchdog_period_ns();
	return notify;
}

void notify_free(struct notify *notify)
{
	if (!notify)
		return;
	if (notify->socket >= 0)
		close(notify->socket);
	free(notify);
}

void notify_ready(const struct notify *notify)
{
	tell(notify, "READY=1");
}

void notify_stopping(const struct notify *notify)
{
	tell(notify, "STOPPING=1");
}

void notify_alive(struct notify *notify, uint64_t now_ns)
{
	if (!notify->every_ns || now_ns - notify->told_ns < notify->every_ns)
		return;
	notify->told_ns = now_ns;
	tell(notify, "WATCHDOG=1");
}
