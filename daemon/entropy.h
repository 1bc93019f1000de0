/* What nobody can guess, from the kernel. Any thread. */
#pragma once

#include <stdint.h>

uint64_t entropy_word(void);
