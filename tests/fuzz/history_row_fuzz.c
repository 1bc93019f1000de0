/* A stored row, which a damaged file may hold anything for: decoding ends, within its bounds, and
 * what it accepts is written again as the same row. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "api/history/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct row row = {0}, again = {0};
	struct rollup rollup = {.window_start_ns = 1, .window_ms = 1000};
	uint64_t end_ns = rollup.window_start_ns + 1000000000;
	struct row_bytes out = {0};

	row_decode(bytes, size, end_ns, false, &row);
	if (row_decode(bytes, size, end_ns, true, &row)) {
		row_lend(&row, &rollup);
		row_encode(&out, &rollup);
		assert(row_decode(out.bytes, out.size, end_ns, true, &again));
		assert(memcmp(row.counters, again.counters, sizeof(row.counters)) == 0);
		assert(row.connect.count == again.connect.count &&
		       row.srtt.count == again.srtt.count);
		assert(row.last_event_ns == again.last_event_ns);
	}
	free(out.bytes);
	row_done(&row);
	row_done(&again);
	return 0;
}
