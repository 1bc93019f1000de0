#include "agent/hostport.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

int hostport_parse(const char *text, struct sockaddr_storage *address)
{
	char host[64];
	const char *colon = strrchr(text, ':');
	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -EINVAL;
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (*end || end == colon + 1 || port > 65535)
		return -EINVAL;
	bool v6 = text[0] == '[';
	int length = (int)(colon - text) - (v6 ? 2 : 0);
	snprintf(host, sizeof(host), "%.*s", length, text + v6);
	return v6 ? uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)address)
		  : uv_ip4_addr(host, (int)port, (struct sockaddr_in *)address);
}
