#include "api/http/parameters.h"

#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

long percent_decode(char *text, size_t size, bool plus_is_space)
{
	size_t out = 0;
	for (size_t in = 0; in < size; in++) {
		char c = text[in];
		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			int high = in + 2 < size ? hex_digit(text[in + 1]) : -1;
			int low = in + 2 < size ? hex_digit(text[in + 2]) : -1;
			if (high < 0 || low < 0 || !(high | low))
				return -1;
			c = (char)(high << 4 | low);
			in += 2;
		}
		text[out++] = c;
	}
	text[out] = 0;
	return (long)out;
}

/* One "key=value" of `size` bytes at `pair`, whose end may be overwritten. */
static bool add_pair(struct parameters *parameters, char *pair, size_t size)
{
	if (parameters->count == PARAMETERS_MAX)
		return false;
	char *equals = memchr(pair, '=', size);
	size_t key_size = equals ? (size_t)(equals - pair) : size;
	char *value = equals ? equals + 1 : pair + size;
	size_t value_size = (size_t)(pair + size - value);
	if (percent_decode(value, value_size, true) < 0 || percent_decode(pair, key_size, true) < 0)
		return false;
	parameters->pairs[parameters->count].key = pair;
	parameters->pairs[parameters->count].value = equals ? value : "";
	parameters->count++;
	return true;
}

bool parameters_init(struct parameters *parameters, const char *raw)
{
	*parameters = (struct parameters){.text = strdup(raw)};
	if (!parameters->text)
		abort();
	char *at = parameters->text;
	while (*at) {
		size_t size = strcspn(at, "&");
		char *next = at + size + (at[size] == '&');
		if (size && !add_pair(parameters, at, size)) {
			parameters_done(parameters);
			return false;
		}
		at = next;
	}
	return true;
}

void parameters_done(struct parameters *parameters)
{
	free(parameters->text);
	*parameters = (struct parameters){0};
}
