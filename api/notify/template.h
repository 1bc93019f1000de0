/* What a receiver's messages say in the words of whoever set it up: text with {{ field }}, no
 * logic. What is written stands as it is, in the receiver's own markup; what fields bring is made
 * safe for it. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct notice;

enum { TEMPLATE_TITLE_MAX = 256, TEMPLATE_TEXT_MAX = 2048 }; /* bytes of one */

/* NULL, or what is wrong with it: a sentence that names all fields there are; lent until the next
 * call. */
const char *template_check(const char *template);
/* At most `characters` characters (one or more) that fit size with their NUL, as text_safe and
 * text_slack; mrkdwn: for Slack's, where in the address of a link what a field brings is written
 * %20 and so on. template: NULL writes nothing; nothing but blanks is as good as that. Returns the
 * length. */
size_t template_fill(char *out, size_t size, size_t characters, const char *template,
		     const struct notice *notice, bool mrkdwn);
