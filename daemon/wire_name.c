#include "daemon/wire_name.h"

size_t wire_names_texts(const struct name *names, size_t count)
{
	size_t bytes = 0;

	for (size_t i = 0; i < count; i++)
		bytes += (size_t)names[i].length + 1;
	return bytes;
}

uint8_t *wire_names_append(uint8_t *at, const struct name *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct wire_name name = {.id = names[i].id, .length = names[i].length};

		at = wire_append(at, &name, sizeof(name));
	}
	for (size_t i = 0; i < count; i++)
		at = wire_append(at, names[i].bytes, (size_t)names[i].length + 1);
	return at;
}

bool wire_names_read(struct name *names, size_t count, const uint8_t *bytes, const char *texts,
		     size_t texts_bytes)
{
	for (size_t i = 0; i < count; i++) {
		struct wire_name name;

		memcpy(&name, bytes + i * sizeof(name), sizeof(name));
		if (name.length > NAME_MAX_BYTES || name.length >= texts_bytes ||
		    texts[name.length])
			return false;
		names[i] = (struct name){.id = name.id, .bytes = texts, .length = name.length};
		texts += (size_t)name.length + 1;
		texts_bytes -= (size_t)name.length + 1;
	}
	return texts_bytes == 0;
}
