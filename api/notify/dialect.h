/* How each kind of receiver is spoken to: its pace, its bodies, and which answers mean that it has
 * taken a message. Constant. */
#pragma once

#include <stdbool.h>

#include "api/http/json.h"
#include "api/notify/body.h"
#include "api/notify/notify.h"
#include "api/notify/transport.h"

/* What an answer means. */
enum verdict {
	VERDICT_TAKEN,
	VERDICT_LATER,	 /* try again */
	VERDICT_ANEW,	 /* the message that was to be changed is no more: another one */
	VERDICT_REFUSED, /* never this one */
	VERDICT_GONE,	 /* nothing, ever */
};

/* As HTTP has it, where the service does not say it otherwise; LATER without an answer. */
enum verdict verdict_by_status(const struct answer *answer, bool taken);

struct dialect {
	double per_minute, burst; /* unless the receiver's configuration says otherwise */
	void (*body)(struct json *json, const struct notice *notice);
	enum verdict (*judge)(const struct answer *answer);
	bool in_place;	  /* another message of an episode replaces the one before: PagerDuty, by
			     dedup key */
	bool ends_first;  /* ends of incidents go before new ones: they take people off */
	bool quiet;	  /* a message that replaces another notifies nobody */
	bool stays;	  /* a firing stays open there until its end is told */
	bool forgets;	  /* unless it is told again: api/notify/repeat.h */
	const char *path; /* behind the receiver's URL; NULL: none */
	/* Of a service whose messages can be changed: the path for each request, and by what the
	 * answer says that the message is known. A change that matters is said in a reply as well:
	 * a second request. NULL: it is none. */
	const char *(*method)(const struct notice *notice);
	bool (*handle)(const struct answer *answer, char handle[DELIVERY_HANDLE_MAX]);
};

const struct dialect *dialect_of(enum receiver_kind kind);
