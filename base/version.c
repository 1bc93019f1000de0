#include "base/version.h"

#include <string.h>

enum { DIGEST_BYTES = sizeof("sha256:") - 1 + 12 };

const char *version_of_image(const char *image, size_t *length)
{
	const char *digest = strchr(image, '@');
	size_t name_length = digest ? (size_t)(digest - image) : strlen(image);
	for (size_t i = name_length; i > 0 && image[i - 1] != '/'; i--)
		if (image[i - 1] == ':') {
			*length = name_length - i;
			return image + i;
		}
	*length = digest ? strnlen(digest + 1, DIGEST_BYTES) : 0;
	return digest ? digest + 1 : image;
}
