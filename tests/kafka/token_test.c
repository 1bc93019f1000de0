#include "kafka/token.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* {"alg":"none"} . {"sub":"agent","exp":1700000100} . s */
#define JWT "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZ2VudCIsImV4cCI6MTcwMDAwMDEwMH0.c2ln"

static const int64_t now_ms = 1700000000000;
static struct token token;
static char why[TOKEN_WHY_BYTES];

static int answer(const char *text)
{
	return token_from_answer(&token, text, strlen(text), "client", now_ms, why);
}

static int file(const char *text)
{
	return token_from_file(&token, text, strlen(text), "client", now_ms, why);
}

static void an_answer_gives_the_token_and_its_life(void **state)
{
	(void)state;
	assert_int_equal(answer("{\"access_token\": \"abc\", \"expires_in\": 10}"), 0);
	assert_string_equal(token.text, "abc");
	assert_string_equal(token.principal, "client");
	assert_int_equal(token.expires_ms, now_ms + 10000);
	assert_int_equal(answer("{\"access_token\": \"abc\"}"), 0);
	assert_int_equal(token.expires_ms, now_ms + TOKEN_OPAQUE_S * 1000);
	assert_int_equal(answer("{\"access_token\": \"" JWT "\"}"), 0);
	assert_int_equal(token.expires_ms, 1700000100000);
	assert_string_equal(token.principal, "agent");
	assert_int_equal(answer("{\"access_token\": \"" JWT "\", \"expires_in\": 7}"), 0);
	assert_int_equal(token.expires_ms, now_ms + 7000);
}

static void an_answer_that_is_no_good_says_why_without_the_token(void **state)
{
	(void)state;
	const char *const bad[] = {"",
				   "hunter2",
				   "[1]",
				   "{}",
				   "{\"access_token\": 1}",
				   "{\"access_token\": \"\"}",
				   "{\"access_token\": \"hunter2\\n\"}",
				   "{\"access_token\": \"hunter2 x\"}",
				   "{\"access_token\": \"hunter2\", \"expires_in\": 0}",
				   "{\"access_token\": \"hunter2\", \"expires_in\": -1}",
				   "{\"access_token\": \"hunter2\", \"expires_in\": \"10\"}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		why[0] = 0;
		assert_true(answer(bad[i]) < 0);
		assert_true(why[0]);
		assert_null(strstr(why, "hunter2"));
	}
}

static void a_file_holds_the_token_alone(void **state)
{
	(void)state;
	assert_int_equal(file("  " JWT "\r\n"), 0);
	assert_string_equal(token.text, JWT);
	assert_int_equal(token.expires_ms, 1700000100000);
	assert_int_equal(file("opaque"), 0);
	assert_int_equal(token.expires_ms, now_ms + TOKEN_OPAQUE_S * 1000);
	assert_true(file("\n \n") < 0);
	assert_true(file("two words") < 0);
	assert_true(token_from_file(&token, JWT, strlen(JWT), "client", 1700000100000, why) < 0);
	assert_non_null(strstr(why, "already expired"));
	assert_int_equal(file("a.!!!.b"), -22); /* no bearer token */
	assert_int_equal(file("a.bbb.c"), 0);	/* no JWT, but a token */
}

static void a_token_is_taken_up_to_its_bound(void **state)
{
	(void)state;
	char *text = malloc(TOKEN_BYTES_MAX + 2);
	memset(text, 'a', TOKEN_BYTES_MAX + 1);
	text[TOKEN_BYTES_MAX + 1] = 0;
	assert_true(file(text) < 0);
	text[TOKEN_BYTES_MAX] = 0;
	assert_int_equal(file(text), 0);
	assert_int_equal(strlen(token.text), TOKEN_BYTES_MAX);
	free(text);
	char *large = malloc(TOKEN_ANSWER_MAX + 2);
	memset(large, ' ', TOKEN_ANSWER_MAX + 1);
	assert_true(token_from_answer(&token, large, TOKEN_ANSWER_MAX + 1, "c", now_ms, why) < 0);
	free(large);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_gives_the_token_and_its_life),
		cmocka_unit_test(an_answer_that_is_no_good_says_why_without_the_token),
		cmocka_unit_test(a_file_holds_the_token_alone),
		cmocka_unit_test(a_token_is_taken_up_to_its_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
