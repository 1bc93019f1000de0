/* Alerts and deliveries as the public schema has them (alerts.proto): in millrace.alerts and
 * millrace.alerts.delivery, in the API's answers and in what a webhook is sent. A message lies in
 * the arena, or is a constant or lent by what it is of. Bounds: those of struct alert. Pure; any
 * thread. */
#pragma once

#include <stdint.h>

#include "millrace/v1/alerts.pb-c.h"

struct alert;
struct arena;
struct delivery;
struct json;

enum { ALERT_VERSION = 1 }; /* of the schema */

/* Without the numbers of an output (epoch, task, output). */
Millrace__V1__Alert *alert_message(struct arena *arena, const struct alert *alert);
Millrace__V1__Delivery *delivery_message(struct arena *arena, const struct delivery *delivery);
/* As /api/v1/alerts gives it. */
void alert_json(struct json *json, const struct alert *alert);

/* "tcp", "udp", or "ip-" and the number; "" of none. */
const char *protocol_name(struct arena *arena, uint8_t protocol);
