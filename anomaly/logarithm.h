/* The natural logarithm from IEEE arithmetic alone, so that every machine agrees; no libm does.
 * Pure; any thread. */
#pragma once

#include <stdint.h>
#include <string.h>

/* x > 0: ln(2^e m) = e ln 2 + 2 atanh((m - 1) / (m + 1)), m in [0.7, 1.4]; 10 terms leave less than
 * 10^-16. */
static inline double logarithm(double x)
{
	uint64_t bits;
	memcpy(&bits, &x, sizeof(bits));
	int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
	bits = (bits & 0xfffffffffffffULL) | 1023ULL << 52;
	double mantissa;
	memcpy(&mantissa, &bits, sizeof(mantissa));
	if (mantissa > 1.4142135623730951) {
		mantissa /= 2;
		exponent++;
	}
	double z = (mantissa - 1) / (mantissa + 1), term = z, sum = 0;
	for (int i = 0; i < 10; i++, term *= z * z)
		sum += term / (2 * i + 1);
	return exponent * 0.6931471805599453 + 2 * sum;
}
