/* Records of the ring buffer, checked as the tracer checks them and pushed through the recorder
 * into batches: a length that lies or a text without its end must not be followed. Each record has
 * its length in two bytes before it. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/record.h"
#include "agent/recorder.h"
#include "base/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void on_sealed(void *context, const struct batch_bytes *bytes)
{
	(void)context;
	assert(bytes->length && bytes->length <= 64 << 10);
}

/* No record may make the fuzzer look into the machine's own /proc. */
static void tame(struct mr_head *record)
{
	if (record->pid)
		record->pid |= 1U << 31;
	if (record->kind == MR_EXEC)
		record->flags &= (MR_U16)~MR_ARGUMENTS_UNREAD;
}

static void push(struct recorder *recorder, const uint8_t *bytes, size_t length)
{
	struct mr_head *record = malloc(length + !length); /* as long as it is, to the byte */
	memcpy(record, bytes, length);
	if (record_whole(record, length)) {
		tame(record);
		recorder_push(recorder, record);
	}
	free(record);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct batch_sender sender = {.node = "n"};
	struct batch *batch =
		batch_new(&(struct batch_options){.events_max = 64, .bytes_max = 64 << 10});
	struct containers *containers = containers_new(8);
	struct cgroups *cgroups =
		cgroups_new(&(struct cgroups_options){.cgroups_max = 8, .containers = containers});
	struct recorder *recorder = recorder_new(&(struct recorder_options){
		.batch = batch,
		.cgroups = cgroups,
		.containers = containers,
		.sockets_max = 8,
		.processes_max = 8,
		.process_text_bytes = 1024,
		.tick_ns = 100 * NS_PER_MS,
		.key_frame_ns = NS_PER_S,
		.sender = &sender,
		.sealed = on_sealed,
	});
	recorder_clock(recorder, NS_PER_S, 1700000000 * NS_PER_S);
	while (length >= 2) {
		size_t n = (size_t)bytes[0] | (size_t)bytes[1] << 8;
		bytes += 2;
		length -= 2;
		n = n < length ? n : length;
		push(recorder, bytes, n);
		bytes += n;
		length -= n;
	}
	for (int i = 0; i < 12; i++)
		recorder_tick(recorder);
	recorder_free(recorder);
	cgroups_free(cgroups);
	containers_free(containers);
	batch_free(batch);
	return 0;
}
