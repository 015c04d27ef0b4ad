/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Tidying up: see tidy.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/background.h"
#include "base/clock.h"
#include "base/complaint.h"
#include "manage/manage-parts.h"
#include "rows/quota.h"
#include "server/emptying.h"
#include "server/tidy.h"
#include "engine/engine.h"

/* How often there is a look if something was committed, and after a failure,
 * in milliseconds; and every how many looks there is one for what other
 * processes have committed.
 */
#define LOOK_EVERY  1000
#define RETRY_AFTER 30000
#define LOOK_ALWAYS 10

/* How often there is a look for what receptions have left. */
#define CLEAN_EVERY (3600 * CLOCK_SECOND)

/* How long a step takes while others write, and when nobody does, in
 * nanoseconds; and how many times as long, in quarters, it then rests.
 */
#define BUSY_STEP (CLOCK_MILLISECOND / 2)
#define BUSY_REST 8
#define IDLE_STEP (5 * CLOCK_MILLISECOND)
#define IDLE_REST 1

/* Free pages that will be used up within this many seconds, if it goes on
 * like that, are left alone.
 */
#define USED_UP 16

struct tidy {
  struct store *store;
  struct tidy_options options;
  struct background background;

  /* The thread's own. */
  uint64_t commits; /* how many there were at the last look or step */
  bool unfinished;  /* the last look found something that is not done */
  unsigned skipped; /* looks since the last one that was not for nothing */
  unsigned looks;
  struct shrinking shrinking;
  uint64_t cleaned; /* when there was a look for receptions; 0: not yet */
  struct emptying trash;
  struct complaint counting, giving_back, cleaning, emptying;
};

/* A step has begun at START and made a commit: rest, longer where others
 * have made some since the last one.  Returns as background_sleep.
 */
static bool
rest (struct tidy *tidy, uint64_t start)
{
  const uint64_t commits = store_commits (tidy->store);
  const bool busy = commits > tidy->commits + 1;

  tidy->commits = commits;
  tidy->shrinking.nanoseconds = busy ? BUSY_STEP : IDLE_STEP;
  tidy->shrinking.moves = busy ? MANAGE_MOVES : MANAGE_MOVES_IDLE;
  return background_sleep (&tidy->background,
                           (clock_now () - start) *
                               (busy ? BUSY_REST : IDLE_REST) / 4);
}

/* How many pages are kept of those that are free. */
static uint64_t
pages_to_keep (const struct tidy *tidy)
{
  const struct shrink_pages *pages = &tidy->shrinking.pages;
  const uint64_t least = TIDY_KEEP / pages->size;
  const uint64_t share = pages->total / TIDY_KEEP_SHARE;

  if (tidy->options.keep != UINT64_MAX)
    return tidy->options.keep / pages->size;
  return share > least ? share : least;
}

/* Give pages back, if there are too many that stay free, and not while many
 * more become free: then each costs most.  Returns 1 when the thread is to
 * end, 0, -1.
 */
static int
give_back (struct tidy *tidy, struct status *status)
{
  struct shrinking *shrinking = &tidy->shrinking;
  struct shrink_pages *pages = &shrinking->pages;
  const uint64_t before = pages->free;
  uint64_t start;

  if (manage_free_pages (tidy->store, pages, status) == -1)
    return -1;
  shrinking->keep = pages_to_keep (tidy);
  tidy->unfinished = pages->free > shrinking->keep;
  if (!tidy->unfinished || pages->free + pages->free / USED_UP < before ||
      pages->free > before + shrinking->many)
    return 0;
  shrinking->cut = 0;
  shrinking->least = pages->free;
  while (pages->free > shrinking->keep) {
    start = clock_now ();
    if (manage_shrink_step (tidy->store, shrinking, status) == -1)
      return -1;
    if (!rest (tidy, start))
      return 1;
    if (manage_free_grow (shrinking))
      return 0;
    shrinking->keep = pages_to_keep (tidy);
  }
  tidy->unfinished = false;
  store_ask_checkpoint (tidy->store);
  return 0;
}

/* Step on until all is counted, but for the layers in FAILED.  Returns as
 * give_back.
 */
static int
count_on (struct tidy *tidy, struct failed_layers *failed,
          struct status *status)
{
  uint64_t start, bytes;
  bool done;

  if (STORE_READ (tidy->store, status, connection,
                  quota_is_counted (connection, &done, status)) == -1)
    return -1;
  while (!done) {
    start = clock_now ();
    if (manage_count_step (tidy->store, failed, &done, &bytes, status) == -1)
      return -1;
    if (!rest (tidy, start))
      return 1;
  }
  return 0;
}

/* Count for quotas.  Returns as give_back. */
static int
count (struct tidy *tidy, struct status *status)
{
  struct failed_layers failed = { .count = 0 };
  const int r = count_on (tidy, &failed, status);

  return failed_layers_end (&failed, r, status);
}

static int
is_stopping (uint64_t done, uint64_t total, void *opaque)
{
  struct tidy *tidy = opaque;

  (void)done;
  (void)total;
  return background_is_stopping (&tidy->background);
}

/* Remove what was kept of receptions for too long, or left.  Returns as
 * give_back.
 */
static int
clean (struct tidy *tidy, struct status *status)
{
  const uint64_t now = clock_now ();
  unsigned removed;

  if (tidy->cleaned != 0 && now - tidy->cleaned < CLEAN_EVERY)
    return 0;
  tidy->cleaned = now;
  if (manage_receive_clean (tidy->store, &removed, status) == -1)
    return -1;
  if (removed == 0 ||
      manage_reclaim (tidy->store, is_stopping, tidy, NULL, status) == 0)
    return 0;
  /* Somebody else does it. */
  return status->error == ECANCELED || status->error == EBUSY ? 0 : -1;
}

/* Do a part of the work.  A failure is told, and not again and again.  Returns
 * as give_back.
 */
static int
try (struct tidy *tidy, int (*work) (struct tidy *tidy, struct status *status),
     struct complaint *complaint)
{
  struct status status;
  const int r = work (tidy, &status);

  if (r == -1)
    status_prefix (&status, "tidying up");
  complaint_tell (complaint, r, &status, tidy->options.warn);
  return r;
}

/* Delete what has been in the trash for its time, and free its space.  Returns
 * as give_back.
 */
static int
empty_trash (struct tidy *tidy, struct status *status)
{
  unsigned purged;
  const int r =
      emptying_run (&tidy->trash, tidy->store, time (NULL), clock_now (),
                    tidy->options.warn, &purged, status);

  if (purged == 0 ||
      manage_reclaim (tidy->store, is_stopping, tidy, NULL, status) == 0)
    return r;
  return background_is_stopping (&tidy->background) ? 1 : -1;
}

/* The time passes also where nobody writes any more.  Returns as give_back. */
static int
look_at_trash (struct tidy *tidy)
{
  if (store_commits (tidy->store) == 0 || tidy->looks++ % LOOK_ALWAYS != 0)
    return 0;
  return try (tidy, empty_trash, &tidy->emptying);
}

/* See what there is to do, and do it: pages are given back although a damaged
 * layer cannot be counted.  Returns as give_back.
 */
static int
look (struct tidy *tidy)
{
  const uint64_t commits = store_commits (tidy->store);
  int r, counted;

  if (commits == 0 || (commits == tidy->commits && !tidy->unfinished &&
                       ++tidy->skipped < LOOK_ALWAYS))
    return 0;
  tidy->skipped = 0;
  tidy->commits = commits;
  try (tidy, clean, &tidy->cleaning);
  counted = r = try (tidy, count, &tidy->counting);
  if (r != 1 && tidy->options.shrink)
    r = try (tidy, give_back, &tidy->giving_back);
  return r == 0 ? counted : r;
}

static void *
run (void *opaque)
{
  struct tidy *tidy = opaque;
  int r;

  do {
    r = look_at_trash (tidy);
    if (r == 0)
      r = look (tidy);
    tidy->unfinished = tidy->unfinished || r == -1;
  } while (r != 1 && background_sleep (&tidy->background,
                                       (r == -1 ? RETRY_AFTER : LOOK_EVERY) *
                                           CLOCK_MILLISECOND));
  return NULL;
}

struct tidy *
tidy_start (struct store *store, const struct tidy_options *options,
            struct status *status)
{
  struct tidy *tidy = calloc (1, sizeof *tidy);

  if (tidy == NULL) {
    status_no_memory (status);
    return NULL;
  }
  tidy->store = store;
  tidy->options = *options;
  tidy->shrinking.nanoseconds = BUSY_STEP;
  tidy->shrinking.moves = MANAGE_MOVES;
  tidy->shrinking.many = SHRINK_MANY;
  if (background_start (&tidy->background, run, tidy, status) == 0)
    return tidy;
  free (tidy);
  return NULL;
}

void
tidy_stop (struct tidy *tidy)
{
  background_stop (&tidy->background);
  complaint_end (&tidy->counting);
  complaint_end (&tidy->giving_back);
  complaint_end (&tidy->cleaning);
  complaint_end (&tidy->emptying);
  emptying_end (&tidy->trash);
  free (tidy);
}
