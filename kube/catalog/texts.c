#include "kube/catalog/texts.h"

#include <string.h>

#include "base/memory.h"

struct text {
	uint64_t key;
	char *bytes;
	uint32_t users;
};

/* What the allocator takes for a text of this length: words of 16 with a word of its own. */
static size_t text_cost(const char *bytes)
{
	return (strlen(bytes) + 1 + sizeof(size_t) + 15) / 16 * 16;
}

void texts_init(struct texts *texts, uint32_t texts_max)
{
	*texts = (struct texts){0};
	store_init(&texts->store, sizeof(struct text), texts_max);
}

void texts_done(struct texts *texts)
{
	for (struct text *text = NULL; (text = store_next(&texts->store, text));)
		memory_free(text->bytes);
	store_done(&texts->store);
}

uint32_t texts_hold(struct texts *texts, const char *bytes)
{
	if (!bytes[0])
		return 0;
	uint64_t key = store_key(bytes);
	struct text *text = store_find(&texts->store, key);
	if (!text) {
		text = store_add(&texts->store, key);
		if (!text) {
			texts->refused++;
			return 0;
		}
		size_t length = strlen(bytes);
		text->bytes = memory_resize(NULL, length + 1, 1);
		memcpy(text->bytes, bytes, length + 1);
		texts->bytes += text_cost(bytes);
	}
	text->users++;
	return store_number(&texts->store, text);
}

void texts_drop(struct texts *texts, uint32_t number)
{
	if (!number)
		return;
	struct text *text = store_at(&texts->store, number);
	if (--text->users > 0)
		return;
	texts->bytes -= text_cost(text->bytes);
	memory_free(text->bytes);
	store_remove(&texts->store, text);
}

void texts_set(struct texts *texts, uint32_t *place, const char *text)
{
	uint32_t number = texts_hold(texts, text);
	texts_drop(texts, *place);
	*place = number;
}

const char *texts_get(const struct texts *texts, uint32_t number)
{
	return number ? ((const struct text *)store_at(&texts->store, number))->bytes : "";
}

size_t texts_bytes(const struct texts *texts)
{
	return store_bytes(&texts->store) + texts->bytes;
}
