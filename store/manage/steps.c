/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What goes in steps, with the requests of clients between them: flattening,
 * freeing space, counting for quotas, and giving pages back.  See manage.h.
 *
 * Each step is a transaction of its own, so it can be interrupted at any time.
 * Who does one after the other lets others write for as long as each took.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <time.h>

#include "base/clock.h"
#include "base/failed.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/manage-parts.h"
#include "manage/request.h"
#include "rows/flatten.h"
#include "rows/quota.h"
#include "rows/reclaim.h"
#include "rows/snapshots.h"
#include "sqlite/guard.h"
#include "sqlite/shrink.h"

/* How long a step of giving pages back takes, in nanoseconds. */
#define SHRINK_STEP (10 * CLOCK_MILLISECOND)

/* For how many pages the list of free ones is put in order at a time. */
#define ARRANGED 131072

/* Let others write for as long as the last step took. */
static void
give_way (uint64_t start)
{
  const struct timespec taken = clock_timespec (clock_now () - start);

  nanosleep (&taken, NULL);
}

/* A flatten in progress. */
struct flattening {
  struct request request;
  struct flatten_progress committed;
  struct flatten_progress step; /* where the step at hand comes to */
  bool done;
};

/* Fail if a disk is past its quota. */
static int
check_quota (struct connection *connection, const struct disk_info *disk,
             struct status *status)
{
  struct quota_state quota;

  if (quota_look (connection, disk->id, &quota, status) == -1)
    return -1;
  return quota_check (&quota, disk->name, status);
}

/* Fail if DISK stands on what is received for it, or that on its base: what is
 * copied would be changes of the disk, and its tie would not be cut.
 */
static int
check_received (struct connection *connection, const struct disk_info *disk,
                struct status *status)
{
  static const char hidden_sql[] =
      "SELECT EXISTS (SELECT 1 FROM disk JOIN layer ON layer.id = disk.layer"
      " JOIN disk AS hidden ON hidden.name = disk.name || '" DISK_RECEIVING "'"
      " JOIN layer AS below ON below.id = hidden.layer"
      " WHERE disk.id = ?1"
      "  AND (below.parent IS NOT NULL OR layer.parent = below.id))";
  int64_t hidden;

  if (connection_integer_for (connection, hidden_sql, disk->id, &hidden,
                              status) == -1)
    return -1;
  if (!hidden)
    return 0;
  return status_fail (
      status, EBUSY,
      "disk '%s': what has changed in it elsewhere is being "
      "received, or a part of that is kept; wait until all is "
      "there, or give it up: \"sqlblock receive --abort DATABASE "
      "%s\" (what a command that was killed has left goes with "
      "\"sqlblock compact\")",
      disk->name, disk->name);
}

static int
flatten_step (struct connection *connection, void *opaque,
              struct status *status)
{
  struct flattening *flattening = opaque;
  int r = request_find_disk (connection, &flattening->request, status);

  if (r == 0)
    r = check_received (connection, &flattening->request.disk, status);
  /* A first try of the step may have been undone. */
  flattening->step = flattening->committed;
  if (r == 0)
    r = flatten_copy_step (connection, flattening->request.disk.id,
                           &flattening->step, status);
  flattening->done = r == 0;
  if (r == 1 && flattening->step.copied > flattening->committed.copied)
    r = check_quota (connection, &flattening->request.disk, status);
  return r == -1 ? -1 : 0;
}

static int
unflatten_step (struct connection *connection, void *opaque,
                struct status *status)
{
  struct flattening *flattening = opaque;
  int r = request_find_disk (connection, &flattening->request, status);

  connection_frees_space (connection);
  flattening->step = flattening->committed;
  if (r == 0)
    r = flatten_undo_step (connection, flattening->request.disk.id,
                           &flattening->step, status);
  flattening->done = r == 0;
  return r == -1 ? -1 : 0;
}

/* A flatten has found no space, as STATUS says: give back what it has copied,
 * so that others have what they had.  Returns -1.
 */
static int
unflatten (struct store *store, struct flattening *flattening,
           struct status *status)
{
  struct status failure;
  uint64_t start;

  if (status->error != ENOSPC)
    return -1;
  flattening->done = false;
  while (!flattening->done) {
    start = clock_now ();
    if (store_change (store, unflatten_step, flattening, &failure) == -1)
      return status_prefix (status,
                            "some of what was copied stays, which the next "
                            "flatten uses, and goes with the disk (%s)",
                            failure.message);
    flattening->committed = flattening->step;
    give_way (start);
  }
  return -1;
}

/* Find the disk.  Whatever is called so later, it is this one. */
static int
look_for_flattened (struct connection *connection,
                    struct flattening *flattening, struct status *status)
{
  if (request_find_disk (connection, &flattening->request, status) == -1)
    return -1;
  flattening->request.only = flattening->request.disk.id;
  return 0;
}

static int
flatten (struct store *store, struct flattening *flattening,
         progress_made progress, void *opaque, struct status *status)
{
  uint64_t start;

  while (!flattening->done) {
    start = clock_now ();
    if (store_change (store, flatten_step, flattening, status) == -1)
      return unflatten (store, flattening, status);
    flattening->committed = flattening->step;
    if (progress_report (progress, flattening->committed.copied, 0, opaque,
                         status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_flatten (struct store *store, const char *disk, progress_made progress,
                void *opaque, struct status *status)
{
  struct flattening flattening = { .request.target = disk };
  int guard, r;

  if (store_remote (store))
    return calls_ask_long (store, &call_manage_flatten,
                           &(struct manage_call){ .disk = disk }, progress,
                           opaque, status);
  if (STORE_READ (store, status, connection,
                  look_for_flattened (connection, &flattening, status)) == -1)
    return -1;
  guard = guard_flatten (store_path (store), flattening.request.only, status);
  if (guard == -1)
    return status_prefix (status, "disk '%s'", disk);
  flattening.committed.most = store_transaction_bytes (store);
  r = flatten (store, &flattening, progress, opaque, status);
  guard_release (guard);
  return r;
}

/* A reclaim in progress. */
struct reclaiming {
  struct failed_layers failed;
  struct reclaim_step step;
  bool done;
};

static int
reclaim (struct connection *connection, void *opaque, struct status *status)
{
  struct reclaiming *reclaiming = opaque;
  int r;

  connection_frees_space (connection);
  r = reclaim_step (connection, &reclaiming->failed, &reclaiming->step, status);
  reclaiming->done = r == 0;
  return r == -1 ? -1 : 0;
}

static int
reclaim_some (struct store *store, struct reclaiming *reclaiming,
              struct status *status)
{
  const int guard = guard_reclaim (store_path (store), status);
  int r;

  if (guard == -1)
    return -1;
  reclaiming->step =
      (struct reclaim_step){ .most = store_transaction_bytes (store) };
  r = store_change (store, reclaim, reclaiming, status);
  guard_release (guard);
  return r;
}

int
manage_reclaim_step (struct store *store, bool *done, uint64_t *freed,
                     struct status *status)
{
  struct reclaiming reclaiming = { .done = false };
  const int r = reclaim_some (store, &reclaiming, status);

  *done = reclaiming.done;
  *freed = reclaiming.step.freed;
  return r;
}

static int
release_all (struct connection *connection, void *opaque, struct status *status)
{
  (void)opaque;
  connection_frees_space (connection);
  return snapshots_unpin (connection, 0, status);
}

int
manage_forget_copies (struct store *store, struct status *status)
{
  int guard, r;

  if (store_remote (store))
    return calls_ask (store, &call_manage_forget_copies,
                      &(struct manage_call){ .size = 0 }, status);
  guard = guard_reclaim (store_path (store), status);
  if (guard == -1)
    return -1;
  r = store_change (store, release_all, NULL, status);
  guard_release (guard);
  return r;
}

/* See whether there is something to free, and whether that is safe. */
static int
look_for_garbage (struct connection *connection, bool *needed,
                  struct status *status)
{
  if (reclaim_check (connection, status) == -1)
    return -1;
  return reclaim_is_needed (connection, needed, status);
}

/* Step on to the end, and pass by layers that cannot be read. */
static int
reclaim_all (struct store *store, struct reclaiming *reclaiming,
             progress_made progress, void *opaque, uint64_t *freed,
             struct status *status)
{
  uint64_t start;

  while (!reclaiming->done) {
    start = clock_now ();
    if (reclaim_some (store, reclaiming, status) == 0)
      *freed += reclaiming->step.freed;
    else if (failed_layers_add (&reclaiming->failed, reclaiming->step.layer,
                                status) == -1)
      return -1;
    if (progress_report (progress, *freed, 0, opaque, status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_reclaim (struct store *store, progress_made progress, void *opaque,
                uint64_t *freed, struct status *status)
{
  struct reclaiming reclaiming = { .done = false };
  struct manage_call call = { .freed = 0 };
  uint64_t total = 0;
  bool needed;
  int r;

  if (store_remote (store)) {
    r = calls_ask_long (store, &call_manage_reclaim, &call, progress, opaque,
                        status);
    if (freed)
      *freed = call.freed;
    return r;
  }
  if (freed)
    *freed = 0;
  if (STORE_READ (store, status, connection,
                  look_for_garbage (connection, &needed, status)) == -1 ||
      (needed && manage_forget_copies (store, status) == -1))
    return status_prefix (status, "freeing space");
  /* A server asks often, and what is idle is not to write. */
  if (!needed)
    return 0;
  r = reclaim_all (store, &reclaiming, progress, opaque, &total, status);
  if (freed)
    *freed = total;
  r = failed_layers_end (&reclaiming.failed, r, status);
  return r == -1 ? status_prefix (status, "freeing space") : 0;
}

static int
reclaim_hidden (struct connection *connection, void *opaque,
                struct status *status)
{
  (void)opaque;
  connection_frees_space (connection);
  return reclaim_add_hidden (connection, status);
}

int
manage_reclaim_hidden (struct store *store, struct status *status)
{
  if (store_remote (store))
    return calls_ask (store, &call_manage_reclaim_hidden,
                      &(struct manage_call){ .size = 0 }, status);
  return store_change (store, reclaim_hidden, NULL, status);
}

/* A step of counting for quotas. */
struct quota_counting {
  const struct failed_layers *failed;
  struct quota_step step;
  bool done;
};

static int
count_step (struct connection *connection, void *opaque, struct status *status)
{
  struct quota_counting *counting = opaque;
  const int r =
      quota_count_step (connection, counting->failed, &counting->step, status);

  counting->done = r == 0;
  return r == -1 ? -1 : 0;
}

int
manage_count_step (struct store *store, struct failed_layers *failed,
                   bool *done, uint64_t *bytes, struct status *status)
{
  struct quota_counting counting = { .failed = failed };

  *done = false;
  *bytes = 0;
  if (store_step (store, count_step, &counting, status) == -1)
    return failed_layers_add (failed, counting.step.layer, status);
  *done = counting.done;
  *bytes = counting.step.bytes;
  return 0;
}

/* Step on to the end. */
static int
count_all (struct store *store, struct failed_layers *failed,
           progress_made progress, void *opaque, struct status *status)
{
  uint64_t start;
  uint64_t total = 0, some;
  bool done = false;

  while (!done) {
    start = clock_now ();
    if (manage_count_step (store, failed, &done, &some, status) == -1)
      return -1;
    total += some;
    if (progress_report (progress, total, 0, opaque, status) == -1)
      return -1;
    give_way (start);
  }
  return 0;
}

int
manage_count (struct store *store, progress_made progress, void *opaque,
              struct status *status)
{
  struct failed_layers failed = { .count = 0 };
  int r;

  if (store_remote (store))
    return calls_ask_long (store, &call_manage_count,
                           &(struct manage_call){ .size = 0 }, progress, opaque,
                           status);
  r = count_all (store, &failed, progress, opaque, status);
  r = failed_layers_end (&failed, r, status);
  return r == -1 ? status_prefix (status, "counting for quotas") : 0;
}

/*--------------------------------------------------------------------
 * Giving pages back (shrink.h).
 *
 * Where few are free, one by one.  Where many are, all at once, if only few
 * would have to move and at most half of the free ones are kept.  Else the list
 * of free pages is put in order for the last ARRANGED pages of the file, which
 * then go one by one; then for the next.
 */

/* At most this many pages move in one transaction. */
static uint64_t
moves_at_once (const struct shrinking *shrinking)
{
  return shrinking->moves < shrinking->most ? shrinking->moves
                                            : shrinking->most;
}

/* Can all pages go at once?  Returns 1, 0, -1. */
static int
survey (struct connection *connection, struct shrinking *shrinking,
        struct status *status)
{
  if (shrink_look (connection, &shrinking->pages, status) == -1)
    return -1;
  return shrink_moves_few (connection, &shrinking->pages,
                           moves_at_once (shrinking), status);
}

int
manage_free_pages (struct store *store, struct shrink_pages *pages,
                   struct status *status)
{
  return STORE_READ (store, status, connection,
                     shrink_look (connection, pages, status));
}

static int
shrink (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;

  connection_frees_space (connection);
  return shrink_step (connection, shrinking->keep, shrinking->most,
                      shrinking->nanoseconds, &shrinking->pages, status);
}

static int
shrink_all (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;
  const int r = shrink_at_once (connection, moves_at_once (shrinking), status);

  shrinking->done = r == 1;
  return r == -1 ? -1 : 0;
}

static int
arrange (struct connection *connection, void *opaque, struct status *status)
{
  struct shrinking *shrinking = opaque;

  return shrink_arrange (connection, ARRANGED, &shrinking->cut, status);
}

/* Prepare for giving back many pages, or give all back at once. */
static int
shrink_many (struct store *store, struct shrinking *shrinking,
             struct status *status)
{
  int r;

  shrinking->done = false;
  shrinking->cut = 0;
  if (shrinking->pages.free / 2 >= shrinking->keep) {
    r = STORE_READ (store, status, connection,
                    survey (connection, shrinking, status));
    if (r == -1)
      return -1;
    /* What moves is in the log once more; one by one that takes less. */
    if (r == 1 && store_apart (store, shrink_all, shrinking, status) == -1 &&
        status->error != ENOSPC)
      return -1;
  }
  if (!shrinking->done &&
      store_apart (store, arrange, shrinking, status) == -1) {
    if (status->error != ENOSPC)
      return -1;
    shrinking->cut = 1; /* in the order in which they are */
  }
  if (manage_free_pages (store, &shrinking->pages, status) == -1)
    return -1;
  shrinking->least = shrinking->pages.free;
  return 0;
}

bool
manage_free_grow (const struct shrinking *shrinking)
{
  return shrinking->pages.free > shrinking->least + shrinking->many / 4;
}

/* Is the list of free pages long, and not in order?  What becomes free is put
 * before what was in order.
 */
static bool
is_disordered (const struct shrinking *shrinking)
{
  return shrinking->pages.free >= shrinking->many &&
         (shrinking->cut == 0 || shrinking->pages.total <= shrinking->cut ||
          manage_free_grow (shrinking));
}

int
manage_shrink_step (struct store *store, struct shrinking *shrinking,
                    struct status *status)
{
  shrinking->most = store_log_share (store) / shrinking->pages.size;
  if (is_disordered (shrinking) && shrink_many (store, shrinking, status) == -1)
    return -1;
  /* So it gets on also where others free as much in that time. */
  if (shrinking->pages.free <= shrinking->keep)
    return 0;
  if (store_step (store, shrink, shrinking, status) == -1)
    return -1;
  if (shrinking->least > shrinking->pages.free)
    shrinking->least = shrinking->pages.free;
  return 0;
}

/* One step of giving back all.  A file system that is full has room for
 * short steps, each time that the log was emptied; *FAILED says how many pages
 * were free when it last had none.
 */
static int
shrink_in_room (struct store *store, struct shrinking *shrinking,
                uint64_t *failed, struct status *status)
{
  struct status ignored;

  while (manage_shrink_step (store, shrinking, status) == -1) {
    if (status->error != ENOSPC || shrinking->nanoseconds == 0 ||
        store_checkpoint (store, &ignored) == -1)
      return -1;
    if (shrinking->pages.free >= *failed)
      shrinking->nanoseconds /= 16;
    *failed = shrinking->pages.free;
  }
  return 0;
}

int
manage_shrink_file (struct store *store, uint64_t keep, progress_made progress,
                    void *opaque, struct status *status)
{
  struct shrinking shrinking = {
    .many = SHRINK_MANY,
    .nanoseconds = SHRINK_STEP,
  };
  struct manage_file file;
  uint64_t start, failed = 0;
  int served;

  if (store_remote (store))
    return calls_ask_long (store, &call_manage_shrink_file,
                           &(struct manage_call){ .keep = keep }, progress,
                           opaque, status);
  served = store_is_served (store, status);
  if (served == -1 || manage_file (store, &file, status) == -1 ||
      manage_free_pages (store, &shrinking.pages, status) == -1)
    return -1;
  shrinking.moves = served ? MANAGE_MOVES : MANAGE_MOVES_ALONE;
  shrinking.keep = keep / file.page_size;
  while (shrinking.pages.free > shrinking.keep) {
    start = clock_now ();
    if (shrink_in_room (store, &shrinking, &failed, status) == -1)
      return status_prefix (status, "giving pages back");
    if (progress_report (
            progress, file.free - shrinking.pages.free * shrinking.pages.size,
            file.free, opaque, status) == -1)
      return -1;
    if (served)
      give_way (start);
  }
  return store_checkpoint (store, status);
}
