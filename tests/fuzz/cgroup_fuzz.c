/* Cgroup paths, which whoever may make a cgroup chooses: the parser's words are in bounds and of
 * the shape it promises, whatever the path. */
#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/container.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *path = strndup((const char *)bytes, length);
	struct container_path found;
	bool any = container_parse(path, &found);
	assert(any == (found.id[0] || found.pod[0] || found.unit[0]));
	assert(strnlen(found.id, sizeof(found.id)) < sizeof(found.id));
	assert(strnlen(found.unit, sizeof(found.unit)) < sizeof(found.unit));
	assert(strnlen(found.runtime, sizeof(found.runtime)) < sizeof(found.runtime));
	size_t pod = strnlen(found.pod, sizeof(found.pod));
	assert(pod == 0 || pod == 36);
	for (const char *at = found.id; *at; at++)
		assert(isxdigit((unsigned char)*at) || *at == '-');
	assert(found.id[0] || !found.runtime[0]);
	free(path);
	return 0;
}
