/* A name's bytes, or its id in hex where the bytes are not here: readers always get something that
 * can be told apart. */
#pragma once

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/alert.h"
#include "base/name.h"

static inline void name_text(const struct names *names, uint64_t id, char text[ALERT_NAME_MAX])
{
	const struct name *name = names && id ? names_get(names, id) : NULL;
	if (name) {
		memcpy(text, name->bytes, name->length);
		text[name->length] = '\0';
	} else if (id) {
		snprintf(text, ALERT_NAME_MAX, "#%016" PRIx64, id);
	} else {
		text[0] = '\0';
	}
}
