#include "anomaly/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void digest_text(const void *bytes, size_t length, size_t part, char text[65])
{
	struct sha256 sha256;
	uint8_t digest[SHA256_BYTES];
	sha256_init(&sha256);
	for (size_t at = 0; at < length; at += part)
		sha256_push(&sha256, (const char *)bytes + at,
			    length - at < part ? length - at : part);
	sha256_done(&sha256, digest);
	for (int i = 0; i < SHA256_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

/* NIST's example values for FIPS 180-4. */
static void the_published_vectors_come_out(void **state)
{
	(void)state;
	static const struct {
		const char *message, *digest;
	} vectors[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
		{"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
		 "klmnopqrlmnopqrsmnopqrstnopqrstu",
		 "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
	};
	char text[65];
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		digest_text(vectors[i].message, strlen(vectors[i].message), 64, text);
		assert_string_equal(text, vectors[i].digest);
	}
}

static void a_million_letters_come_out_however_they_are_split(void **state)
{
	(void)state;
	static char letters[1000000];
	memset(letters, 'a', sizeof(letters));
	static const size_t parts[] = {1, 63, 64, 65, 1000000};
	char text[65];
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		digest_text(letters, sizeof(letters), parts[i], text);
		assert_string_equal(
			text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_vectors_come_out),
		cmocka_unit_test(a_million_letters_come_out_however_they_are_split),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
