/* The time that only goes on, in nanoseconds; never 0. */

#ifndef SQLBLOCK_CLOCK_H
#define SQLBLOCK_CLOCK_H

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

#endif /* SQLBLOCK_CLOCK_H */
