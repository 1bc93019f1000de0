#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

enum { LINE_MAX_BYTES = 2048 };

/* The message in quotes, on one line whatever it holds. */
static size_t quote(char *out, size_t size, const char *message)
{
	size_t length = 0;

	for (; *message && length + 8 < size; message++) {
		unsigned char byte = (unsigned char)*message;

		if (byte == '"' || byte == '\\') {
			out[length++] = '\\';
			out[length++] = (char)byte;
		} else if (byte == '\n') {
			out[length++] = '\\';
			out[length++] = 'n';
		} else if (byte < 0x20 || byte == 0x7f) {
			length += (size_t)snprintf(out + length, size - length, "\\x%02x", byte);
		} else {
			out[length++] = (char)byte;
		}
	}
	return length;
}

static void write_line(enum log_level level, const char *message, uint64_t left_out)
{
	static const char *const levels[] = {"info", "warning", "error"};
	char line[LINE_MAX_BYTES];
	struct timespec now;
	struct tm utc;
	size_t length;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	length = strftime(line, sizeof(line), "time=%Y-%m-%dT%H:%M:%S", &utc);
	length += (size_t)snprintf(line + length, sizeof(line) - length, ".%03ldZ level=%s msg=\"",
				   now.tv_nsec / 1000000, levels[level]);
	length += quote(line + length, sizeof(line) - length - 64, message);
	line[length++] = '"';
	if (left_out)
		length += (size_t)snprintf(line + length, sizeof(line) - length, " left_out=%llu",
					   (unsigned long long)left_out);
	line[length++] = '\n';
	/* One write a line, so lines of threads do not mix. A closed standard error is nobody's
	 * loss. */
	if (write(STDERR_FILENO, line, length) < 0)
		return;
}

void log_line(enum log_level level, const char *format, ...)
{
	char message[LINE_MAX_BYTES];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	write_line(level, message, 0);
}

void log_limited(struct log_limit *limit, enum log_level level, const char *format, ...)
{
	uint64_t now = uv_hrtime();
	uint64_t next = atomic_load(&limit->next_ns);
	char message[LINE_MAX_BYTES];
	va_list arguments;

	if (now < next ||
	    !atomic_compare_exchange_strong(&limit->next_ns, &next, now + LOG_PERIOD_NS)) {
		atomic_fetch_add(&limit->left_out, 1);
		return;
	}
	va_start(arguments, format);
	vsnprintf(message, sizeof(message), format, arguments);
	va_end(arguments);
	write_line(level, message, atomic_exchange(&limit->left_out, 0));
}
