/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Scrubbing: see scrub.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/background.h"
#include "check.h"
#include "base/clock.h"
#include "base/complaint.h"
#include "server/scrub.h"
#include "base/count.h"

/* At most this many problems are told of in a pass; the others are counted. */
#define LINES 100

struct scrub {
  struct store *store;
  struct scrub_options options;
  struct background background;
  uint64_t began; /* the pass, by clock_now */
  unsigned lines; /* that it has told */
};

/* Sleep until NANOSECONDS of the pass are over.  Returns false when the
 * thread is to end.
 */
static bool
sleep_until (struct scrub *scrub, uint64_t nanoseconds)
{
  return background_sleep_until (&scrub->background,
                                 scrub->began + nanoseconds);
}

static uint64_t
period_of (const struct scrub *scrub)
{
  return scrub->options.period * CLOCK_SECOND;
}

/* DONE of TOTAL is done: rest until it is time for more. */
static int
rest (uint64_t done, uint64_t total, void *opaque)
{
  struct scrub *scrub = opaque;
  const double part = total ? (double)done / total : 1;

  return !sleep_until (scrub, part * period_of (scrub));
}

/* Tell of a problem: who shows the block, and where. */
static void
tell (const struct check_problem *problem, void *opaque)
{
  struct scrub *scrub = opaque;
  struct status line;

  if (problem->kind == CHECK_LEFTOVER || scrub->lines++ >= LINES)
    return;
  status_fail (&line, EIO, "%s", problem->message);
  if (problem->count)
    status_prefix (&line, "byte %" PRIu64, problem->offset);
  if (problem->shown_total > problem->shown_count)
    status_prefix (
        &line, "and %s",
        COUNT (problem->shown_total - problem->shown_count, "other"));
  for (size_t i = problem->shown_count; i > 0; i--)
    status_prefix (&line, "%s", problem->shown[i - 1]);
  status_prefix (&line, "scrub: %s", check_kind_name (problem->kind));
  scrub->options.warn (line.message);
}

static void
tell_end (struct scrub *scrub, const struct check_counts *counts)
{
  struct status line;

  if (counts->problems == 0)
    return;
  status_fail (&line, EIO, "scrub: %s in %s; \"sqlblock check\" says more",
               COUNT (counts->problems, "problem"),
               COUNT (counts->blocks, "block"));
  scrub->options.warn (line.message);
}

static void *
run (void *opaque)
{
  struct scrub *scrub = opaque;
  const struct check_options options = {
    .rows_only = true,
    .found = tell,
    .progress = rest,
    .opaque = scrub,
  };
  struct check_counts counts;
  struct complaint complaint = { .message = NULL };
  struct status status;
  int r;

  do {
    scrub->began = clock_now ();
    scrub->lines = 0;
    r = check_database (scrub->store, &options, &counts, &status);
    complaint_tell (&complaint, r, &status, scrub->options.warn);
    if (r == 0)
      tell_end (scrub, &counts);
  } while (sleep_until (scrub, period_of (scrub)));
  complaint_end (&complaint);
  return NULL;
}

struct scrub *
scrub_start (struct store *store, const struct scrub_options *options,
             struct status *status)
{
  struct scrub *scrub = calloc (1, sizeof *scrub);

  if (scrub == NULL) {
    status_no_memory (status);
    return NULL;
  }
  scrub->store = store;
  scrub->options = *options;
  if (background_start (&scrub->background, run, scrub, status) == 0)
    return scrub;
  free (scrub);
  return NULL;
}

void
scrub_stop (struct scrub *scrub)
{
  background_stop (&scrub->background);
  free (scrub);
}
