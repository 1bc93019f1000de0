/* Monitors as people write them, in the configuration's own language and read by its own table: a
 * monitor, or a list of them under `monitors`, YAML or JSON. Pure; any thread. */
#pragma once

#include <stddef.h>

#include "anomaly/monitor.h"
#include "config/config.h"

enum { MONITOR_TEXT_MAX = 64 }; /* monitors of one text */

/* All of them, whole and distinct in name, at least one; to free. NULL with error told, with the
 * line of origin where there is one. */
struct monitor *monitor_text_read(const char *origin, const char *text, size_t length,
				  size_t *count, struct config_error *error);
