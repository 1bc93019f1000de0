#include "rules/silencebook.h"

#include <string.h>

#include "base/memory.h"

struct silencebook {
	struct silence **silences; /* by id */
	size_t count, capacity;
	uint32_t silences_max;
	uint64_t keep_ns, refused;
};

struct silencebook *silencebook_new(uint32_t silences_max, uint64_t keep_ns)
{
	struct silencebook *book = memory_zeroed(1, sizeof(*book));

	book->silences_max = silences_max;
	book->keep_ns = keep_ns;
	return book;
}

void silencebook_free(struct silencebook *book)
{
	if (!book)
		return;
	for (size_t i = 0; i < book->count; i++)
		memory_free(book->silences[i]);
	memory_free(book->silences);
	memory_free(book);
}

/* --- what is known --- */

/* Where the id is or would be. */
static size_t place_of(const struct silencebook *book, const char *id, bool *found)
{
	size_t low = 0, high = book->count;

	*found = false;
	while (low < high && !*found) {
		size_t middle = (low + high) / 2;
		int order = strcmp(book->silences[middle]->id, id);

		*found = order == 0;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return *found ? high : low;
}

static void take_out(struct silencebook *book, size_t place)
{
	memory_free(book->silences[place]);
	memmove(&book->silences[place], &book->silences[place + 1],
		(--book->count - place) * sizeof(*book->silences));
}

static struct silence *put_in(struct silencebook *book, size_t place)
{
	if (book->count == book->capacity) {
		book->capacity = memory_grown(book->capacity, book->count + 1);
		book->silences =
			memory_resize(book->silences, book->capacity, sizeof(*book->silences));
	}
	memmove(&book->silences[place + 1], &book->silences[place],
		(book->count++ - place) * sizeof(*book->silences));
	return book->silences[place] = memory_zeroed(1, sizeof(struct silence));
}

/* The expired one that ended first, if there are more than so many; SIZE_MAX: there are not. */
static size_t first_of_more(const struct silencebook *book, uint64_t most, uint64_t now_ns)
{
	size_t expired = 0, first = SIZE_MAX;

	if (book->count <= most)
		return SIZE_MAX;
	for (size_t i = 0; i < book->count; i++) {
		const struct silence *silence = book->silences[i];

		if (silence_state(silence, now_ns) != SILENCE_EXPIRED)
			continue;
		if (!expired++ || silence->ends_ns < book->silences[first]->ends_ns)
			first = i;
	}
	return expired > most ? first : SIZE_MAX;
}

bool silencebook_take(struct silencebook *book, const struct silence *silence, uint64_t now_ns)
{
	bool found;
	size_t place = place_of(book, silence->id, &found);
	struct silence *known = found ? book->silences[place] : NULL;
	bool stood = known && silence_state(known, now_ns) != SILENCE_EXPIRED;
	bool stands = silence_state(silence, now_ns) != SILENCE_EXPIRED;

	if (known && known->issued_ns > silence->issued_ns) {
		known->lost = true;
		return false;
	}
	if (!stood && stands && silencebook_standing(book, now_ns) >= book->silences_max) {
		book->refused++;
		return false;
	}
	if (!known)
		known = put_in(book, place);
	*known = *silence;
	place = first_of_more(book, (uint64_t)book->silences_max * SILENCEBOOK_SPARE, now_ns);
	if (place != SIZE_MAX)
		take_out(book, place);
	return true;
}

void silencebook_lose(struct silencebook *book, const char *id)
{
	bool found;
	size_t place = place_of(book, id, &found);

	if (found)
		book->silences[place]->lost = true;
}

bool silencebook_is_homeless(const struct silencebook *book, const struct silence *silence)
{
	const struct silence *known = silencebook_find(book, silence->id);

	return !known || known->issued_ns < silence->issued_ns;
}

const struct silence *silencebook_find(const struct silencebook *book, const char *id)
{
	bool found;
	size_t place = place_of(book, id, &found);

	return found ? book->silences[place] : NULL;
}

size_t silencebook_count(const struct silencebook *book)
{
	return book->count;
}

const struct silence *silencebook_at(const struct silencebook *book, size_t number)
{
	return book->silences[number];
}

struct silencebook_stats silencebook_stats(const struct silencebook *book, uint64_t now_ns)
{
	struct silencebook_stats stats = {.refused = book->refused};
	uint64_t *const counts[] = {
		[SILENCE_ACTIVE] = &stats.active,
		[SILENCE_PENDING] = &stats.pending,
		[SILENCE_EXPIRED] = &stats.expired,
	};

	for (size_t i = 0; i < book->count; i++)
		++*counts[silence_state(book->silences[i], now_ns)];
	return stats;
}

size_t silencebook_standing(const struct silencebook *book, uint64_t now_ns)
{
	struct silencebook_stats stats = silencebook_stats(book, now_ns);

	return (size_t)(stats.active + stats.pending);
}

/* --- what is silenced --- */

/* An alert without members is its own only episode. */
static size_t episodes_of(const struct alert *alert, const struct alert_member **episodes,
			  struct alert_member *alone)
{
	if (alert->members_count) {
		*episodes = alert->members;
		return alert->members_count < ALERT_MEMBERS_MAX ? alert->members_count
								: ALERT_MEMBERS_MAX;
	}
	memset(alone, 0, sizeof(*alone));
	memcpy(alone->monitor, alert->monitor, sizeof(alone->monitor));
	alone->subject = alert->subject;
	alone->severity = alert->severity;
	*episodes = alone;
	return 1;
}

static uint64_t episode_until(const struct silencebook *book, const struct alert_member *episode,
			      uint64_t now_ns)
{
	uint64_t until_ns = 0;

	for (size_t i = 0; i < book->count; i++) {
		const struct silence *silence = book->silences[i];

		if (silence->starts_ns <= now_ns && silence->ends_ns > until_ns &&
		    silence_matches(silence, episode))
			until_ns = silence->ends_ns;
	}
	return until_ns;
}

static bool is_of_itself(const struct alert *alert)
{
	return strncmp(alert->monitor, "millrace/", 9) == 0;
}

uint64_t silencebook_until(const struct silencebook *book, const struct alert *alert,
			   uint64_t now_ns)
{
	const struct alert_member *episodes;
	struct alert_member alone;
	size_t count = episodes_of(alert, &episodes, &alone);
	uint64_t until_ns = UINT64_MAX;

	if (is_of_itself(alert))
		return 0;
	for (size_t i = 0; i < count && until_ns; i++) {
		uint64_t its_ns = episode_until(book, &episodes[i], now_ns);

		until_ns = its_ns < until_ns ? its_ns : until_ns;
	}
	return until_ns;
}

static bool matches_any(const struct silence *silence, const struct alert_member *episodes,
			size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (silence_matches(silence, &episodes[i]))
			return true;
	}
	return false;
}

size_t silencebook_of(const struct silencebook *book, const struct alert *alert, uint64_t now_ns,
		      const struct silence **silences, size_t max)
{
	const struct alert_member *episodes;
	struct alert_member alone;
	size_t count = episodes_of(alert, &episodes, &alone), found = 0;

	if (silencebook_until(book, alert, now_ns) <= now_ns)
		return 0;
	for (size_t i = 0; i < book->count && found < max; i++) {
		const struct silence *silence = book->silences[i];

		if (silence_state(silence, now_ns) == SILENCE_ACTIVE &&
		    matches_any(silence, episodes, count))
			silences[found++] = silence;
	}
	return found;
}

/* --- time --- */

uint64_t silencebook_next(const struct silencebook *book, uint64_t now_ns)
{
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < book->count; i++) {
		const struct silence *silence = book->silences[i];
		uint64_t its_ns =
			silence->starts_ns > now_ns ? silence->starts_ns : silence->ends_ns;

		if (its_ns > now_ns && its_ns < next_ns)
			next_ns = its_ns;
	}
	return next_ns;
}

bool silencebook_moved(const struct silencebook *book, uint64_t since_ns, uint64_t now_ns)
{
	return now_ns < since_ns || silencebook_next(book, since_ns) <= now_ns;
}

void silencebook_forget(struct silencebook *book, uint64_t now_ns,
			void (*told)(void *context, const struct silence *silence), void *context)
{
	size_t first;

	for (size_t i = book->count; i-- > 0;) {
		const struct silence *silence = book->silences[i];

		if (silence->ends_ns + book->keep_ns >= now_ns)
			continue;
		told(context, silence);
		take_out(book, i);
	}
	while ((first = first_of_more(book, book->silences_max, now_ns)) != SIZE_MAX) {
		told(context, book->silences[first]);
		take_out(book, first);
	}
}
