/* What a request may say: one table a method, from which REST parameters are parsed into the
 * request message, both REST and gRPC requests are checked and given their defaults, and
 * /openapi.json is written. Pure; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <protobuf-c/protobuf-c.h>

#include "api/query/arena.h"

struct json;
struct request;

enum parameter_type {
	PARAMETER_TEXT,	    /* up to 255 bytes, as names are */
	PARAMETER_CHOICE,   /* one of `choices` */
	PARAMETER_COUNT,    /* whole number */
	PARAMETER_DURATION, /* 60s, 5m, 1h30m is not; or seconds */
	PARAMETER_TIME,	    /* RFC 3339, or seconds since 1970; 0 is "not given" */
	PARAMETER_FLAG,	    /* 1, true or nothing; 0 or false */
};

struct parameter {
	const char *name;  /* in the query string */
	const char *field; /* in the request message; NULL: whoever serves it reads it */
	enum parameter_type type;
	double min, max;	    /* COUNT and DURATION, in seconds */
	double fallback;	    /* COUNT and DURATION: for 0; 0 leaves it to the method */
	const char *const *choices; /* CHOICE: NULL at the end; an empty text is always accepted */
	const char *help;
	bool in_path; /* it is what the route's "*" matched */
};

struct parameters_table {
	const struct parameter *entries;
	size_t count;
};

enum refusal_kind {
	REFUSED_NOT, /* no refusal */
	REFUSED_BAD, /* the request is wrong */
	REFUSED_TOO_MUCH,
	REFUSED_UNKNOWN, /* there is no such thing */
	REFUSED_BROKEN,	 /* ours: the history cannot be read */
};

/* Why there is no answer. */
struct refusal {
	enum refusal_kind kind;
	char detail[1024]; /* all metrics are named in one */
};

void refuse(struct refusal *refusal, enum refusal_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* False with *refusal set. Fills `message` from the request's query string. */
bool parameters_parse(const struct parameters_table *table, const struct request *request,
		      struct arena *arena, ProtobufCMessage *message, struct refusal *refusal);
/* Checks a message and puts the defaults in place of zeros. */
bool parameters_check(const struct parameters_table *table, ProtobufCMessage *message,
		      struct refusal *refusal);
void parameters_schema(struct json *json, const struct parameters_table *table);

/* False if the text is none; nothing is on. */
bool parse_flag(const char *text, bool *on);

/* Exposed for tests. Seconds; false if the text is none. */
bool parse_duration(const char *text, double *seconds);
bool parse_time(const char *text, double *seconds);
