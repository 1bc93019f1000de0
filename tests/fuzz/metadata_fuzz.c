/* Records of millrace.metadata, as a topic that anybody may write to has them; what was read goes
 * into a census, which answers with it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/name.h"
#include "metadata/census.h"
#include "metadata/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct address addresses[FACT_ADDRESSES_MAX];
	const struct fact *found;
	struct names *names = names_new(256, 0);
	struct census *census = census_new(FACT_ADDRESSES_MAX);
	struct fact fact;
	uint64_t watch;
	if (record_read(bytes, length, names, 1, &fact, addresses, &watch) == RECORD_GOOD &&
	    fact.kind != FACT_NONE) {
		uint64_t now_ns = fact.from_ns;
		if (fact.addresses_count > FACT_ADDRESSES_MAX || fact.prefix > 128 ||
		    fact.until_ns < fact.from_ns)
			abort();
		census_take(census, &fact, addresses, now_ns);
		for (int i = 0; i < fact.addresses_count; i++)
			if (census_address(census, &addresses[i], now_ns, &found) != CENSUS_ONE ||
			    found->id != fact.id)
				abort();
	}
	census_free(census);
	names_free(names);
	return 0;
}
