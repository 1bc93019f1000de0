/* The rules that stand: of each id the one issued last, and the monitors of the configuration
 * beside them, which come first and whose names no rule can take. A rule that was withdrawn is
 * remembered for RULEBOOK_FORGET_NS, so that an earlier one of its id that is told once more does
 * not come back. The same on every side that was told the same in the same order: a task has one
 * in its state, the API one of what the topic says. Bounds: rules_max rules that stand, one above
 * is refused and counted; as many that are withdrawn, of more the first is forgotten early. Pure;
 * one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "rules/record.h"

#define RULEBOOK_FORGET_NS (600 * NS_PER_S)

struct rulebook;

/* own: of the configuration; copied. */
struct rulebook *rulebook_new(const struct monitor *own, size_t own_count, uint32_t rules_max);
void rulebook_free(struct rulebook *book);

/* now_ns: the same clock's as the rules' times, roughly. Whether what stands is another now. */
bool rulebook_take(struct rulebook *book, const struct rule *rule, uint64_t now_ns);

/* Withdrawn ones too; lent until the next is taken. */
const struct rule *rulebook_find(const struct rulebook *book, const char *id);
uint32_t rulebook_standing(const struct rulebook *book); /* those that are not withdrawn */
bool rulebook_full(const struct rulebook *book);	 /* no room for another that stands */

/* The monitors in force, distinct in name; the first are the configuration's. Lent likewise. */
const struct monitor *rulebook_monitors(const struct rulebook *book, size_t *count);
size_t rulebook_own(const struct rulebook *book); /* how many of them are the configuration's */
uint64_t rulebook_refused(const struct rulebook *book);
