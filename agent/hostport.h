/* Addresses as settings have them: "127.0.0.1:7471", "[::1]:7471". No name is looked up. Any
 * thread.
 */
#pragma once

#include <sys/socket.h>

/* 0, or -EINVAL and the like of libuv. */
int hostport_parse(const char *text, struct sockaddr_storage *address);
