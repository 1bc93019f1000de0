#include "rules/acknowledgement.h"

#include <stdio.h>
#include <string.h>

#include "millrace/v1/silences.pb-c.h"
#include "rules/bounded.h"

enum { VERSION = 1, UNPACK_BYTES_MAX = 64 << 10 };

static bool bad(char *why, const char *what)
{
	if (why)
		snprintf(why, SILENCE_WHY_BYTES, "%s", what);
	return false;
}

void acknowledgement_key(const struct acknowledgement *acknowledgement,
			 char key[ACKNOWLEDGEMENT_KEY_BYTES])
{
	snprintf(key, ACKNOWLEDGEMENT_KEY_BYTES, ACKNOWLEDGEMENT_PREFIX "%s", acknowledgement->key);
}

bool acknowledgement_check(const struct acknowledgement *acknowledgement,
			   char why[SILENCE_WHY_BYTES])
{
	if (!acknowledgement->key[0])
		return bad(why, "id: of no incident");
	if (!bounded_is_utf8(acknowledgement->author) ||
	    !bounded_is_utf8(acknowledgement->created_by) ||
	    !bounded_is_utf8(acknowledgement->comment))
		return bad(why, "author, created_by, comment: UTF-8");
	if (!acknowledgement->issued_ns || acknowledgement->issued_ns > INT64_MAX)
		return bad(why, "issued_ns: no time");
	return true;
}

bool acknowledgement_holds(const struct acknowledgement *acknowledgement, const struct alert *alert)
{
	return strcmp(acknowledgement->key, alert->key) == 0 &&
	       acknowledgement->reopened_ns == alert->reopened_ns;
}

static bool take_rule(const Millrace__V1__AcknowledgementRule *from, struct acknowledgement *to)
{
	if (!from)
		return false;
	to->reopened_ns = from->reopened_ns;
	return bounded_text(to->created_by, sizeof(to->created_by), from->created_by) &&
	       bounded_text(to->comment, sizeof(to->comment), from->comment);
}

static bool take(const Millrace__V1__SilenceRecord *from, struct acknowledgement *to, char *why)
{
	size_t prefix = sizeof(ACKNOWLEDGEMENT_PREFIX) - 1;

	if (from->version != VERSION)
		return bad(why, "its version is not known here");
	if (strncmp(from->id, ACKNOWLEDGEMENT_PREFIX, prefix) != 0)
		return bad(why, "id: that of an acknowledgement begins with acknowledgement/");
	to->issued_ns = from->issued_ns;
	if (from->hmac.len == sizeof(to->mac))
		memcpy(to->mac, from->hmac.data, sizeof(to->mac));
	if (!bounded_text(to->key, sizeof(to->key), from->id + prefix) ||
	    !bounded_text(to->author, sizeof(to->author), from->author) ||
	    !take_rule(from->acknowledgement, to))
		return bad(why, "more of something than is allowed, or no acknowledgement");
	return acknowledgement_check(to, why);
}

bool acknowledgement_accept(const uint8_t *bytes, size_t length, const struct keys *keys,
			    struct acknowledgement *acknowledgement, char why[SILENCE_WHY_BYTES])
{
	size_t left = UNPACK_BYTES_MAX;
	ProtobufCAllocator allocator = bounded_allocator(&left);
	Millrace__V1__SilenceRecord *message;
	bool good;

	memset(acknowledgement, 0, sizeof(*acknowledgement));
	if (!keys_sealed(keys, bytes, length))
		return bad(why, "not signed by the pipeline's key");
	if (length > SILENCE_BYTES_MAX)
		return bad(why, "longer than 4 KiB");
	message = millrace__v1__silence_record__unpack(&allocator, length, bytes);
	good = message ? take(message, acknowledgement, why)
		       : bad(why, "not a SilenceRecord message");
	if (message)
		millrace__v1__silence_record__free_unpacked(message, &allocator);
	return good;
}

size_t acknowledgement_write(const struct acknowledgement *acknowledgement, const uint8_t *key,
			     uint8_t *bytes)
{
	Millrace__V1__AcknowledgementRule rule = MILLRACE__V1__ACKNOWLEDGEMENT_RULE__INIT;
	Millrace__V1__SilenceRecord message = MILLRACE__V1__SILENCE_RECORD__INIT;
	char id[ACKNOWLEDGEMENT_KEY_BYTES];

	acknowledgement_key(acknowledgement, id);
	rule.reopened_ns = acknowledgement->reopened_ns;
	rule.created_by = (char *)acknowledgement->created_by;
	rule.comment = (char *)acknowledgement->comment;
	message.id = id;
	message.version = VERSION;
	message.issued_ns = acknowledgement->issued_ns;
	message.author = (char *)acknowledgement->author;
	message.acknowledgement = &rule;
	return bounded_write(&message.base, key, bytes, SILENCE_BYTES_MAX);
}
