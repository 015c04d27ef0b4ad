/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Histograms: see histogram.h. */

#include <config.h>

#include "base/histogram.h"

/* The least value of BUCKET. */
static uint64_t
least_value (unsigned bucket)
{
  if (bucket < 16)
    return bucket;
  return (UINT64_C (16) + bucket % 16) << (bucket / 16 - 1);
}

void
distribution_read (struct distribution *distribution,
                   const struct histogram *histogram)
{
  distribution->total = 0;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
    distribution->counts[i] =
        atomic_load_explicit (&histogram->counts[i], memory_order_relaxed);
    distribution->total += distribution->counts[i];
  }
  distribution->sum =
      atomic_load_explicit (&histogram->sum, memory_order_relaxed);
}

void
distribution_subtract (struct distribution *distribution,
                       const struct distribution *before)
{
  distribution->total = 0;
  for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
    if (distribution->counts[i] > before->counts[i])
      distribution->counts[i] -= before->counts[i];
    else
      distribution->counts[i] = 0;
    distribution->total += distribution->counts[i];
  }
  if (distribution->sum > before->sum)
    distribution->sum -= before->sum;
  else
    distribution->sum = 0;
}

uint64_t
distribution_below (const struct distribution *distribution, unsigned power)
{
  const unsigned end = histogram_bucket (UINT64_C (1) << power);
  uint64_t count = 0;

  for (unsigned i = 0; i < end; i++)
    count += distribution->counts[i];
  return count;
}

uint64_t
distribution_percentile (const struct distribution *distribution,
                         double fraction)
{
  /* The rank of the value that is wanted, from 1 on. */
  const double rank = fraction * distribution->total;
  uint64_t count = 0;
  unsigned i;

  if (distribution->total == 0)
    return 0;
  for (i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
    count += distribution->counts[i];
    if (count > 0 && count >= rank)
      break;
  }
  return least_value (i + 1) - 1;
}

uint64_t
distribution_percentile_time (const struct distribution *distribution,
                              double fraction)
{
  if (distribution->total == 0)
    return 0;
  return (distribution_percentile (distribution, fraction) + 1)
         << HISTOGRAM_TIME_SHIFT;
}
