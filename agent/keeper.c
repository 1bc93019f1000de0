#include "agent/keeper.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/privileges.h"

/* One a process, as it stands for what the process may do. */
static struct {
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	pthread_t thread;
	uint64_t capabilities;
	uint64_t asked, served; /* callers take turns in their order: no mutex promises that */
	void (*job)(void *);
	void *argument;
	int error; /* of its start; -EINPROGRESS: not known yet */
	bool open, ending;
} keeper = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.changed = PTHREAD_COND_INITIALIZER,
};

static void *keep(void *unused)
{
	(void)unused;
	pthread_setname_np(pthread_self(), "mr-keeper");
	int error = privileges_reduce(keeper.capabilities);
	pthread_mutex_lock(&keeper.lock);
	keeper.error = error;
	pthread_cond_broadcast(&keeper.changed);
	while (!error && !keeper.ending) {
		if (!keeper.job) {
			pthread_cond_wait(&keeper.changed, &keeper.lock);
			continue;
		}
		pthread_mutex_unlock(&keeper.lock);
		keeper.job(keeper.argument);
		pthread_mutex_lock(&keeper.lock);
		keeper.job = NULL;
		pthread_cond_broadcast(&keeper.changed);
	}
	pthread_mutex_unlock(&keeper.lock);
	return NULL;
}

int keeper_open(uint64_t capabilities)
{
	keeper.capabilities = capabilities;
	keeper.ending = false;
	keeper.error = -EINPROGRESS;
	int error = -pthread_create(&keeper.thread, NULL, keep, NULL);
	if (error)
		return error;
	pthread_mutex_lock(&keeper.lock);
	while (keeper.error == -EINPROGRESS)
		pthread_cond_wait(&keeper.changed, &keeper.lock);
	error = keeper.error;
	pthread_mutex_unlock(&keeper.lock);
	keeper.open = error == 0;
	if (error)
		pthread_join(keeper.thread, NULL);
	return error;
}

void keeper_run(void (*job)(void *), void *argument)
{
	if (!keeper.open) {
		job(argument);
		return;
	}
	pthread_mutex_lock(&keeper.lock);
	uint64_t turn = keeper.asked++;
	while (keeper.served != turn)
		pthread_cond_wait(&keeper.changed, &keeper.lock);
	keeper.argument = argument;
	keeper.job = job;
	pthread_cond_broadcast(&keeper.changed);
	while (keeper.job)
		pthread_cond_wait(&keeper.changed, &keeper.lock);
	keeper.served++;
	pthread_cond_broadcast(&keeper.changed);
	pthread_mutex_unlock(&keeper.lock);
}

void keeper_close(void)
{
	if (!keeper.open)
		return;
	pthread_mutex_lock(&keeper.lock);
	keeper.ending = true;
	pthread_cond_broadcast(&keeper.changed);
	pthread_mutex_unlock(&keeper.lock);
	pthread_join(keeper.thread, NULL);
	keeper.open = false;
}
