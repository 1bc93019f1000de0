#include "agent/dns.h"

#include <stdio.h>
#include <string.h>

enum {
	HEADER_BYTES = 12,
	RECORDS_MAX = 64, /* of a message, that are looked at */
	ALIASES_MAX = 16, /* CNAMEs in a row: resolvers stop at about that */
	CLASS_IN = 1,
	POINTER = 0xc0,
};

enum step { STEP_OK, STEP_CUT, STEP_BAD }; /* CUT: more bytes are needed than are at hand */

struct reader {
	const uint8_t *bytes;
	size_t length, at;
};

struct record {
	size_t name, data; /* places in the message */
	uint16_t type, class, data_length;
	uint32_t ttl;
};

static uint16_t u16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static uint32_t u32(const uint8_t *bytes)
{
	return (uint32_t)u16(bytes) << 16 | u16(bytes + 2);
}

static uint8_t lower(uint8_t byte)
{
	return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
}

static enum step append_label(const struct reader *reader, size_t at, struct dns_name *name)
{
	uint8_t size = reader->bytes[at];
	if (reader->length - at < size + 1U)
		return STEP_CUT;
	if (name->length + size + 1 > DNS_NAME_BYTES)
		return STEP_BAD;
	name->bytes[name->length++] = size;
	for (uint8_t i = 1; i <= size; i++)
		name->bytes[name->length++] = lower(reader->bytes[at + i]);
	return STEP_OK;
}

/* Reads the name at *at and moves on past it. A pointer leads before the place where the piece
 * that it stands in began, so each jump goes further back and there is an end. */
static enum step read_name(const struct reader *reader, size_t *at, struct dns_name *name)
{
	size_t place = *at, piece = place;
	bool jumped = false;
	name->length = 0;
	for (;;) {
		if (place >= reader->length)
			return STEP_CUT;
		uint8_t size = reader->bytes[place];
		if (size >= POINTER) {
			if (reader->length - place < 2)
				return STEP_CUT;
			size_t target = u16(reader->bytes + place) & 0x3fff;
			if (!jumped)
				*at = place + 2;
			if (target >= piece)
				return STEP_BAD;
			jumped = true;
			place = piece = target;
			continue;
		}
		if (size > 63)
			return STEP_BAD;
		enum step step = append_label(reader, place, name);
		if (step != STEP_OK)
			return step;
		place += size + 1U;
		if (size)
			continue;
		if (!jumped)
			*at = place;
		return STEP_OK;
	}
}

static enum step read_record(struct reader *reader, struct record *record)
{
	struct dns_name name;
	record->name = reader->at;
	enum step step = read_name(reader, &reader->at, &name);
	if (step != STEP_OK)
		return step;
	if (reader->length - reader->at < 10)
		return STEP_CUT;
	const uint8_t *bytes = reader->bytes + reader->at;
	record->type = u16(bytes);
	record->class = u16(bytes + 2);
	record->ttl = u32(bytes + 4);
	record->data_length = u16(bytes + 8);
	record->data = reader->at + 10;
	if (reader->length - record->data < record->data_length)
		return STEP_CUT;
	reader->at = record->data + record->data_length;
	return STEP_OK;
}

static bool is_of(const struct reader *reader, size_t place, const struct dns_name *name)
{
	struct dns_name other;
	return read_name(reader, &place, &other) == STEP_OK && dns_name_equal(&other, name);
}

static uint32_t least_ttl(uint32_t least, uint32_t ttl)
{
	if (ttl > INT32_MAX)
		ttl = 0; /* RFC 2181, 8 */
	return ttl < least ? ttl : least;
}

/* Follows the aliases of the name asked for; `least` gets the smallest TTL of them. */
static void follow_aliases(const struct reader *reader, const struct record *records,
			   uint32_t count, struct dns_name *name, uint32_t *least)
{
	for (int aliases = 0; aliases < ALIASES_MAX; aliases++) {
		const struct record *alias = NULL;
		for (uint32_t i = 0; i < count && !alias; i++)
			if (records[i].type == DNS_CNAME && is_of(reader, records[i].name, name))
				alias = &records[i];
		size_t place = alias ? alias->data : 0;
		struct dns_name target;
		if (!alias || read_name(reader, &place, &target) != STEP_OK)
			return;
		*name = target;
		*least = least_ttl(*least, alias->ttl);
	}
}

static void add_answer(const struct reader *reader, const struct record *record, uint32_t least,
		       struct dns_message *message)
{
	const uint8_t *data = reader->bytes + record->data;
	struct batch_answer answer = {.ttl_s = least_ttl(least, record->ttl)};
	if (record->type == DNS_A && record->data_length == 4)
		answer.address = address_v4(u32(data));
	else if (record->type == DNS_AAAA && record->data_length == 16)
		answer.address = address_v6(data);
	else
		return;
	if (message->answers_count < BATCH_ANSWERS_MAX)
		message->answers[message->answers_count++] = answer;
}

static void find_answers(const struct reader *reader, const struct record *records, uint32_t count,
			 struct dns_message *message)
{
	struct dns_name name = message->name;
	uint32_t least = INT32_MAX;
	follow_aliases(reader, records, count, &name, &least);
	for (uint32_t i = 0; i < count; i++)
		if (records[i].class == CLASS_IN && is_of(reader, records[i].name, &name))
			add_answer(reader, &records[i], least, message);
}

static void read_records(struct reader *reader, uint32_t answers, uint32_t all,
			 struct dns_message *message)
{
	struct record records[RECORDS_MAX];
	uint32_t count = 0;
	enum step step = STEP_OK;
	for (uint32_t i = 0; i < all && i < RECORDS_MAX; i++) {
		struct record record;
		step = read_record(reader, &record);
		if (step != STEP_OK)
			break;
		if (i < answers)
			records[count++] = record;
		else if (record.type == DNS_OPT)
			message->rcode |= record.ttl >> 24 << 4;
	}
	message->damaged = step == STEP_BAD;
	if (message->asked)
		find_answers(reader, records, count, message);
}

enum dns_verdict dns_parse(const uint8_t *bytes, size_t length, struct dns_message *message)
{
	if (length < HEADER_BYTES)
		return DNS_MALFORMED;
	struct reader reader = {.bytes = bytes, .length = length, .at = HEADER_BYTES};
	*message = (struct dns_message){
		.id = u16(bytes),
		.response = bytes[2] & 0x80,
		.truncated = bytes[2] & 0x02,
		.rcode = bytes[3] & 0x0f,
	};
	uint32_t questions = u16(bytes + 4);
	if (bytes[2] & 0x78 || (!questions && !message->response))
		return DNS_OTHER;
	if (questions > 1)
		return DNS_MALFORMED;
	if (questions) {
		if (read_name(&reader, &reader.at, &message->name) != STEP_OK ||
		    length - reader.at < 4)
			return DNS_MALFORMED;
		message->asked = true;
		message->type = u16(bytes + reader.at);
		reader.at += 4;
	}
	uint32_t answers = u16(bytes + 6);
	if (message->response)
		read_records(&reader, answers, answers + u16(bytes + 8) + u16(bytes + 10), message);
	return DNS_READ;
}

void dns_name_format(const struct dns_name *name, char text[DNS_TEXT_BYTES])
{
	char *at = text;
	for (size_t label = 0; label < name->length && name->bytes[label];
	     label += name->bytes[label] + 1U) {
		if (label)
			*at++ = '.';
		for (size_t i = label + 1; i <= label + name->bytes[label]; i++) {
			uint8_t byte = name->bytes[i];
			if (byte > ' ' && byte < 0x7f && byte != '.' && byte != '\\')
				*at++ = (char)byte;
			else
				at += snprintf(at, 5, "\\%03u", byte);
		}
	}
	if (at == text)
		*at++ = '.';
	*at = 0;
}
