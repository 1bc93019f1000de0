#include "anomaly/summary.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "anomaly/cause.h"
#include "base/clock.h"

enum { QUANTITY_TEXT = 48, PLACE_TEXT = 2 * ALERT_NAME_MAX + 64 };

/* The sentence as it grows; what does not fit is cut at the end, at a UTF-8 boundary. */
struct sentence {
	char *text;
	size_t length;
};

__attribute__((format(printf, 2, 3))) static void say(struct sentence *sentence, const char *format,
						      ...)
{
	va_list arguments;
	size_t room = ALERT_TEXT_MAX - sentence->length;
	va_start(arguments, format);
	int length = vsnprintf(sentence->text + sentence->length, room, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	if ((size_t)length < room) {
		sentence->length += (size_t)length;
		return;
	}
	size_t end = ALERT_TEXT_MAX - 1;
	/* Back to the last character's first byte: nothing of a half one may stay. */
	while (end > 0 && ((uint8_t)sentence->text[end - 1] & 0xc0) == 0x80)
		end--;
	if (end > 0 && ((uint8_t)sentence->text[end - 1] & 0x80))
		end--;
	sentence->text[end] = '\0';
	sentence->length = end;
}

static const char *duration_text(double seconds, char text[QUANTITY_TEXT])
{
	if (seconds < 0.001)
		snprintf(text, QUANTITY_TEXT, "%.3g us", seconds * 1e6);
	else if (seconds < 1)
		snprintf(text, QUANTITY_TEXT, "%.3g ms", seconds * 1e3);
	else if (seconds < 7200)
		snprintf(text, QUANTITY_TEXT, "%.6g s", seconds);
	else
		snprintf(text, QUANTITY_TEXT, "%.3g h", seconds / 3600);
	return text;
}

static const char *bytes_text(double bytes, char text[QUANTITY_TEXT])
{
	static const char *const units[] = {"B/s", "kB/s", "MB/s", "GB/s", "TB/s"};
	size_t unit = 0;
	while (bytes >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		bytes /= 1000;
		unit++;
	}
	snprintf(text, QUANTITY_TEXT, "%.3g %s", bytes, units[unit]);
	return text;
}

/* A value of the alert, in its unit or a more readable one. */
static const char *quantity_text(const struct alert *alert, double value, char text[QUANTITY_TEXT])
{
	if (strcmp(alert->unit, "seconds") == 0)
		return duration_text(value, text);
	if (strcmp(alert->unit, "bytes/s") == 0)
		return bytes_text(value, text);
	if (strcmp(alert->unit, "ratio") == 0)
		snprintf(text, QUANTITY_TEXT, "%.3g %%", value * 100);
	else
		snprintf(text, QUANTITY_TEXT, "%.4g %s", value, alert->unit);
	return text;
}

static const char *place_text(const struct alert *alert, const char *link, char text[PLACE_TEXT])
{
	const struct alert_subject *subject = &alert->subject;
	char protocol[16];
	if (subject->protocol == 6 || subject->protocol == 17)
		snprintf(protocol, sizeof(protocol), "%s", subject->protocol == 6 ? "tcp" : "udp");
	else
		snprintf(protocol, sizeof(protocol), "ip-%u", subject->protocol);
	snprintf(text, PLACE_TEXT, "from %s %s %s:%u/%s",
		 subject->client[0] ? subject->client : "all clients", link,
		 subject->server[0] ? subject->server : "unknown", subject->port, protocol);
	return text;
}

/* A ratio or a latency of nothing. */
static bool measured(uint32_t metric, const struct window_sums *sums)
{
	return !(metric == METRIC_RETRANSMIT_RATIO && sums->segments == 0) &&
	       !(metric == METRIC_CONNECT_LATENCY && sums->connects == 0) &&
	       !(metric == METRIC_RTT && sums->srtt_count == 0) &&
	       !(metric == METRIC_DNS_FAILURE_RATIO && sums->dns_queries == 0) &&
	       !(metric == METRIC_DNS_LATENCY && sums->dns_count == 0);
}

static void say_what(struct sentence *sentence, const struct alert *alert, uint32_t metric,
		     const struct window_sums *sums)
{
	char place[PLACE_TEXT], value[QUANTITY_TEXT];
	place_text(alert, "to", place);
	quantity_text(alert, alert->value, value);
	if (!measured(metric, sums)) {
		say(sentence, "nothing was measured on connections %s", place);
		return;
	}
	switch (metric) {
	case METRIC_CONNECTIONS_FAILED:
	case METRIC_FAILURE_RATIO:
		say(sentence, "%" PRIu64 " of %" PRIu64 " connections %s failed", sums->failed,
		    sums->opened + sums->failed, place);
		break;
	case METRIC_CONNECTIONS_OPENED:
		say(sentence, "%s opened %s", value, place);
		break;
	case METRIC_CONNECTIONS_RESET:
		say(sentence, "%" PRIu64 " connections %s were reset", sums->resets, place);
		break;
	case METRIC_BYTES:
		say(sentence, "%s passed on connections %s", value, place);
		break;
	case METRIC_RETRANSMIT_RATIO:
		say(sentence, "%s of the segments on connections %s were sent again", value, place);
		break;
	case METRIC_CONNECT_LATENCY:
		say(sentence, "connecting %s took %s (p95 of %" PRIu64 ")", place, value,
		    sums->connects);
		break;
	case METRIC_DNS_FAILURE_RATIO:
		say(sentence, "%" PRIu64 " of %" PRIu64 " lookups %s failed", sums->dns_failed,
		    sums->dns_queries, place);
		break;
	case METRIC_DNS_LATENCY:
		say(sentence, "lookups %s took %s on average", place, value);
		break;
	case METRIC_CLIENTS_NEW:
		say(sentence, "%" PRIu64 " new clients came %s", sums->clients_new, place);
		break;
	default:
		say(sentence, "round trips %s took %s on average", place, value);
		break;
	}
}

static void say_limit(struct sentence *sentence, const struct alert *alert, uint32_t comparison)
{
	char threshold[QUANTITY_TEXT], expected[QUANTITY_TEXT];
	char low[QUANTITY_TEXT], high[QUANTITY_TEXT];
	const char *side = comparison == COMPARE_BELOW ? "below" : "above";
	quantity_text(alert, alert->threshold, threshold);
	if (strncmp(alert->monitor, "baseline/", 9) != 0) {
		say(sentence, " (threshold: %s %s)", side, threshold);
		return;
	}
	quantity_text(alert, alert->expected, expected);
	quantity_text(alert, alert->usual_low, low);
	quantity_text(alert, alert->usual_high, high);
	say(sentence, " (expected: %s; usual: %s to %s; unusual %s %s)", expected, low, high, side,
	    threshold);
}

static void say_suspect(struct sentence *sentence, const struct alert *alert)
{
	if (alert->suspects_count == 0)
		return;
	const struct suspect *suspect = &alert->suspects[0];
	char kind[32];
	snprintf(kind, sizeof(kind), "%s", suspect_kind_name(suspect->kind));
	for (char *at = kind; *at; at++)
		if (*at == '_')
			*at = ' ';
	say(sentence, "; %.0f %% of it at %s %s", suspect->share * 100, kind, suspect->name);
}

void summary_write(struct alert *alert, uint32_t metric, uint32_t comparison,
		   const struct window_sums *sums)
{
	struct sentence sentence = {.text = alert->summary};
	char text[QUANTITY_TEXT];
	say_what(&sentence, alert, metric, sums);
	say(&sentence, " in the last %s", duration_text(alert->window_ms / 1000.0, text));
	say_limit(&sentence, alert, comparison);
}

void summary_write_edge(struct alert *alert, uint32_t kind)
{
	struct sentence sentence = {.text = alert->summary};
	char place[PLACE_TEXT], silent[QUANTITY_TEXT], limit[QUANTITY_TEXT];
	place_text(alert, "to", place);
	if (kind == MONITOR_NEW_EDGE)
		say(&sentence, "there are connections %s, which are not expected", place);
	else if (alert->value < alert->threshold)
		say(&sentence, "there is traffic %s again", place);
	else
		say(&sentence, "nothing has passed %s for %s (threshold: %s)", place,
		    duration_text(alert->value, silent), duration_text(alert->threshold, limit));
}

void summary_write_unasked(struct alert *alert)
{
	struct sentence sentence = {.text = alert->summary, .length = strlen(alert->summary)};
	say(&sentence, "%sno monitor asks for it any more", sentence.length ? "; " : "");
}

void summary_tell(struct alert *alert, uint32_t edges)
{
	struct sentence sentence = {.text = alert->summary};
	char cause[ALERT_TEXT_MAX], text[QUANTITY_TEXT];
	memcpy(cause, alert->summary, sizeof(cause));
	if (alert->state == ALERT_RESOLVED) {
		double lasted = (double)(alert->ended_ns - alert->started_ns) / 1e9;
		say(&sentence, "resolved after %s: ", duration_text(lasted, text));
	}
	say(&sentence, "%s", cause);
	if (alert->state == ALERT_RESOLVED)
		return;
	say_suspect(&sentence, alert);
	if (edges > 1)
		say(&sentence, "; %" PRIu32 " edges are affected", edges);
	if (alert->cause.kind) {
		char likely[CHANGE_TEXT_BYTES + 32];
		cause_text(&alert->cause, alert->started_ns, likely, sizeof(likely));
		say(&sentence, "; likely cause: %s", likely);
	}
}
