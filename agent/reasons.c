#include "agent/reasons.h"

#include <bpf/btf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Not lost: used up, still alive, or a frame on a shared wire that was for another host. */
static const char *const no_losses[] = {"NOT_DROPPED_YET", "CONSUMED", "OTHERHOST"};

/* Each TCP connection ends with it, since the other side's FIN waits there. */
static const char purge[] = "QUEUE_PURGE";

static const char *strip(const char *name)
{
	static const char *const prefixes[] = {"SKB_DROP_REASON_", "SKB_"};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return name + strlen(prefixes[i]);
	return name;
}

int reasons_read(struct reasons *reasons, const struct btf *kernel)
{
	memset(reasons, 0, sizeof(*reasons));
	int id = btf__find_by_name_kind(kernel, "skb_drop_reason", BTF_KIND_ENUM);
	if (id < 0)
		return -ENOENT;
	const struct btf_type *type = btf__type_by_id(kernel, (uint32_t)id);
	const struct btf_enum *values = btf_enum(type);
	for (int i = 0; i < btf_vlen(type); i++) {
		uint32_t number = (uint32_t)values[i].val;
		if (number >= MR_DROP_REASON_OTHER)
			continue;
		const char *name = strip(btf__name_by_offset(kernel, values[i].name_off));
		snprintf(reasons->names[number], sizeof(reasons->names[number]), "%s", name);
		for (size_t n = 0; n < sizeof(no_losses) / sizeof(no_losses[0]); n++)
			if (strcmp(name, no_losses[n]) == 0)
				reasons->ignored[number / 32] |= 1U << number % 32;
		if (strcmp(name, purge) == 0)
			reasons->purge = number;
	}
	return 0;
}

/* RFC 792, 1122, 1812 and RFC 4443; what means the same in both families has one name. */
static const struct {
	uint8_t v6, type, code;
	const char *name;
} icmp_names[] = {
	{0, 3, 0, "net_unreachable"},	   {0, 3, 1, "host_unreachable"},
	{0, 3, 2, "protocol_unreachable"}, {0, 3, 3, "port_unreachable"},
	{0, 3, 4, "fragmentation_needed"}, {0, 3, 5, "source_route_failed"},
	{0, 3, 6, "net_unknown"},	   {0, 3, 7, "host_unknown"},
	{0, 3, 8, "host_isolated"},	   {0, 3, 9, "admin_prohibited"},
	{0, 3, 10, "admin_prohibited"},	   {0, 3, 11, "net_unreachable"},
	{0, 3, 12, "host_unreachable"},	   {0, 3, 13, "admin_prohibited"},
	{0, 3, 14, "admin_prohibited"},	   {0, 3, 15, "admin_prohibited"},
	{0, 4, 0, "source_quench"},	   {0, 11, 0, "ttl_exceeded"},
	{0, 11, 1, "reassembly_timeout"},  {1, 1, 0, "net_unreachable"},
	{1, 1, 1, "admin_prohibited"},	   {1, 1, 2, "beyond_scope"},
	{1, 1, 3, "host_unreachable"},	   {1, 1, 4, "port_unreachable"},
	{1, 1, 5, "admin_prohibited"},	   {1, 1, 6, "net_unreachable"},
	{1, 2, 0, "fragmentation_needed"}, {1, 3, 0, "ttl_exceeded"},
	{1, 3, 1, "reassembly_timeout"},
};

static const char *icmp_name(uint32_t reason, char text[REASON_NAME_BYTES])
{
	uint32_t number = reason - MR_DROP_ICMP;
	uint32_t v6 = number >> 8, type = number >> 4 & 15, code = number & 15;
	for (size_t i = 0; i < sizeof(icmp_names) / sizeof(icmp_names[0]); i++)
		if (icmp_names[i].v6 == v6 && icmp_names[i].type == type &&
		    icmp_names[i].code == code)
			return icmp_names[i].name;
	if (type == (v6 ? 4 : 12))
		return "parameter_problem";
	snprintf(text, REASON_NAME_BYTES, "icmp%s_%u_%u", v6 ? "v6" : "", type, code);
	return text;
}

const char *reason_name(const struct reasons *reasons, uint32_t reason,
			char text[REASON_NAME_BYTES])
{
	if (reason >= MR_DROP_ICMP && reason < MR_DROP_FOLDED)
		return icmp_name(reason, text);
	if (reason < MR_DROP_REASONS && reasons->names[reason][0])
		return reasons->names[reason];
	if (reason == MR_DROP_REASON_OTHER)
		return "OTHER";
	/* a subsystem's own reasons have its number in the upper half */
	if (reason >> 16)
		snprintf(text, REASON_NAME_BYTES, "SUBSYSTEM_%u_%u", reason >> 16, reason & 0xffff);
	else
		snprintf(text, REASON_NAME_BYTES, "REASON_%u", reason);
	return text;
}
