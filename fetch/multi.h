/* libcurl's multi interface on a libuv loop: who has requests to make sets up easy handles, adds
 * them to the CURLM, and is told when each has ended. As many sockets and requests as are added.
 * Owned by the loop's thread. */
#pragma once

#include <curl/curl.h>
#include <uv.h>

struct multi;

/* request is what the handle's CURLOPT_PRIVATE says; whoever is told removes and frees the handle.
 */
typedef void (*multi_done)(void *request, CURLcode code);

struct multi *multi_new(uv_loop_t *loop, multi_done done);
/* For the handles and for options; sockets and timer are taken. */
CURLM *multi_curl(struct multi *multi);
/* Once all handles are removed. closed is called when the loop has let go, and the multi with it.
 */
void multi_close(struct multi *multi, void (*closed)(void *context), void *context);
