/* Which cloud the node runs in, and what that says of it: zone, region, instance. From files where
 * the firmware and cloud-init leave them, and from answers of the clouds' metadata services, which
 * agent/metadata.h asks. Answers are foreign bytes, read without trust: what has another type or is
 * too long is left out. Pure but for the files; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cloud { CLOUD_NONE, CLOUD_AWS, CLOUD_GCP, CLOUD_AZURE, CLOUDS };

enum { CLOUD_TEXT_BYTES = 129, CLOUD_ANSWER_MAX_BYTES = 65536, CLOUD_FILE_MAX_BYTES = 1 << 20 };

/* Empty texts: not known. */
struct cloud_facts {
	enum cloud cloud;
	char zone[CLOUD_TEXT_BYTES], region[CLOUD_TEXT_BYTES];
	char instance_id[CLOUD_TEXT_BYTES], instance_type[CLOUD_TEXT_BYTES];
};

const char *cloud_name(enum cloud cloud); /* aws, gcp, azure; empty */

/* What the firmware says (/sys/class/dmi/id). root: "" or where another /sys is. */
enum cloud cloud_of_firmware(const char *root);

/* /run/cloud-init/instance-data.json. Whether there is one that names a known cloud. */
bool cloud_of_file(const char *root, struct cloud_facts *facts);
bool cloud_of_instance_data(const char *bytes, size_t length, struct cloud_facts *facts);

/* An answer of the cloud's service to the question of this number (agent/metadata.c asks them in
 * their order). Whether something was in it. */
bool cloud_answer(enum cloud cloud, unsigned question, const char *bytes, size_t length,
		  struct cloud_facts *facts);

bool cloud_complete(const struct cloud_facts *facts); /* nothing more to ask for */
