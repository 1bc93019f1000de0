/* Stands before the anomaly stage (the linker's --wrap): lets the tasks' calls through and takes
 * their cost, or drops them, so that a bench tells the stage's share apart. One thread. */
#pragma once

#include <stdbool.h>

#include "bench/drive/cost.h"

void anomaly_meter(bool on); /* and from zero */
struct cost anomaly_metered(void);
