/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Whether to read what will be overwritten: see prefetch.h. */

#include <config.h>

#include <sys/resource.h>

#include "engine/prefetch.h"

long
prefetch_so_far (void)
{
  struct rusage usage;

  return getrusage (RUSAGE_THREAD, &usage) == 0 ? usage.ru_inblock : 0;
}

void
prefetch_note (struct prefetch *prefetch, long before)
{
  if (prefetch_so_far () != before)
    atomic_store_explicit (&prefetch->left, PREFETCH_WRITES,
                           memory_order_relaxed);
}

bool
prefetch_is_due (struct prefetch *prefetch)
{
  /* Most of the time it is 0, and then nobody writes there.  Two threads may
   * take the last one, and it falls below 0: the next note sets it right.
   */
  return atomic_load_explicit (&prefetch->left, memory_order_relaxed) > 0 &&
         atomic_fetch_sub_explicit (&prefetch->left, 1, memory_order_relaxed) >
             0;
}
