#include "api/http/headers.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

void headers_done(struct headers *headers)
{
	buffer_done(&headers->text);
	headers->count = 0;
}

bool headers_add(struct headers *headers, const void *name, size_t name_size, const void *value,
		 size_t value_size)
{
	if (headers->count == HEADERS_MAX)
		return false;
	struct buffer *text = &headers->text;
	headers->names[headers->count] = (uint32_t)text->size;
	uint8_t *lower = buffer_reserve(text, name_size + 1);
	for (size_t i = 0; i < name_size; i++)
		lower[i] = (uint8_t)tolower(((const uint8_t *)name)[i]);
	lower[name_size] = 0;
	buffer_grow(text, name_size + 1);
	headers->values[headers->count] = (uint32_t)text->size;
	buffer_append(text, value, value_size);
	buffer_append(text, "", 1);
	headers->count++;
	return true;
}

const char *headers_name(const struct headers *headers, size_t index)
{
	return (const char *)headers->text.bytes + headers->names[index];
}

const char *headers_value(const struct headers *headers, size_t index)
{
	return (const char *)headers->text.bytes + headers->values[index];
}

const char *headers_get(const struct headers *headers, const char *name)
{
	for (size_t i = 0; i < headers->count; i++)
		if (!strcasecmp(headers_name(headers, i), name))
			return headers_value(headers, i);
	return NULL;
}

size_t headers_count(const struct headers *headers, const char *name)
{
	size_t count = 0;
	for (size_t i = 0; i < headers->count; i++)
		count += !strcasecmp(headers_name(headers, i), name);
	return count;
}

static bool list_has_token(const char *list, const char *token)
{
	size_t size = strlen(token);
	while (*list) {
		list += strspn(list, ", \t");
		size_t length = strcspn(list, ",; \t");
		if (length == size && !strncasecmp(list, token, size))
			return true;
		list += strcspn(list, ",");
	}
	return false;
}

bool headers_have_token(const struct headers *headers, const char *name, const char *token)
{
	for (size_t i = 0; i < headers->count; i++)
		if (!strcasecmp(headers_name(headers, i), name) &&
		    list_has_token(headers_value(headers, i), token))
			return true;
	return false;
}
