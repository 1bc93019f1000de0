/* Words for messages to people. Names come from outside (a pod may be called anything), so all text
 * passes through text_safe: valid UTF-8, no control and no bidirectional characters, cut at a
 * number of characters. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies at most `characters` characters (one or more) that fit size (8 or more) with their NUL; a
 * cut ends in an ellipsis, which is one of them.
 * Invalid bytes become U+FFFD, control and bidirectional characters are left out. Returns the
 * length. */
size_t text_safe(char *out, size_t size, const char *in, size_t characters);

/* As text_safe, then for Slack's mrkdwn: & < > as entities, which defuses links and <!channel>;
 * @here, @channel and
 * @everyone lose their sign. */
size_t text_slack(char *out, size_t size, const char *in, size_t characters);

/* 0.25 "ratio" -> "25 %", 0.0031 "seconds" -> "3.1 ms", 1500 "bytes" -> "1.5 kB", 12 "connections"
 * -> "12". */
size_t text_value(char *out, size_t size, double value, const char *unit);

/* 2026-01-02T03:04:05.678Z */
size_t text_time(char *out, size_t size, uint64_t time_ns);
