#include "agent/cloud.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static const char *const names[CLOUDS] = {"", "aws", "gcp", "azure"};

const char *cloud_name(enum cloud cloud)
{
	return names[cloud];
}

/* Printable ASCII without spaces, as all of these are; else it stays empty. */
static bool take_bytes(char out[CLOUD_TEXT_BYTES], const char *bytes, size_t length)
{
	if (!length || length >= CLOUD_TEXT_BYTES)
		return false;
	for (size_t i = 0; i < length; i++)
		if (bytes[i] <= ' ' || bytes[i] > '~')
			return false;
	memcpy(out, bytes, length);
	out[length] = 0;
	return true;
}

static bool take(char out[CLOUD_TEXT_BYTES], const cJSON *value)
{
	return cJSON_IsString(value) &&
	       take_bytes(out, value->valuestring, strlen(value->valuestring));
}

/* What comes after the last '/'. */
static bool take_last(char out[CLOUD_TEXT_BYTES], const char *bytes, size_t length)
{
	size_t begin = length;
	while (begin && bytes[begin - 1] != '/')
		begin--;
	return take_bytes(out, bytes + begin, length - begin);
}

static const cJSON *member(const cJSON *object, const char *name)
{
	return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, name) : NULL;
}

/* --- firmware --- */

static void read_dmi(const char *root, const char *name, char out[CLOUD_TEXT_BYTES])
{
	char path[512];
	snprintf(path, sizeof(path), "%s/sys/class/dmi/id/%s", root, name);
	FILE *file = fopen(path, "re");
	out[0] = 0;
	if (!file)
		return;
	if (fgets(out, CLOUD_TEXT_BYTES, file))
		out[strcspn(out, "\n")] = 0;
	fclose(file);
}

/* Each as its vendor documents it. Azure's is the chassis' asset tag: Hyper-V at home has the same
 * vendor and product. */
enum cloud cloud_of_firmware(const char *root)
{
	static const struct {
		const char *file, *begins;
		enum cloud cloud;
	} signs[] = {
		{"sys_vendor", "Amazon EC2", CLOUD_AWS}, /* Nitro */
		{"bios_vendor", "Amazon EC2", CLOUD_AWS},
		{"product_version", "4.11.amazon", CLOUD_AWS}, /* Xen */
		{"bios_version", "4.11.amazon", CLOUD_AWS},
		{"bios_version", "4.2.amazon", CLOUD_AWS},
		{"product_name", "Google Compute Engine", CLOUD_GCP},
		{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", CLOUD_AZURE},
	};
	for (size_t i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		char text[CLOUD_TEXT_BYTES];
		read_dmi(root, signs[i].file, text);
		if (strncmp(text, signs[i].begins, strlen(signs[i].begins)) == 0)
			return signs[i].cloud;
	}
	return CLOUD_NONE;
}

/* --- cloud-init --- */

static enum cloud cloud_init_name(const cJSON *value)
{
	static const struct {
		const char *name;
		enum cloud cloud;
	} known[] = {{"aws", CLOUD_AWS}, {"gce", CLOUD_GCP}, {"azure", CLOUD_AZURE}};
	for (size_t i = 0; cJSON_IsString(value) && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(value->valuestring, known[i].name) == 0)
			return known[i].cloud;
	return CLOUD_NONE;
}

/* Where each data source keeps the instance's type, below ds.meta_data. */
static void take_type(const cJSON *document, struct cloud_facts *facts)
{
	const cJSON *data = member(member(document, "ds"), "meta_data");
	const cJSON *compute = member(member(data, "imds"), "compute");
	const cJSON *type = facts->cloud == CLOUD_AWS	? member(data, "instance-type")
			    : facts->cloud == CLOUD_GCP ? member(data, "machine-type")
							: member(compute, "vmSize");
	if (facts->cloud == CLOUD_GCP && cJSON_IsString(type))
		take_last(facts->instance_type, type->valuestring, strlen(type->valuestring));
	else
		take(facts->instance_type, type);
}

/* Azure numbers its zones within a region; Kubernetes calls them as we do. */
static void name_azure_zone(struct cloud_facts *facts)
{
	char zone[2 * CLOUD_TEXT_BYTES];
	size_t digits = strspn(facts->zone, "0123456789");
	if (!facts->zone[0] || facts->zone[digits])
		return;
	int length = snprintf(zone, sizeof(zone), "%s-%s", facts->region, facts->zone);
	if (!facts->region[0] || !take_bytes(facts->zone, zone, (size_t)length))
		facts->zone[0] = 0;
}

bool cloud_of_instance_data(const char *bytes, size_t length, struct cloud_facts *facts)
{
	cJSON *document = cJSON_ParseWithLength(bytes, length);
	const cJSON *v1 = member(document, "v1");
	*facts = (struct cloud_facts){.cloud = cloud_init_name(member(v1, "cloud_name"))};
	if (!facts->cloud) /* before cloud-init 18.4 */
		facts->cloud = cloud_init_name(member(v1, "cloud-name"));
	if (facts->cloud) {
		take(facts->zone, member(v1, "availability_zone"));
		take(facts->region, member(v1, "region"));
		take(facts->instance_id, member(v1, "instance_id"));
		take_type(document, facts);
	}
	if (facts->cloud == CLOUD_AZURE)
		name_azure_zone(facts);
	cJSON_Delete(document);
	return facts->cloud;
}

bool cloud_of_file(const char *root, struct cloud_facts *facts)
{
	char path[512];
	*facts = (struct cloud_facts){0};
	snprintf(path, sizeof(path), "%s/run/cloud-init/instance-data.json", root);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	char *bytes = memory_zeroed(CLOUD_FILE_MAX_BYTES, 1);
	size_t length = fread(bytes, 1, CLOUD_FILE_MAX_BYTES, file);
	bool found = length < CLOUD_FILE_MAX_BYTES && cloud_of_instance_data(bytes, length, facts);
	fclose(file);
	free(bytes);
	return found;
}

/* --- answers --- */

/* The instance identity document. */
static bool answer_aws(const char *bytes, size_t length, struct cloud_facts *facts)
{
	cJSON *document = cJSON_ParseWithLength(bytes, length);
	bool found = take(facts->zone, member(document, "availabilityZone"));
	found = take(facts->region, member(document, "region")) || found;
	found = take(facts->instance_id, member(document, "instanceId")) || found;
	found = take(facts->instance_type, member(document, "instanceType")) || found;
	cJSON_Delete(document);
	return found;
}

/* zone: projects/123/zones/us-central1-a; the region is all before the last '-'. */
static bool answer_gcp_zone(const char *bytes, size_t length, struct cloud_facts *facts)
{
	if (!take_last(facts->zone, bytes, length))
		return false;
	const char *end = strrchr(facts->zone, '-');
	if (end)
		take_bytes(facts->region, facts->zone, (size_t)(end - facts->zone));
	return true;
}

static bool answer_gcp(unsigned question, const char *bytes, size_t length,
		       struct cloud_facts *facts)
{
	while (length && (bytes[length - 1] == '\n' || bytes[length - 1] == '\r'))
		length--;
	if (question == 0)
		return answer_gcp_zone(bytes, length, facts);
	if (question == 1)
		return take_bytes(facts->instance_id, bytes, length);
	return take_last(facts->instance_type, bytes, length);
}

static bool answer_azure(const char *bytes, size_t length, struct cloud_facts *facts)
{
	cJSON *document = cJSON_ParseWithLength(bytes, length);
	bool found = take(facts->region, member(document, "location"));
	found = take(facts->zone, member(document, "zone")) || found;
	found = take(facts->instance_id, member(document, "vmId")) || found;
	found = take(facts->instance_type, member(document, "vmSize")) || found;
	name_azure_zone(facts);
	cJSON_Delete(document);
	return found;
}

bool cloud_answer(enum cloud cloud, unsigned question, const char *bytes, size_t length,
		  struct cloud_facts *facts)
{
	bool found = length <= CLOUD_ANSWER_MAX_BYTES &&
		     (cloud == CLOUD_AWS     ? answer_aws(bytes, length, facts)
		      : cloud == CLOUD_GCP   ? answer_gcp(question, bytes, length, facts)
		      : cloud == CLOUD_AZURE ? answer_azure(bytes, length, facts)
					     : false);
	if (found)
		facts->cloud = cloud;
	return found;
}

bool cloud_complete(const struct cloud_facts *facts)
{
	/* Azure's machines need not be in a zone. */
	return facts->cloud && facts->region[0] && facts->instance_id[0] &&
	       facts->instance_type[0] && (facts->zone[0] || facts->cloud == CLOUD_AZURE);
}
