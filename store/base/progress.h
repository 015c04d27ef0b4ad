/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Progress of what may take long, and how it is stopped. */

#ifndef SQLBLOCK_PROGRESS_H
#define SQLBLOCK_PROGRESS_H

#include <errno.h>
#include <stdint.h>

#include "status.h"

/* Told between the steps of what may take long: DONE of TOTAL, in bytes;
 * TOTAL may grow, and is 0 where it is unknown.  To stop, it returns
 * non-zero; the call then fails with ECANCELED.
 */
typedef int (*progress_made) (uint64_t done, uint64_t total, void *opaque);

/* Tell PROGRESS, which may be NULL.  Returns 0, or -1 (ECANCELED) where
 * that is to be the end.  Thread rules: those of PROGRESS.
 */
static inline int
progress_report (progress_made progress, uint64_t done, uint64_t total,
                 void *opaque, struct status *status)
{
  if (progress && progress (done, total, opaque) != 0)
    return status_fail (status, ECANCELED, "interrupted");
  return 0;
}

#endif /* SQLBLOCK_PROGRESS_H */
