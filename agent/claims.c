#include "agent/claims.h"

void claims_init(struct claims *claims, uint64_t now_ns)
{
	*claims = (struct claims){
		.on = true,
		.end_ns = now_ns + CLAIMS_FIRST_NS,
		.wait_ns = CLAIMS_WAIT_MIN_NS,
	};
}

bool claims_due(struct claims *claims, uint64_t now_ns, uint32_t guesses)
{
	if (claims->on)
		return false;
	uint64_t since_ns = now_ns - claims->ended_ns;
	if (guesses)
		return since_ns >= claims->wait_ns;
	if (since_ns >= CLAIMS_WAIT_MAX_NS)
		claims->wait_ns = CLAIMS_WAIT_MIN_NS; /* whoever comes now is new */
	return since_ns >= CLAIMS_ANYWAY_NS;
}

void claims_began(struct claims *claims, uint64_t now_ns)
{
	claims->on = true;
	claims->end_ns = now_ns + CLAIMS_NS;
	claims->wait_ns *= 2;
	if (claims->wait_ns > CLAIMS_WAIT_MAX_NS)
		claims->wait_ns = CLAIMS_WAIT_MAX_NS;
}

bool claims_over(struct claims *claims, uint64_t now_ns)
{
	if (!claims->on || now_ns < claims->end_ns)
		return false;
	claims->on = false;
	claims->ended_ns = now_ns;
	return true;
}
