#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/notify.h"

static int manager = -1;

/* A service manager's socket; "@": abstract. */
static void listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(path);
	memcpy(address.sun_path, path, length);
	if (path[0] == '@')
		address.sun_path[0] = 0;
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(manager, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length +
					  (path[0] == '/'))),
			 0);
	setenv("NOTIFY_SOCKET", path, 1);
}

static const char *heard(void)
{
	static char text[64];
	ssize_t length = recv(manager, text, sizeof(text) - 1, 0);
	text[length < 0 ? 0 : length] = 0;
	return text;
}

static void tell_all(const char *path)
{
	listen_at(path);
	unsetenv("WATCHDOG_USEC");
	struct notify *notify = notify_new();
	notify_ready(notify);
	assert_string_equal(heard(), "READY=1");
	notify_alive(notify, 1000000000);
	assert_string_equal(heard(), ""); /* no watchdog was asked for */
	notify_stopping(notify);
	assert_string_equal(heard(), "STOPPING=1");
	notify_free(notify);
	close(manager);
}

static void the_manager_hears_start_and_end(void **state)
{
	(void)state;
	char folder[] = "/tmp/millrace-notify-XXXXXX", path[64];
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/s", folder);
	tell_all(path);
	unlink(path);
	rmdir(folder);
	snprintf(path, sizeof(path), "@millrace-notify-%d", getpid());
	tell_all(path);
}

static void the_watchdog_hears_us_each_half_of_its_time(void **state)
{
	(void)state;
	char path[64], pid[16];
	snprintf(path, sizeof(path), "@millrace-watchdog-%d", getpid());
	snprintf(pid, sizeof(pid), "%d", getpid());
	listen_at(path);
	setenv("WATCHDOG_USEC", "2000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	struct notify *notify = notify_new();
	notify_alive(notify, 5000000000);
	assert_string_equal(heard(), "WATCHDOG=1");
	notify_alive(notify, 5999999999);
	assert_string_equal(heard(), "");
	notify_alive(notify, 6000000000);
	assert_string_equal(heard(), "WATCHDOG=1");
	notify_free(notify);
	setenv("WATCHDOG_PID", "1", 1); /* another process's */
	notify = notify_new();
	notify_alive(notify, 9000000000);
	assert_string_equal(heard(), "");
	notify_free(notify);
	unsetenv("WATCHDOG_PID");
	close(manager);
}

static void without_a_manager_or_with_a_strange_one_nothing_happens(void **state)
{
	(void)state;
	static const char *const paths[] = {"", "/", "relative", "@gone-millrace", "/nowhere/s"};
	for (size_t i = 0; i <= sizeof(paths) / sizeof(paths[0]); i++) {
		if (i < sizeof(paths) / sizeof(paths[0]))
			setenv("NOTIFY_SOCKET", paths[i], 1);
		else
			unsetenv("NOTIFY_SOCKET");
		struct notify *notify = notify_new();
		notify_ready(notify);
		notify_alive(notify, 1);
		notify_free(notify);
	}
	char path[200];
	memset(path, 'x', sizeof(path)); /* longer than an address */
	path[0] = '/';
	path[sizeof(path) - 1] = 0;
	setenv("NOTIFY_SOCKET", path, 1);
	struct notify *notify = notify_new();
	notify_ready(notify);
	notify_free(notify);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_manager_hears_start_and_end),
		cmocka_unit_test(the_watchdog_hears_us_each_half_of_its_time),
		cmocka_unit_test(without_a_manager_or_with_a_strange_one_nothing_happens),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
