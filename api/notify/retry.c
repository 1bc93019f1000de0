#include "api/notify/retry.h"

#include <string.h>

#include <curl/curl.h>

enum {
	RETRY_AFTER_MAX_S = 3600,
};

static uint64_t bounded_ms(uint64_t seconds)
{
	return (seconds < RETRY_AFTER_MAX_S ? seconds : RETRY_AFTER_MAX_S) * 1000;
}

uint64_t retry_after_ms(const char *text, uint64_t now_s)
{
	size_t digits, rest;
	uint64_t seconds = 0;
	time_t date;

	text += strspn(text, " \t");
	digits = strspn(text, "0123456789");
	rest = digits + strspn(text + digits, " \t");
	if (digits && text[rest] == '\0') {
		for (size_t i = 0; i < digits && seconds < RETRY_AFTER_MAX_S; i++)
			seconds = seconds * 10 + (uint64_t)(text[i] - '0');
		return bounded_ms(seconds);
	}
	date = curl_getdate(text, NULL);
	return date > 0 && (uint64_t)date > now_s ? bounded_ms((uint64_t)date - now_s) : 0;
}

uint64_t retry_backoff_ms(const struct retry_limits *limits, uint32_t failures, uint64_t dice)
{
	uint64_t most = limits->min_ms;

	while (failures-- && most < limits->max_ms)
		most *= 2;
	if (most > limits->max_ms)
		most = limits->max_ms;
	return most / 10 + dice % (most - most / 10 + 1);
}
