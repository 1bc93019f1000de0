/* The system calls of the running agent: an allow-list for all its threads (seccomp), loaded when
 * everything is open and attached. It may read files, use sockets, timers, its BPF maps and
 * iterators, and start threads; it may not execute, make files, load BPF programs, look into or
 * signal other processes, mount, or map memory that is writable and executable.
 *
 * The list is for the libraries too (librdkafka, libcurl, OpenSSL, libuv, the C library's
 * resolver), so what they call in newer versions without need is refused with ENOSYS instead of
 * death. */
#pragma once

#include <stdint.h>

/* What happens to other calls; the option security.seccomp. */
enum syscalls_mode { SYSCALLS_KILL, SYSCALLS_LOG, SYSCALLS_OFF };

/* Before the first thread and loop: no io_uring for whoever would like it, as its operations pass a
 * filter by. 0 or -errno. */
int syscalls_begin(enum syscalls_mode mode);
/* For all threads that there are, and those that they start. 0 or -errno: nothing is limited then.
 */
int syscalls_limit(enum syscalls_mode mode);
