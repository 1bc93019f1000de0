/* Control records, as a topic that anybody may write to has them: read unsigned, and what was read
 * written and read again gives the same. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/batch/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static const uint8_t secret[KEYS_SECRET_MIN] = {1};
	static struct keys *keys, *none;
	static uint8_t key[SEAL_KEY_BYTES];
	static struct control control, again;
	static uint8_t written[CONTROL_BYTES_MAX];
	static const struct control_target target = {.node = "web-3", .zone = "a"};
	char why[CONTROL_WHY_BYTES];
	if (!keys) {
		keys = keys_new();
		none = keys_new();
		if (keys_add(keys, "", secret, sizeof(secret)) < 0 || !keys_signer(keys, key))
			abort();
	}
	if (control_accept(bytes, length, keys, &control, why) == CONTROL_GOOD)
		abort(); /* nobody guesses an HMAC */
	if (control_accept(bytes, length, none, &control, why) != CONTROL_GOOD)
		return 0;
	control_selects(&control.selector, &target);
	size_t size = control_write(&control, key, written);
	if (!size)
		return 0;
	if (control_accept(written, size, keys, &again, why) != CONTROL_GOOD ||
	    memcmp(&control, &again, sizeof(control)) != 0)
		abort();
	return 0;
}
