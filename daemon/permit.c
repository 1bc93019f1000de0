#include "daemon/permit.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "api/http/server.h"
#include "base/address.h"

/* The name before a port, out of its brackets; false if there is something else behind it. */
static bool cut_host(const char *authority, char *host, size_t size)
{
	bool bracketed = authority[0] == '[';
	const char *begin = authority + bracketed;
	size_t length = strcspn(begin, bracketed ? "]" : ":");
	const char *rest = begin + length;

	if (length >= size || (bracketed && *rest != ']'))
		return false;
	rest += bracketed;
	memcpy(host, begin, length);
	host[length] = '\0';
	return *rest == '\0' || (*rest == ':' && rest[1 + strspn(rest + 1, "0123456789")] == '\0');
}

/* Who answers for any other name decides where it leads, so a page of his may have it lead here. */
static bool is_loopback(const char *authority)
{
	char host[ADDRESS_TEXT_MAX];
	struct address address;

	if (address_parse(authority, &address) == 0)
		return address_is_loopback(&address);
	if (!cut_host(authority, host, sizeof(host)))
		return false;
	return strcasecmp(host, "localhost") == 0 ||
	       (address_parse(host, &address) == 0 && address_is_loopback(&address));
}

static bool shows(const struct request *request, const char *token)
{
	static const char scheme[] = "Bearer ";
	const char *given = request_header(request, "authorization");
	size_t length = strlen(token);

	return given && strncasecmp(given, scheme, sizeof(scheme) - 1) == 0 &&
	       strlen(given) - (sizeof(scheme) - 1) == length &&
	       CRYPTO_memcmp(given + sizeof(scheme) - 1, token, length) == 0;
}

bool permit(const char *token, const struct request *request, struct response *response)
{
	const char *host = request_header(request, ":authority");

	if (token) {
		if (shows(request, token))
			return true;
		if (!request->grpc)
			response_header(response, "www-authenticate", "Bearer");
		response_refuse(response, 401,
				"the token is missing or wrong: it is millraced's control.token; "
				"the CLI takes it from MILLRACE_TOKEN");
		return false;
	}
	if (!host)
		host = request_header(request, "host");
	if (is_loopback(request->peer) && host && is_loopback(host))
		return true;
	response_refuse(response, 403,
			"without control.token in millraced's configuration only who asks from its "
			"own machine may change what it does");
	return false;
}
