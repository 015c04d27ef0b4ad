/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The time that only goes on, in nanoseconds; never 0. */

#ifndef SQLBLOCK_CLOCK_H
#define SQLBLOCK_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_SECOND      UINT64_C (1000000000)
#define CLOCK_MILLISECOND UINT64_C (1000000)

static inline uint64_t
clock_now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_MONOTONIC, &time);
  return time.tv_sec * CLOCK_SECOND + time.tv_nsec;
}

/* A time of clock_now, or a span, as others take it. */
static inline struct timespec
clock_timespec (uint64_t nanoseconds)
{
  return (struct timespec){
    .tv_sec = nanoseconds / CLOCK_SECOND,
    .tv_nsec = nanoseconds % CLOCK_SECOND,
  };
}

/* Make a condition that waits until a time of clock_now. */
static inline void
clock_init_condition (pthread_cond_t *condition)
{
  pthread_condattr_t monotonic;

  pthread_condattr_init (&monotonic);
  pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init (condition, &monotonic);
  pthread_condattr_destroy (&monotonic);
}

#endif /* SQLBLOCK_CLOCK_H */
