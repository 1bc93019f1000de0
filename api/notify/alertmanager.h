/* Alerts as Alertmanager takes them (POST /api/v2/alerts): each is known by its labels and is over
 * at its endsAt. So whoever fires is told again before that, and one whose labels are others now is
 * two: the former ends. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "api/http/json.h"
#include "api/notify/body.h"

/* An alert without its end: a JSON object that is not closed, its labels first. */
struct item {
	size_t labels_length, length;
	char text[];
};

struct item *item_new(const struct notice *notice); /* to free() */
void item_put(struct json *json, const struct item *item, uint64_t ends_ns);
/* What is to be told of an alert: with notice->item, what it changed from. */
void body_alertmanager(struct json *json, const struct notice *notice);
