/* How each kind of receiver is spoken to: its pace, its bodies, and which answers mean that it has
 * taken a message. Constant. */
#pragma once

#include <stdbool.h>

#include "api/http/json.h"
#include "api/notify/notify.h"
#include "api/notify/transport.h"

struct dialect {
	double per_minute, burst; /* unless the receiver's configuration says otherwise */
	/* first: of its episode it has not heard before; repeat: it may have had this message
	 * before. */
	void (*body)(struct json *json, const struct alert *alert, const struct receiver *receiver,
		     const char *external_url, bool first, bool repeat);
	bool (*accepted)(const struct answer *answer);
	bool in_place;	 /* another message of an episode replaces the one before: PagerDuty, by
			    dedup key */
	bool ends_first; /* ends of incidents go before new ones: they take people off */
	bool quiet;	 /* a message that replaces another notifies nobody */
};

const struct dialect *dialect_of(enum receiver_kind kind);
