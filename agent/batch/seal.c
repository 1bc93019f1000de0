#include "agent/batch/seal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

enum {
	SECRET_BYTES_MIN = 16,
	INFO_BYTES_MAX = 512, /* "millrace.node " and a node id of at most 253 bytes */
};

/* Tag of field 127 with wire type LEN, and the length of the MAC: what stands before it. */
static const uint8_t seal_tag[SEAL_TRAILER_BYTES - SEAL_MAC_BYTES] = {0xfa, 0x07, SEAL_MAC_BYTES};

static int seal_derive(const uint8_t *secret, size_t secret_length, const char *info,
		       size_t info_length, uint8_t key[SEAL_KEY_BYTES])
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *context = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret,
						  secret_length),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_length),
		OSSL_PARAM_construct_end(),
	};
	int made = context ? EVP_KDF_derive(context, key, SEAL_KEY_BYTES, params) : 0;
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	return made == 1 ? 0 : -EINVAL;
}

int seal_node_key(const uint8_t *secret, size_t secret_length, const char *node,
		  uint8_t key[SEAL_KEY_BYTES])
{
	static const char prefix[] = "millrace.node ";
	char info[INFO_BYTES_MAX];
	size_t node_length = strlen(node);
	if (secret_length < SECRET_BYTES_MIN || node_length == 0 ||
	    node_length > sizeof(info) - sizeof(prefix))
		return -EINVAL;
	memcpy(info, prefix, sizeof(prefix) - 1);
	memcpy(info + sizeof(prefix) - 1, node, node_length);
	return seal_derive(secret, secret_length, info, sizeof(prefix) - 1 + node_length, key);
}

int seal_pipeline_key(const uint8_t *secret, size_t secret_length, uint8_t key[SEAL_KEY_BYTES])
{
	static const char info[] = "millrace.pipeline";
	if (secret_length < SECRET_BYTES_MIN)
		return -EINVAL;
	return seal_derive(secret, secret_length, info, sizeof(info) - 1, key);
}

static void seal_mac(const uint8_t key[SEAL_KEY_BYTES], const uint8_t *bytes, size_t length,
		     uint8_t mac[SEAL_MAC_BYTES])
{
	unsigned int mac_length = SEAL_MAC_BYTES;
	const uint8_t *made =
		HMAC(EVP_sha256(), key, SEAL_KEY_BYTES, bytes, length, mac, &mac_length);
	assert(made && mac_length == SEAL_MAC_BYTES);
}

void seal_sign(const uint8_t key[SEAL_KEY_BYTES], uint8_t *bytes, size_t length)
{
	memcpy(bytes + length, seal_tag, sizeof(seal_tag));
	seal_mac(key, bytes, length, bytes + length + sizeof(seal_tag));
}

bool seal_check(const uint8_t key[SEAL_KEY_BYTES], const uint8_t *bytes, size_t length)
{
	if (length < SEAL_TRAILER_BYTES)
		return false;
	size_t signed_length = length - SEAL_TRAILER_BYTES;
	if (memcmp(bytes + signed_length, seal_tag, sizeof(seal_tag)) != 0)
		return false;
	uint8_t mac[SEAL_MAC_BYTES];
	seal_mac(key, bytes, signed_length, mac);
	return CRYPTO_memcmp(mac, bytes + signed_length + sizeof(seal_tag), sizeof(mac)) == 0;
}
