/* A snapshot file, read into real heaps: whatever it holds, reading ends, stays within the heaps
 *and says why it refuses. Sums that no fuzzer guesses are made right, so that what lies behind them
 *is reached: the input is the file itself, or a script of pieces.
 *
 *	script:  1, tasks, then pieces: heap, kind of offset, length (2 bytes), offset (8), content
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "daemon/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { HEAPS = 3, FILE_BYTES = 1 << 20, SCRIPT_HEAD = 12, HEAD_FIELDS = 40, HEAD_BYTES = 12288 };

struct piece {
	uint32_t number, length;
	uint64_t offset;
	uint32_t crc, head;
};

static struct {
	uint8_t bytes[FILE_BYTES];
	size_t length;
} file;

static void put(const void *bytes, size_t length)
{
	if (length == 0 || file.length + length > FILE_BYTES)
		return;
	memcpy(file.bytes + file.length, bytes, length);
	file.length += length;
}

static void put_piece(struct piece piece, const uint8_t *content, size_t length)
{
	uint32_t crc = crc32c(0, &piece, offsetof(struct piece, crc));

	piece.crc = content ? crc32c(crc, content, length) : crc;
	piece.head = crc32c(0, &piece, offsetof(struct piece, head));
	put(&piece, sizeof(piece));
	put(content, content ? length : 0);
}

static void put_header(uint32_t tasks)
{
	struct {
		char magic[8];
		struct image_header header;
	} start = {"MLRSNP02", {.tasks = tasks, .owned = task_set_all(tasks)}};
	struct image_task none[HEAPS] = {{.next = -1}};
	size_t length = tasks <= HEAPS ? tasks * sizeof(none[0]) : 0;
	uint32_t crc = crc32c(crc32c(0, &start, sizeof(start)), none, length);

	put(&start, sizeof(start));
	put(none, length);
	put(&crc, sizeof(crc));
}

/* The head of an empty heap, with the fields that the input has for it. */
static size_t head_of(uint32_t number, const uint8_t *fields, size_t count, uint8_t *content)
{
	struct heap *heap = heap_new(number);
	uint64_t offset = 0;
	size_t length = heap_range(heap, &offset);

	assert(length <= HEAD_BYTES);
	memcpy(content, heap, length);
	for (size_t i = 0; i < count && i < HEAD_FIELDS; i++)
		content[i] ^= fields[i];
	heap_free(heap);
	return length;
}

static void script(const uint8_t *bytes, size_t size)
{
	uint8_t content[HEAD_BYTES];
	uint32_t pieces = 0;
	uint64_t total = 0;

	put_header(size ? bytes[0] % 5 : 1);
	for (size_t at = 1; at + SCRIPT_HEAD <= size; pieces++) {
		uint8_t kind = bytes[at + 1];
		uint16_t wanted;
		size_t length, left = size - at - SCRIPT_HEAD;
		struct piece piece = {.number = bytes[at] % 4};

		memcpy(&wanted, bytes + at + 2, sizeof(wanted));
		memcpy(&piece.offset, bytes + at + 4, sizeof(piece.offset));
		length = wanted < left ? wanted : left;
		if (kind % 3 == 0) {
			size_t head = head_of(piece.number % HEAPS, bytes + at + SCRIPT_HEAD,
					      length, content);

			piece.offset = 0;
			piece.length = (uint32_t)head;
			put_piece(piece, content, head);
		} else {
			piece.offset = kind % 3 == 1 ? piece.offset
						     : (257 + piece.offset % 16) * HEAP_CHUNK;
			piece.length = (uint32_t)length;
			put_piece(piece, bytes + at + SCRIPT_HEAD, length);
		}
		total += piece.length;
		at += SCRIPT_HEAD + length;
	}
	put_piece((struct piece){UINT32_MAX, pieces, total, 0, 0}, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct image image;
	static int descriptor = -1;
	struct heap *heaps[HEAPS];
	struct task_set wanted;
	const char *why = NULL;
	int rc;

	file.length = 0;
	if (size && bytes[0] == 1)
		script(bytes + 1, size - 1);
	else
		put(bytes, size);
	if (descriptor < 0)
		descriptor = memfd_create("image", 0);
	assert(ftruncate(descriptor, 0) == 0);
	assert(pwrite(descriptor, file.bytes, file.length, 0) == (ssize_t)file.length);
	assert(lseek(descriptor, 0, SEEK_SET) == 0);
	rc = image_read_header(descriptor, &image, &why);
	assert(rc == 0 || rc == -EBADMSG);
	if (rc == 0 && image.header.tasks <= HEAPS) {
		for (uint32_t i = 0; i < image.header.tasks; i++) {
			heaps[i] = heap_new(i);
			assert(heaps[i]);
		}
		wanted = image.header.owned;
		wanted.words[0] &= ~(size % (1 << HEAPS)); /* some of the tasks, as it comes */
		rc = image_read(descriptor, &image, &wanted, heaps, &why);
		assert(rc == 0 || rc == -EBADMSG || rc == -ENOMEM || rc == -EFAULT);
		for (uint32_t i = 0; i < image.header.tasks; i++)
			heap_free(heaps[i]);
	}
	assert(rc != -EBADMSG || why);
	return 0;
}
