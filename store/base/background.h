/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A thread that works, sleeps, and ends when it is asked to.
 *
 *   run:   do
 *            work
 *          while (background_sleep (background, ...));
 */

#ifndef SQLBLOCK_BACKGROUND_H
#define SQLBLOCK_BACKGROUND_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "status.h"

struct background {
  pthread_t thread;
  pthread_mutex_t lock; /* of `stopping`; a leaf */
  pthread_cond_t stopped;
  bool stopping;
};

/* Start a thread that calls RUN with OPAQUE.  Returns 0, or -1 (EAGAIN) with
 * nothing left.
 */
int background_start (struct background *background, void *(*run) (void *),
                      void *opaque, struct status *status);

/* Sleep for NANOSECONDS, or until WHEN (clock_now), or until the thread is to
 * end; then it returns false.  Thread rules: the thread itself.
 */
bool background_sleep (struct background *background, uint64_t nanoseconds);
bool background_sleep_until (struct background *background, uint64_t when);

/* Is the thread to end?  Thread rules: any thread. */
bool background_is_stopping (struct background *background);

/* Have the thread end, and wait for that. */
void background_stop (struct background *background);

#endif /* SQLBLOCK_BACKGROUND_H */
