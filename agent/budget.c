#include "agent/budget.h"

void budget_init(struct budget *budget, double share, uint32_t steps, uint32_t cpus,
		 uint64_t now_ns, uint64_t cpu_ns)
{
	*budget = (struct budget){
		.share = share,
		.steps = steps,
		.cpus = cpus ? cpus : 1,
		.began_ns = now_ns,
		.cpu_ns = cpu_ns,
		.wait = BUDGET_ROOM_WINDOWS,
		.since_up = BUDGET_RETRY_WINDOWS,
	};
}

void budget_set(struct budget *budget, double share, uint32_t steps)
{
	budget->share = share;
	budget->steps = steps;
	if (share <= 0)
		budget->level = 0;
	if (budget->level > steps)
		budget->level = steps;
}

static void step_down(struct budget *budget)
{
	budget->row = 0;
	if (budget->level == budget->steps)
		return;
	if (budget->since_up < BUDGET_RETRY_WINDOWS)
		budget->wait = budget->wait * 2 > BUDGET_WAIT_WINDOWS_MAX ? BUDGET_WAIT_WINDOWS_MAX
									  : budget->wait * 2;
	budget->level++;
	budget->down++;
}

static void step_up(struct budget *budget)
{
	budget->room = 0;
	budget->level--;
	budget->up++;
	budget->since_up = 0;
}

bool budget_advance(struct budget *budget, uint64_t now_ns, uint64_t cpu_ns)
{
	uint64_t window = now_ns - budget->began_ns;
	if (window < BUDGET_WINDOW_NS)
		return false;
	/* a counter that went back belongs to a program that was taken away */
	uint64_t moved = cpu_ns > budget->cpu_ns ? cpu_ns - budget->cpu_ns : 0;
	budget->used = (double)moved / ((double)window * budget->cpus);
	budget->began_ns = now_ns;
	budget->cpu_ns = cpu_ns;
	if (budget->since_up < BUDGET_RETRY_WINDOWS)
		budget->since_up++;
	else if (budget->level == 0)
		budget->wait = BUDGET_ROOM_WINDOWS; /* all is well again */
	if (budget->share <= 0)
		return true;
	if (budget->used > budget->share) {
		budget->over++;
		budget->room = 0;
		if (++budget->row >= BUDGET_OVER_WINDOWS)
			step_down(budget);
		return true;
	}
	budget->row = 0;
	if (budget->used > budget->share / 2) {
		budget->room = 0;
	} else if (budget->level && ++budget->room >= budget->wait) {
		step_up(budget);
	}
	return true;
}
