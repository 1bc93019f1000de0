/* Tells the service manager that started us how we are (sd_notify(3)): a datagram to the socket
 * that NOTIFY_SOCKET names. Without one all of this does nothing. The loop's thread. */
#pragma once

#include <stdint.h>

struct notify;
/* Never NULL. The socket is opened now, as it may be out of reach later. */
struct notify *notify_new(void);
void notify_free(struct notify *notify);
void notify_ready(const struct notify *notify);
void notify_stopping(const struct notify *notify);
/* We live: call it as often as is convenient, it tells when half of the watchdog's time is over. */
void notify_alive(struct notify *notify, uint64_t now_ns);
