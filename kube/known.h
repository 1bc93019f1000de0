/* Which objects of one kind were told: their uid and a hash of their version. With it a new list
 * shows what changed while nobody watched, and what vanished. At most `max`; one more is refused.
 * Some 100 bytes an object. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum kube_news { KUBE_NEWS_FULL, KUBE_NEWS_SAME, KUBE_NEWS_CHANGED, KUBE_NEWS_ADDED };

struct kube_known;

struct kube_known *kube_known_new(uint32_t max);
void kube_known_free(struct kube_known *known);
uint32_t kube_known_count(const struct kube_known *known);
/* Seen in this round (list). A uid has at most KUBE_UID_MAX bytes. */
enum kube_news kube_known_put(struct kube_known *known, const char *uid, const char *version,
			      uint32_t round);
/* Whether it was there. */
bool kube_known_drop(struct kube_known *known, const char *uid);
/* Drops all that were not seen in this round, and tells each. */
void kube_known_sweep(struct kube_known *known, uint32_t round,
		      void (*gone)(void *context, const char *uid), void *context);
