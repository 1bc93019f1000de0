/* An alert as /api/v1/alerts gives it. Pure; any thread. */
#pragma once

struct alert;
struct json;

void alert_json(struct json *json, const struct alert *alert);
