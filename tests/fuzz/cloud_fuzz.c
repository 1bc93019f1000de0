/* Answers of metadata services, and cloud-init's file. The first byte chooses which. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cloud.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(const char text[CLOUD_TEXT_BYTES])
{
	size_t length = strnlen(text, CLOUD_TEXT_BYTES);
	if (length == CLOUD_TEXT_BYTES)
		abort();
	for (size_t i = 0; i < length; i++)
		if (text[i] <= ' ' || text[i] > '~')
			abort(); /* goes into headers of batches and onto terminals */
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct cloud_facts facts = {0};
	if (!length)
		return 0;
	const char *text = (const char *)bytes + 1;
	switch (bytes[0] % 6) {
	case 0:
		cloud_of_instance_data(text, length - 1, &facts);
		break;
	case 1:
		cloud_answer(CLOUD_AWS, 0, text, length - 1, &facts);
		break;
	case 2:
		cloud_answer(CLOUD_AZURE, 0, text, length - 1, &facts);
		break;
	default:
		cloud_answer(CLOUD_GCP, bytes[0] % 6 - 3, text, length - 1, &facts);
	}
	check(facts.zone);
	check(facts.region);
	check(facts.instance_id);
	check(facts.instance_type);
	return 0;
}
