/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Complaints: what a thread of the server tells of work that fails again and
 * again.  The same failure is told once a day; another one, or the same after
 * the work has succeeded, at once.
 */

#ifndef SQLBLOCK_COMPLAINT_H
#define SQLBLOCK_COMPLAINT_H

#include <stdint.h>

#include "status.h"

/* All zeroes: there was no failure. */
struct complaint {
  char *message; /* of the last failure, or NULL */
  uint64_t told; /* when, by clock_now */
};

/* The work has come to RESULT, which for -1 STATUS explains: tell WARN of a
 * failure that is due, unless it was asked for (ECANCELED).  Thread rules,
 * here and below: one thread at a time.
 */
void complaint_tell (struct complaint *complaint, int result,
                     const struct status *status,
                     void (*warn) (const char *message));

/* The work has succeeded, or there is none any more: frees what it holds. */
void complaint_end (struct complaint *complaint);

#endif /* SQLBLOCK_COMPLAINT_H */
