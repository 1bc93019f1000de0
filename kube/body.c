#include "kube/body.h"

#include <endian.h>
#include <string.h>

#include "base/memory.h"
#include "kube/field.h"

/* What comes next. A page begins with MAGIC, a watch with FRAME. */
enum { MAGIC, TAG, GATHER, SKIP, FRAME, BROKEN };

enum {
	MAGIC_BYTES = 4,
	FRAME_BYTES = 4,
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_LENGTH = 2,
	WIRE_FIXED32 = 5,
	KEPT_BYTES = 1 << 20, /* of room for an object, until the next */
	NUMBER_RAW = 2,	      /* of Unknown */
	NUMBER_META = 1,      /* of List */
	NUMBER_ITEM = 2,
};

static const uint8_t magic[MAGIC_BYTES] = {'k', '8', 's', 0};

void kube_body_init(struct kube_body *body, const struct kube_body_options *options)
{
	memset(body, 0, sizeof(*body));
	body->options = *options;
	body->state = options->watch ? FRAME : MAGIC;
}

void kube_body_done(struct kube_body *body)
{
	memory_free(body->gathered);
	body->gathered = NULL;
}

/* ---- messages that are whole ---- */

/* The last field of that number with a length; false: there is none, or what is there is broken. */
static bool find(const uint8_t *bytes, size_t length, uint32_t number, struct kube_field *found)
{
	struct kube_cursor cursor = kube_cursor_of(bytes, length);
	struct kube_field field;
	bool any = false;
	while (kube_field_next(&cursor, &field))
		if (field.number == number && field.type == WIRE_LENGTH) {
			*found = field;
			any = true;
		}
	return any && !cursor.broken;
}

/* Of a text whose whole counts: what is longer is not there. */
static bool take_text(const uint8_t *bytes, size_t length, uint32_t number, char *text, size_t max)
{
	struct kube_field field;
	text[0] = '\0';
	if (!find(bytes, length, number, &field) || field.length > max ||
	    memchr(field.bytes, 0, field.length))
		return false;
	memcpy(text, field.bytes, field.length);
	text[field.length] = '\0';
	return field.length > 0;
}

/* What "k8s\0" Unknown wraps. */
static bool unwrap(const uint8_t *bytes, size_t length, struct kube_field *raw)
{
	return length >= MAGIC_BYTES && memcmp(bytes, magic, MAGIC_BYTES) == 0 &&
	       find(bytes + MAGIC_BYTES, length - MAGIC_BYTES, NUMBER_RAW, raw);
}

bool kube_version_of(const uint8_t *bytes, size_t length, char version[KUBE_VERSION_MAX + 1])
{
	struct kube_field metadata;
	version[0] = '\0';
	return find(bytes, length, 1, &metadata) &&
	       take_text(metadata.bytes, metadata.length, 6, version, KUBE_VERSION_MAX);
}

static void read_details(const struct kube_field *message, struct kube_status *status)
{
	struct kube_cursor cursor = kube_cursor_of(message->bytes, message->length);
	struct kube_field field;
	while (kube_field_next(&cursor, &field))
		if (field.number == 5 && field.type == WIRE_VARINT && field.value <= INT32_MAX)
			status->retry_after_s = (uint32_t)field.value;
}

bool kube_status_read(const uint8_t *bytes, size_t length, struct kube_status *status)
{
	struct kube_cursor cursor = kube_cursor_of(bytes, length);
	struct kube_field field;
	*status = (struct kube_status){0};
	while (kube_field_next(&cursor, &field))
		if (field.number == 3)
			kube_text(field.bytes, field.length, status->message, KUBE_MESSAGE_MAX);
		else if (field.number == 5)
			read_details(&field, status);
		else if (field.number == 6 && field.value <= INT32_MAX)
			status->code = (uint32_t)field.value;
	return !cursor.broken && (status->code || status->message[0]);
}

void kube_status_of_body(const uint8_t *bytes, size_t length, struct kube_status *status)
{
	struct kube_field raw;
	*status = (struct kube_status){0};
	if (unwrap(bytes, length, &raw) && kube_status_read(raw.bytes, raw.length, status))
		return;
	kube_text(bytes, length, status->message, KUBE_MESSAGE_MAX);
}

/* ---- what comes ---- */

static bool give(struct kube_body *body, enum kube_event event, const uint8_t *bytes, size_t length)
{
	body->events++;
	return body->options.object(body->options.context, event, bytes, length);
}

static bool take_event(struct kube_body *body, const uint8_t *bytes, size_t length)
{
	static const char *const names[] = {
		[KUBE_ADDED] = "ADDED",	    [KUBE_MODIFIED] = "MODIFIED",
		[KUBE_DELETED] = "DELETED", [KUBE_BOOKMARK] = "BOOKMARK",
		[KUBE_ERROR] = "ERROR",
	};
	struct kube_field type, object, wrapped, raw;
	if (!find(bytes, length, 1, &type) || !find(bytes, length, 2, &object) ||
	    !find(object.bytes, object.length, 1, &wrapped) ||
	    !unwrap(wrapped.bytes, wrapped.length, &raw))
		return false;
	for (enum kube_event event = KUBE_ADDED; event <= KUBE_ERROR; event++)
		if (type.length == strlen(names[event]) &&
		    memcmp(type.bytes, names[event], type.length) == 0)
			return give(body, event, raw.bytes, raw.length);
	return true; /* of a newer server */
}

static bool take_metadata(struct kube_body *body, const uint8_t *bytes, size_t length)
{
	struct kube_field token;
	if (!take_text(bytes, length, 2, body->resource_version, KUBE_VERSION_MAX))
		return false; /* there would be nothing to watch from */
	return !find(bytes, length, 3, &token) || token.length == 0 ||
	       take_text(bytes, length, 3, body->next, KUBE_CONTINUE_MAX);
}

/* What was gathered is whole. */
static bool take_message(struct kube_body *body, const uint8_t *bytes, size_t length)
{
	body->state = body->options.watch ? FRAME : TAG;
	if (body->options.watch)
		return take_event(body, bytes, length);
	return body->number == NUMBER_META ? take_metadata(body, bytes, length)
					   : give(body, KUBE_LISTED, bytes, length);
}

static bool begin_message(struct kube_body *body, uint32_t number, uint64_t length)
{
	body->number = number;
	body->wanted = length;
	body->gathered_length = 0;
	body->state = length > body->options.object_bytes_max ? SKIP : GATHER;
	body->oversized += body->state == SKIP;
	if (body->gathered_capacity > KEPT_BYTES) {
		memory_free(body->gathered);
		body->gathered = NULL;
		body->gathered_capacity = 0;
	}
	return length || take_message(body, body->head, 0);
}

static void begin_skip(struct kube_body *body, uint64_t length)
{
	body->wanted = length;
	body->state = length ? SKIP : TAG;
}

/* A field's tag and number or length are there. */
static bool take_field(struct kube_body *body, uint32_t number, uint32_t type, uint64_t value)
{
	if (type == WIRE_VARINT)
		return true;
	if (type != WIRE_LENGTH && type != WIRE_FIXED64 && type != WIRE_FIXED32)
		return false;
	if (type != WIRE_LENGTH)
		value = type == WIRE_FIXED64 ? 8 : 4;
	if (body->in_list && value >= body->list_left) /* this byte of it is still counted */
		return false;
	if (type == WIRE_LENGTH && body->in_list &&
	    (number == NUMBER_META || number == NUMBER_ITEM))
		return begin_message(body, number, value);
	if (type == WIRE_LENGTH && !body->in_list && number == NUMBER_RAW) {
		body->in_list = true;
		body->list_left = value;
	} else {
		begin_skip(body, value);
	}
	return true;
}

/* One byte more of a tag with what follows it; it is acted on when it is whole. */
static bool push_tag(struct kube_body *body, uint8_t byte)
{
	uint64_t tag, value = 0;
	body->head[body->head_length++] = byte;
	int first = kube_varint(body->head, body->head_length, &tag), second = 0;
	if (first < 0 || (first > 0 && (tag >> 3 == 0 || tag > UINT32_MAX)))
		return false;
	if (first == 0)
		return true;
	if ((tag & 7) == WIRE_VARINT || (tag & 7) == WIRE_LENGTH) {
		second = kube_varint(body->head + first, body->head_length - (size_t)first, &value);
		if (second <= 0)
			return second == 0;
	}
	body->head_length = 0;
	return take_field(body, (uint32_t)(tag >> 3), tag & 7, value);
}

/* The four bytes before a page or a frame. */
static bool push_head(struct kube_body *body, uint8_t byte)
{
	uint32_t length;
	body->head[body->head_length++] = byte;
	if (body->head_length < MAGIC_BYTES)
		return true;
	body->head_length = 0;
	if (body->state == MAGIC) {
		body->state = TAG;
		return memcmp(body->head, magic, MAGIC_BYTES) == 0;
	}
	memcpy(&length, body->head, FRAME_BYTES);
	return begin_message(body, 0, be32toh(length));
}

static size_t push_gather(struct kube_body *body, const uint8_t *bytes, size_t length, bool *good)
{
	size_t missing = (size_t)body->wanted - body->gathered_length;
	size_t taken = length < missing ? length : missing;
	if (body->gathered_length == 0 && taken == missing) {
		*good = take_message(body, bytes, taken);
		return taken;
	}
	size_t needed = body->gathered_length + taken;
	if (needed > body->gathered_capacity) {
		body->gathered_capacity = memory_grown(body->gathered_capacity, needed);
		body->gathered = memory_resize(body->gathered, body->gathered_capacity, 1);
	}
	memcpy(body->gathered + body->gathered_length, bytes, taken);
	body->gathered_length = needed;
	if (taken == missing)
		*good = take_message(body, body->gathered, body->gathered_length);
	return taken;
}

static size_t push_skip(struct kube_body *body, size_t length)
{
	size_t taken = length < body->wanted ? length : (size_t)body->wanted;
	body->wanted -= taken;
	if (body->wanted == 0)
		body->state = body->options.watch ? FRAME : TAG;
	return taken;
}

/* Of what has come something is taken, as the state wants it. */
static size_t push_some(struct kube_body *body, const uint8_t *bytes, size_t length, bool *good)
{
	switch (body->state) {
	case TAG:
		*good = push_tag(body, *bytes);
		return 1;
	case GATHER:
		return push_gather(body, bytes, length, good);
	case SKIP:
		return push_skip(body, length);
	default:
		*good = push_head(body, *bytes);
		return 1;
	}
}

/* Where List ends, what it is wrapped in goes on; but only between two of its fields. */
static bool leave_list(struct kube_body *body, size_t taken)
{
	if (taken > body->list_left)
		return false;
	body->list_left -= taken;
	if (body->list_left)
		return true;
	body->in_list = false;
	return body->state == TAG && body->head_length == 0;
}

bool kube_body_push(struct kube_body *body, const uint8_t *bytes, size_t length)
{
	bool good = body->state != BROKEN;
	while (good && length) {
		bool inside = body->in_list;
		size_t taken = push_some(body, bytes, length, &good);
		if (good && inside)
			good = leave_list(body, taken);
		bytes += taken;
		length -= taken;
	}
	if (!good)
		body->state = BROKEN;
	return good;
}

bool kube_body_is_whole(const struct kube_body *body)
{
	if (body->head_length)
		return false;
	return body->options.watch
		       ? body->state == FRAME
		       : body->state == TAG && !body->in_list && body->resource_version[0];
}
