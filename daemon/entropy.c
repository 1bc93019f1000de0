#include "daemon/entropy.h"

#include <stdlib.h>
#include <sys/random.h>

uint64_t entropy_word(void)
{
	uint64_t word;

	if (getrandom(&word, sizeof(word), 0) != sizeof(word))
		abort(); /* never for so few bytes */
	return word;
}
