/* The rows of a CSV file as leaves to localize: two columns of figures, and columns of attributes
 * whose values get numbers. A row is left out, and counted, if a figure is no number, not finite or
 * negative. Rows with the same attributes are one leaf: their figures are summed.
 *
 * Bounds: LOCALIZE_LEAVES_MAX leaves, LOCALIZE_ATTRIBUTES_MAX attributes; more are refused. Trouble
 * is told on stderr. Main thread only. */
#pragma once

#include <stdint.h>
#include <stdio.h>

#include "anomaly/localize.h"
#include "api/cli/cli.h"

struct leaves;

/* What cli asks for of the file (lent): NULL if it cannot be had, and *status says how it ends. */
struct leaves *leaves_read(const struct cli *cli, FILE *file, int *status);
void leaves_free(struct leaves *leaves);

/* Lent, as long as the leaves are there. */
const struct localize_leaves *leaves_table(const struct leaves *leaves);
const char *leaves_attribute(const struct leaves *leaves, uint32_t attribute);
const char *leaves_value(const struct leaves *leaves, uint32_t leaf, uint32_t attribute);
