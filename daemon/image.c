#include "daemon/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/disk.h"

#define MAGIC	 0x3230504e53524c4dULL /* "MLRSNP02" */
#define END	 UINT32_MAX
#define PAGE	 4096U
#define PIECE	 (1U << 20)
#define BUFFER	 PIECE
#define HUGE_GAP 16U /* pages of zeros in a row that are worth a piece's head */

struct start {
	uint64_t magic;
	struct image_header header;
};

struct piece {
	uint32_t number; /* of the heap; END: there are no more */
	uint32_t length; /* END: how many pieces there were, in all */
	uint64_t offset; /* END: how many bytes */
	uint32_t crc;	 /* of what stands before it and the bytes */
	uint32_t head;	 /* crc of what stands before it: who passes the bytes over trusts it */
};

/* --- build --- */

static int find_build(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + header->p_vaddr);
		const char *end = at + header->p_memsz;

		while (header->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
			const ElfW(Nhdr) *note = (const void *)at;
			const char *name = at + sizeof(*note);
			const char *text = name + ((note->n_namesz + 3U) & ~3U);

			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
			    memcmp(name, "GNU", 4) == 0) {
				memcpy(context, text,
				       note->n_descsz < IMAGE_BUILD_BYTES ? note->n_descsz
									  : IMAGE_BUILD_BYTES);
				break;
			}
			at = text + ((note->n_descsz + 3U) & ~3U);
		}
	}
	return 1; /* the first is the program itself */
}

void image_build(uint8_t build[IMAGE_BUILD_BYTES])
{
	memset(build, 0, IMAGE_BUILD_BYTES);
	dl_iterate_phdr(find_build, build);
}

static uint32_t head_crc(const struct piece *piece)
{
	return crc32c(0, piece, offsetof(struct piece, head));
}

static uint32_t piece_crc(const struct piece *piece, const uint8_t *bytes)
{
	uint32_t crc = crc32c(0, piece, offsetof(struct piece, crc));

	return piece->number == END ? crc : crc32c(crc, bytes, piece->length);
}

/* --- writing --- */

/* What is written goes through a buffer of its own. Pages that a child shares with who forked it
 * must not go to the disk by themselves: the kernel would copy each for the child first, so this
 * would take as much memory again. */
struct writer {
	int descriptor, pagemap;
	uint32_t pieces;
	uint64_t bytes;
	uint8_t *buffer; /* BUFFER bytes, whole pages */
	size_t used;
};

static int put(struct writer *writer, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	while (length) {
		size_t room = BUFFER - writer->used, part = length < room ? length : room;
		int rc;

		memcpy(writer->buffer + writer->used, at, part);
		writer->used += part;
		at += part;
		length -= part;
		if (writer->used < BUFFER)
			continue;
		rc = disk_write(writer->descriptor, writer->buffer, BUFFER);
		if (rc)
			return rc;
		writer->used = 0;
	}
	return 0;
}

/* What does not fill a page goes through the kernel's cache. */
static int put_rest(struct writer *writer)
{
	size_t whole = writer->used / PAGE * PAGE;
	int rc = disk_write(writer->descriptor, writer->buffer, whole);

	disk_direct(writer->descriptor, false);
	return rc ? rc
		  : disk_write(writer->descriptor, writer->buffer + whole, writer->used - whole);
}

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Of 512 pages which have ever been touched: the others are zeros, and looking at them would make
 * them memory. All, if the system does not tell. */
static void touched_pages(const struct writer *writer, const uint8_t *memory, size_t pages,
			  bool *touched)
{
	uint64_t entries[PIECE / PAGE];
	ssize_t length = pread(writer->pagemap, entries, pages * sizeof(entries[0]),
			       (off_t)((uintptr_t)memory / PAGE * sizeof(entries[0])));
	bool known = writer->pagemap >= 0 && length == (ssize_t)(pages * sizeof(entries[0]));

	for (size_t i = 0; i < pages; i++)
		touched[i] = (!known || entries[i] >> 62) && !is_zero(memory + i * PAGE);
}

static int write_piece(struct writer *writer, uint32_t number, uint64_t offset,
		       const uint8_t *bytes, size_t length)
{
	struct piece piece = {.number = number, .length = (uint32_t)length, .offset = offset};
	int rc;

	piece.crc = piece_crc(&piece, bytes);
	piece.head = head_crc(&piece);
	rc = put(writer, &piece, sizeof(piece));
	writer->pieces++;
	writer->bytes += length;
	return rc ? rc : put(writer, bytes, length);
}

/* At most a piece's length, from which zeros are left out. */
static int write_part(struct writer *writer, uint32_t number, uint64_t offset,
		      const uint8_t *memory, size_t length)
{
	bool touched[PIECE / PAGE];
	size_t pages = length / PAGE;
	int rc = 0;

	touched_pages(writer, memory, pages, touched);
	for (size_t at = 0, end; at < pages && rc == 0; at = end) {
		size_t gap = 0;

		end = at + 1;
		if (!touched[at])
			continue;
		for (size_t next = end; next < pages && gap < HUGE_GAP; next++) {
			gap = touched[next] ? 0 : gap + 1;
			end = touched[next] ? next + 1 : end;
		}
		rc = write_piece(writer, number, offset + at * PAGE, memory + at * PAGE,
				 (end - at) * PAGE);
	}
	return rc;
}

static int write_heap(struct writer *writer, uint32_t number, const struct heap *heap)
{
	const uint8_t *memory = (const uint8_t *)heap;
	uint64_t offset = 0;
	size_t length;
	int rc = 0;

	while (rc == 0 && (length = heap_range(heap, &offset)) != 0) {
		uint64_t end = offset + length;

		if (offset ==
		    0) /* whole: it is read before the others, to know where they may be */
			rc = write_piece(writer, number, 0, memory, length);
		for (uint64_t at = offset; offset && at < end && rc == 0; at += PIECE)
			rc = write_part(writer, number, at, memory + at,
					end - at < PIECE ? (size_t)(end - at) : PIECE);
		offset = end;
	}
	return rc;
}

static int write_start(struct writer *writer, const struct image *image)
{
	struct start start = {.magic = MAGIC, .header = image->header};
	size_t tasks = image->header.tasks * sizeof(image->tasks[0]);
	uint32_t crc = crc32c(crc32c(0, &start, sizeof(start)), image->tasks, tasks);
	int rc = put(writer, &start, sizeof(start));

	if (rc == 0)
		rc = put(writer, image->tasks, tasks);
	return rc ? rc : put(writer, &crc, sizeof(crc));
}

static int write_end(struct writer *writer)
{
	struct piece end = {.number = END, .length = writer->pieces, .offset = writer->bytes};

	end.crc = piece_crc(&end, NULL);
	end.head = head_crc(&end);
	return put(writer, &end, sizeof(end));
}

static int write_all(struct writer *writer, const struct image *image, struct heap *const *heaps)
{
	int rc = write_start(writer, image);

	for (uint32_t i = 0; i < image->header.tasks && rc == 0; i++) {
		if (task_set_has(&image->header.owned, i))
			rc = write_heap(writer, i, heaps[i]);
	}
	if (rc == 0)
		rc = write_end(writer);
	return rc ? rc : put_rest(writer);
}

int image_write(int descriptor, const struct image *image, struct heap *const *heaps)
{
	struct writer writer = {.descriptor = descriptor,
				.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
	int rc = 0;

	writer.buffer =
		mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (writer.buffer == MAP_FAILED) {
		rc = -errno;
	} else {
		disk_direct(descriptor, true);
		rc = write_all(&writer, image, heaps);
		disk_direct(descriptor, false);
		munmap(writer.buffer, BUFFER);
	}
	if (rc == 0 && fdatasync(descriptor))
		rc = -errno;
	if (writer.pagemap >= 0)
		close(writer.pagemap);
	return rc;
}

/* --- reading --- */

static int refuse(const char **why, const char *text)
{
	*why = text;
	return -EBADMSG;
}

static int read_all(int descriptor, void *bytes, size_t length, const char **why)
{
	char *at = bytes;

	while (length) {
		ssize_t done = read(descriptor, at, length);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return refuse(why, "it ends too early");
		at += done;
		length -= (size_t)done;
	}
	return 0;
}

static bool tasks_are_possible(const struct image_header *header)
{
	struct task_set all;

	if (header->tasks == 0 || header->tasks > IMAGE_TASKS_MAX)
		return false;
	all = task_set_all(header->tasks);
	return task_set_count(&header->owned) && task_set_within(&header->owned, &all);
}

int image_read_header(int descriptor, struct image *image, const char **why)
{
	struct start start;
	uint32_t crc, sum;
	size_t tasks;
	int rc = read_all(descriptor, &start, sizeof(start), why);

	if (rc)
		return rc;
	if (start.magic != MAGIC)
		return refuse(why, "it is no snapshot");
	if (!tasks_are_possible(&start.header))
		return refuse(why, "its header is damaged");
	image->header = start.header;
	tasks = start.header.tasks * sizeof(image->tasks[0]);
	rc = read_all(descriptor, image->tasks, tasks, why);
	if (rc == 0)
		rc = read_all(descriptor, &crc, sizeof(crc), why);
	if (rc)
		return rc;
	sum = crc32c(crc32c(0, &start, sizeof(start)), image->tasks, tasks);
	return sum == crc ? 0 : refuse(why, "its header is damaged");
}

struct reader {
	int descriptor;
	const struct task_set *wanted;
	struct heap *const *heaps;
	struct task_set ahead; /* tasks whose heads have not come */
	struct task_set begun; /* and have */
};

static int read_head(struct reader *reader, struct piece *piece, const char **why)
{
	int rc = read_all(reader->descriptor, piece, sizeof(*piece), why);

	if (rc)
		return rc;
	return head_crc(piece) == piece->head ? 0 : refuse(why, "a piece's head is damaged");
}

/* In order of the tasks, each head before the rest of its heap. */
static int take_place(struct reader *reader, const struct piece *piece, const char **why)
{
	if (piece->number >= IMAGE_TASKS_MAX || piece->length == 0)
		return refuse(why, "a piece's head is damaged");
	if (piece->offset)
		return task_set_has(&reader->begun, piece->number)
			       ? 0
			       : refuse(why, "a piece is out of its heap");
	if (piece->number != task_set_first(&reader->ahead) || piece->length > HEAP_HEAD_MAX)
		return refuse(why, "a heap's head is out of place");
	task_set_drop(&reader->ahead, piece->number);
	task_set_add(&reader->begun, piece->number);
	return 0;
}

static int read_content(struct reader *reader, const struct piece *piece, const char **why)
{
	struct heap *heap = reader->heaps[piece->number];
	int rc;

	if (piece->offset && !heap_holds(heap, piece->offset, piece->length))
		return refuse(why, "a piece is out of its heap");
	rc = read_all(reader->descriptor, (uint8_t *)heap + piece->offset, piece->length, why);
	if (rc)
		return rc;
	if (piece_crc(piece, (uint8_t *)heap + piece->offset) != piece->crc)
		return refuse(why, "a piece is not what was written");
	if (piece->offset)
		return 0;
	rc = heap_adopt(heap, piece->number);
	return rc == -EINVAL ? refuse(why, "a heap's head is damaged") : rc;
}

static int read_piece(struct reader *reader, const struct piece *piece, const char **why)
{
	int rc = take_place(reader, piece, why);

	if (rc)
		return rc;
	if (task_set_has(reader->wanted, piece->number))
		return read_content(reader, piece, why);
	return lseek(reader->descriptor, piece->length, SEEK_CUR) < 0 ? -errno : 0;
}

int image_read(int descriptor, const struct image *image, const struct task_set *wanted,
	       struct heap *const *heaps, const char **why)
{
	struct reader reader = {.descriptor = descriptor,
				.wanted = wanted,
				.heaps = heaps,
				.ahead = image->header.owned};
	uint32_t pieces = 0;
	uint64_t bytes = 0;
	struct piece piece;

	for (;; pieces++, bytes += piece.length) {
		int rc = read_head(&reader, &piece, why);

		if (rc == 0 && piece.number == END)
			break;
		if (rc == 0)
			rc = read_piece(&reader, &piece, why);
		if (rc)
			return rc;
	}
	if (piece.length != pieces || piece.offset != bytes || task_set_count(&reader.ahead) ||
	    piece.crc != piece_crc(&piece, NULL))
		return refuse(why, "its end is damaged");
	return 0;
}
