#include "daemon/permit.h"

#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#include "api/http/server.h"

static bool is_loopback(const char *host)
{
	size_t length = strcspn(host, host[0] == '[' ? "]" : ":");

	return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 ||
	       strncmp(host, "[::1]", 5) == 0 || strncmp(host, "::ffff:127.", 11) == 0 ||
	       (length == 9 && strncasecmp(host, "localhost", 9) == 0);
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

static void refuse(const struct request *request, struct response *response, unsigned status,
		   enum grpc_status grpc, const char *detail)
{
	if (request->grpc)
		response_finish(response, grpc, detail);
	else
		response_problem(response, status, detail);
}

bool permit(const char *token, const struct request *request, struct response *response)
{
	const char *host = request_header(request, ":authority");

	if (token) {
		if (shows(request, token))
			return true;
		if (!request->grpc)
			response_header(response, "www-authenticate", "Bearer");
		refuse(request, response, 401, GRPC_UNAUTHENTICATED,
		       "the token is missing or wrong: it is millraced's control.token; the CLI "
		       "takes it from MILLRACE_TOKEN");
		return false;
	}
	if (!host)
		host = request_header(request, "host");
	if (is_loopback(request->peer) && host && is_loopback(host))
		return true;
	refuse(request, response, 403, GRPC_PERMISSION_DENIED,
	       "without control.token in millraced's configuration only who asks from its own "
	       "machine may change what it does");
	return false;
}
