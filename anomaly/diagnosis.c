#include "anomaly/diagnosis.h"

#include <stdio.h>
#include <string.h>

#include "anomaly/monitor.h"

/* Fewer may be chance, or one program's. */
enum { ATTEMPTS_MIN = 5, LOOKUPS_MIN = 10, RETRANSMITS_MIN = 20, CONNECTS_MIN = 5, SRTTS_MIN = 5 };

/* Of the failures, those that must be of one kind. */
#define OF_ONE_KIND 0.9
/* So many times the usual share. */
#define FAILED_TIMES 2
/* Of the lookups. */
#define LOOKUPS_FAILED_MIN 0.1
/* Of the segments; and so many times the usual share. */
#define LOST_MIN   0.01
#define LOST_TIMES 5
/* A round trip, a connect that is so much longer; and one that is as usual. */
#define SLOW_TIMES  1.5
#define USUAL_TIMES 1.25
/* Of what is wrong is between zones: that is where it is, if not nearly everything passes there. */
#define CROSSING_MIN   0.95
#define CROSSING_USUAL 0.8
/* Bytes that are less or more than usual for sure. */
#define VOLUME_TIMES 1.5

static double ratio(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

static struct diagnosis say(uint32_t kind, double part, double whole, double usual)
{
	return (struct diagnosis){.kind = kind, .part = part, .whole = whole, .usual = usual};
}

static struct diagnosis of_lookups(const struct end_sums *now, const struct end_sums *before)
{
	if (now->lookups_failed < LOOKUPS_MIN ||
	    now->lookups_failed < LOOKUPS_FAILED_MIN * now->lookups)
		return (struct diagnosis){0};
	return say(DIAGNOSIS_DNS, now->lookups_failed, now->lookups,
		   ratio(before->lookups_failed, before->lookups));
}

/* Attempts that fail tell at once: those of the panes. */
static struct diagnosis of_attempts(const struct ends *ends)
{
	const struct end_sums *panes = &ends->panes;
	double unanswered = panes->failed - panes->refused - panes->unreachable;
	/* Some fail all the time. */
	double usual = ratio(ends->before.failed, ends->before.attempts);
	if (panes->failed < ATTEMPTS_MIN || panes->failed < FAILED_TIMES * usual * panes->attempts)
		return (struct diagnosis){0};
	if (panes->refused >= OF_ONE_KIND * panes->failed)
		return say(DIAGNOSIS_NO_LISTENER, panes->refused, panes->attempts, usual);
	if (panes->unreachable >= OF_ONE_KIND * panes->failed)
		return say(DIAGNOSIS_NO_ROUTE, panes->unreachable, panes->attempts, usual);
	/* Who is silent may be dead: the newest ten seconds must say. */
	if (unanswered < OF_ONE_KIND * panes->failed || !ends->settled)
		return (struct diagnosis){0};
	return say(ends->server_tells ? DIAGNOSIS_DROPPED : DIAGNOSIS_SERVER_GONE, unanswered,
		   panes->attempts, usual);
}

static double lost(const struct end_sums *sums)
{
	return ratio(sums->retransmits, sums->segments);
}

static bool loses(const struct end_sums *now, const struct end_sums *before)
{
	return now->retransmits >= RETRANSMITS_MIN && lost(now) >= LOST_MIN &&
	       lost(now) >= LOST_TIMES * lost(before);
}

/* How many times the usual: 0 if either is not known. */
static double slower(double now, double count, double before, double count_before)
{
	return count >= CONNECTS_MIN && count_before >= CONNECTS_MIN
		       ? ratio(ratio(now, count), ratio(before, count_before))
		       : 0;
}

static struct diagnosis of_path(const struct end_sums *now, const struct end_sums *before)
{
	double rtt = slower(now->srtt_us, now->srtts, before->srtt_us, before->srtts);
	double connect =
		slower(now->connect_us, now->connects, before->connect_us, before->connects);
	if (loses(now, before))
		return say(DIAGNOSIS_LOSSY_PATH, now->retransmits, now->segments, lost(before));
	if (rtt >= SLOW_TIMES)
		return say(DIAGNOSIS_SLOW_PATH, now->srtt_us / 1e6, now->srtts,
			   ratio(before->srtt_us / 1e6, before->srtts));
	if (connect >= SLOW_TIMES && rtt > 0 && rtt < USUAL_TIMES && lost(now) < LOST_MIN)
		return say(DIAGNOSIS_SLOW_SERVER, now->connect_us / 1e6, now->connects,
			   ratio(before->connect_us / 1e6, before->connects));
	return (struct diagnosis){0};
}

/* Nothing fails and nothing takes longer, so who asks is another, or asks otherwise. */
static struct diagnosis of_clients(const struct end_sums *now, const struct end_sums *before)
{
	double rtt = slower(now->srtt_us, now->srtts, before->srtt_us, before->srtts);
	double volume = ratio(now->bytes, before->bytes);
	bool well = now->failed < ATTEMPTS_MIN && now->resets < ATTEMPTS_MIN &&
		    lost(now) < LOST_MIN && rtt < USUAL_TIMES;
	if (!well || before->bytes <= 0 || (volume < VOLUME_TIMES && volume > 1 / VOLUME_TIMES))
		return (struct diagnosis){0};
	return say(DIAGNOSIS_CLIENTS, now->bytes, 1, before->bytes);
}

static bool is_crossing(const struct ends *ends)
{
	return ends->bad >= ATTEMPTS_MIN && ends->bad_crossing >= CROSSING_MIN * ends->bad &&
	       ends->all > 0 && ends->crossing <= CROSSING_USUAL * ends->all;
}

struct diagnosis diagnosis_of(const struct ends *ends, uint32_t metric)
{
	struct diagnosis diagnosis = of_lookups(&ends->now, &ends->before);
	if (!diagnosis.kind)
		diagnosis = of_attempts(ends);
	if (!diagnosis.kind && ends->settled)
		diagnosis = of_path(&ends->now, &ends->before);
	if (!diagnosis.kind && ends->settled && metric == METRIC_BYTES)
		diagnosis = of_clients(&ends->now, &ends->before);
	diagnosis.crossing = diagnosis.kind && is_crossing(ends);
	return diagnosis;
}

/* --- in words --- */

static void say_ms(char text[32], double seconds)
{
	snprintf(text, 32, "%.3g ms", seconds * 1e3);
}

void diagnosis_text(const struct diagnosis *diagnosis, char text[DIAGNOSIS_TEXT_MAX])
{
	const char *where = diagnosis->crossing ? ", all between zones" : "";
	double part = diagnosis->part, whole = diagnosis->whole, usual = diagnosis->usual;
	char now[32], before[32];
	say_ms(now, ratio(part, whole));
	say_ms(before, usual);
	text[0] = '\0';
	switch (diagnosis->kind) {
	case DIAGNOSIS_DROPPED:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely dropped on the way by a network policy, security group or route: "
			 "%.0f of %.0f attempts had no answer, and agents at the server, which "
			 "report, saw none of them%s",
			 part, whole, where);
		break;
	case DIAGNOSIS_SERVER_GONE:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely the server's nodes are gone: %.0f of %.0f attempts had no answer, "
			 "and no agent at the server reports%s",
			 part, whole, where);
		break;
	case DIAGNOSIS_NO_LISTENER:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely nobody listens: %.0f of %.0f attempts were refused%s", part, whole,
			 where);
		break;
	case DIAGNOSIS_NO_ROUTE:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely no route: %.0f of %.0f attempts were answered as unreachable%s",
			 part, whole, where);
		break;
	case DIAGNOSIS_LOSSY_PATH:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely the path loses segments: %.2g %% were sent again, usually %.2g "
			 "%%%s",
			 100 * ratio(part, whole), 100 * usual, where);
		break;
	case DIAGNOSIS_SLOW_PATH:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely the path is slow: round trips take %s, usually %s%s", now, before,
			 where);
		break;
	case DIAGNOSIS_SLOW_SERVER:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely the server is slow to accept: connecting takes %s, usually %s, "
			 "while round trips and losses are as usual%s",
			 now, before, where);
		break;
	case DIAGNOSIS_CLIENTS:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely the clients ask %s: nothing fails, and round trips and losses are "
			 "as usual%s",
			 part < usual ? "less" : "more", where);
		break;
	case DIAGNOSIS_DNS:
		snprintf(text, DIAGNOSIS_TEXT_MAX,
			 "likely DNS: %.0f of %.0f lookups failed, usually %.2g %%%s", part, whole,
			 100 * usual, where);
		break;
	default:
		break;
	}
}
