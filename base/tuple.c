#include "base/tuple.h"

#include "base/hash.h"

uint64_t tuple_hash(const struct tuple *tuple)
{
	return hash_bytes(tuple, sizeof(*tuple));
}
