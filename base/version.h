/* What a container image's name says of its version. Pure; any thread. */
#pragma once

#include <stddef.h>

/* The tag, else the first 12 digits of the digest with its algorithm, else nothing
 * ("registry:5000/shop/cart" has none): where it begins in `image`, and its length. */
const char *version_of_image(const char *image, size_t *length);
