/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Complaints: see complaint.h. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/complaint.h"

/* How long the same failure is not told again, in nanoseconds. */
#define SILENCE (24 * 3600 * CLOCK_SECOND)

/* The work has failed with MESSAGE: is that to be told? */
static bool
is_due (struct complaint *complaint, const char *message)
{
  const uint64_t now = clock_now ();

  if (complaint->message && strcmp (complaint->message, message) == 0 &&
      now - complaint->told < SILENCE)
    return false;
  free (complaint->message);
  /* Without memory it is told again. */
  complaint->message = strdup (message);
  complaint->told = now;
  return true;
}

void
complaint_end (struct complaint *complaint)
{
  free (complaint->message);
  *complaint = (struct complaint){ .message = NULL };
}

void
complaint_tell (struct complaint *complaint, int result,
                const struct status *status, void (*warn) (const char *message))
{
  if (result != -1)
    complaint_end (complaint);
  else if (status->error != ECANCELED && is_due (complaint, status->message))
    warn (status->message);
}
