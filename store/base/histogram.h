/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Histograms that many threads count in, and that can be read meanwhile.
 *
 * The buckets are log-linear: values below 16 have one each, and every power
 * of two above has 16 of equal width, so that a value is known to 1/16:
 *
 *   0 1 2 ... 15 | 16 17 ... 31 | 32 34 36 ... 62 | 64 68 72 ... 124 | ...
 *
 * Counting is two additions to memory, without a lock; nothing keeps the
 * sum and the buckets together, so a reader may see one without the other.
 * Times are counted in units of 64 ns, which reaches from there to more than
 * a minute in buckets that fit a page of memory, together with what else is
 * said about a kind of request.
 *
 * Packaged libraries keep their counts behind pointers, in memory of their own,
 * and with a minimum and a maximum, which take loops of compare-and-swap.  Here
 * a count is an addition to a fixed place in shared memory.  Powers of two are
 * bounds of buckets, so what lies below one is known exactly.
 */

#ifndef SQLBLOCK_HISTOGRAM_H
#define SQLBLOCK_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

/* Values of 2^31 units (137 s) and more are in the last bucket. */
#define HISTOGRAM_BUCKETS 448

/* The unit of times, in nanoseconds, is 2 to the power of this. */
#define HISTOGRAM_TIME_SHIFT 6

struct histogram {
  atomic_uint_fast64_t counts[HISTOGRAM_BUCKETS];
  atomic_uint_fast64_t sum; /* of the values; times: in nanoseconds */
};

/* The bucket of VALUE. */
static inline unsigned
histogram_bucket (uint64_t value)
{
  unsigned power, bucket;

  if (value < 16)
    return value;
  power = 63 - __builtin_clzll (value);
  bucket = (power - 3) * 16 + (value >> (power - 4)) % 16;
  return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

/* Count VALUE.  Thread rules: any thread. */
static inline void
histogram_count (struct histogram *histogram, uint64_t value)
{
  atomic_fetch_add_explicit (&histogram->counts[histogram_bucket (value)], 1,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&histogram->sum, value, memory_order_relaxed);
}

/* Count a time, in nanoseconds.  Thread rules: any thread. */
static inline void
histogram_count_time (struct histogram *histogram, uint64_t nanoseconds)
{
  const unsigned bucket =
      histogram_bucket (nanoseconds >> HISTOGRAM_TIME_SHIFT);

  atomic_fetch_add_explicit (&histogram->counts[bucket], 1,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&histogram->sum, nanoseconds,
                             memory_order_relaxed);
}

/* What a histogram had at one moment, or has got since another one. */
struct distribution {
  uint64_t counts[HISTOGRAM_BUCKETS];
  uint64_t total; /* of all counts */
  uint64_t sum;
};

/* Read HISTOGRAM.  Thread rules: any thread. */
void distribution_read (struct distribution *distribution,
                        const struct histogram *histogram);

/* Take away what was there BEFORE; never goes below 0. */
void distribution_subtract (struct distribution *distribution,
                            const struct distribution *before);

/* How many values are below 2^POWER. */
uint64_t distribution_below (const struct distribution *distribution,
                             unsigned power);

/* The value that the share of FRACTION (0 to 1) does not exceed, to 1/16; 0
 * where there are no values.  The second is for times, in nanoseconds.
 */
uint64_t distribution_percentile (const struct distribution *distribution,
                                  double fraction);
uint64_t distribution_percentile_time (const struct distribution *distribution,
                                       double fraction);

#endif /* SQLBLOCK_HISTOGRAM_H */
