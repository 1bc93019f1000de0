/* Who may change what Millrace does: with a token configured who shows it (Authorization: Bearer),
 * else only who asks from loopback, of a loopback name, so that no web page can. The service loop's
 * thread. */
#pragma once

#include <stdbool.h>

struct request;
struct response;

/* False: the request has been answered so, by HTTP or by gRPC. token: NULL for loopback only. */
bool permit(const char *token, const struct request *request, struct response *response);
