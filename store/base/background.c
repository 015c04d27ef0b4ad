/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A thread in the background: see background.h. */

#include <config.h>

#include <errno.h>

#include "base/background.h"
#include "base/clock.h"

/* What the thread does not need any more. */
static void
destroy (struct background *background)
{
  pthread_mutex_destroy (&background->lock);
  pthread_cond_destroy (&background->stopped);
}

int
background_start (struct background *background, void *(*run) (void *),
                  void *opaque, struct status *status)
{
  background->stopping = false;
  pthread_mutex_init (&background->lock, NULL);
  clock_init_condition (&background->stopped);
  if (pthread_create (&background->thread, NULL, run, opaque) == 0)
    return 0;
  destroy (background);
  return status_fail (status, EAGAIN, "cannot start a thread");
}

bool
background_sleep_until (struct background *background, uint64_t when)
{
  const struct timespec until = clock_timespec (when);
  bool stopping;

  pthread_mutex_lock (&background->lock);
  while (!background->stopping &&
         pthread_cond_timedwait (&background->stopped, &background->lock,
                                 &until) != ETIMEDOUT)
    ;
  stopping = background->stopping;
  pthread_mutex_unlock (&background->lock);
  return !stopping;
}

bool
background_sleep (struct background *background, uint64_t nanoseconds)
{
  return background_sleep_until (background, clock_now () + nanoseconds);
}

bool
background_is_stopping (struct background *background)
{
  bool stopping;

  pthread_mutex_lock (&background->lock);
  stopping = background->stopping;
  pthread_mutex_unlock (&background->lock);
  return stopping;
}

void
background_stop (struct background *background)
{
  pthread_mutex_lock (&background->lock);
  background->stopping = true;
  pthread_cond_signal (&background->stopped);
  pthread_mutex_unlock (&background->lock);
  pthread_join (background->thread, NULL);
  destroy (background);
}
