/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Emptying the trash: see emptying.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/grow.h"
#include "base/times.h"
#include "manage.h"
#include "server/emptying.h"

/* For how long the time of a disk must be over, in seconds, at most. */
#define PATIENCE 3600

/* A disk whose time is over. */
struct overdue {
  struct trashed_disk disk;
  uint64_t since; /* when that was seen first, by clock_now */
};

/* What there is now. */
struct look {
  const struct emptying *before;
  struct emptying after;
  size_t passed; /* of those before, which have lower ids */
  int64_t now;
  uint64_t clock;
  bool no_memory;
};

/* Since when is DISK overdue?  Each move to the trash raises its epoch. */
static uint64_t
overdue_since (struct look *look, const struct trashed_disk *disk)
{
  const struct emptying *before = look->before;
  const struct overdue *seen;

  while (look->passed < before->count &&
         before->disks[look->passed].disk.disk.id < disk->disk.id)
    look->passed++;
  if (look->passed == before->count)
    return look->clock;
  seen = &before->disks[look->passed];
  return seen->disk.disk.id == disk->disk.id &&
                 seen->disk.disk.epoch == disk->disk.epoch
             ? seen->since
             : look->clock;
}

static int
note_overdue (const struct trashed_disk *disk, void *opaque)
{
  struct look *look = opaque;
  struct emptying *after = &look->after;
  struct overdue *disks;

  if (disk->until == 0 || disk->until > look->now)
    return 0;
  disks = grow (after->disks, after->count, sizeof *disks);
  look->no_memory = disks == NULL;
  if (disks == NULL)
    return 1;
  after->disks = disks;
  disks[after->count++] = (struct overdue){ *disk, overdue_since (look, disk) };
  return 0;
}

/* See what is overdue, in place of what was. */
static int
look_again (struct emptying *emptying, struct store *store, int64_t now,
            uint64_t clock, struct status *status)
{
  struct look look = { .before = emptying, .now = now, .clock = clock };
  int r = manage_list_trash (store, note_overdue, &look, status);

  if (r == 0 && look.no_memory)
    r = status_no_memory (status);
  if (r == -1) {
    free (look.after.disks);
    return -1;
  }
  free (emptying->disks);
  *emptying = look.after;
  return 0;
}

/* Has its time been over for long enough? */
static bool
may_go (const struct overdue *overdue, uint64_t clock)
{
  const struct trashed_disk *disk = &overdue->disk;
  const int64_t span = disk->deleted ? disk->until - disk->deleted : PATIENCE;
  const int64_t wait = span >= 0 && span < PATIENCE ? span : PATIENCE;

  return clock - overdue->since >= wait * CLOCK_SECOND;
}

/* Tell of DISK, which is gone. */
static void
tell (const struct trashed_disk *disk, void (*warn) (const char *message))
{
  char until[TIMES_TEXT_MAX];
  struct status line;

  status_fail (&line, 0,
               "deleted disk '%s' (number %" PRId64
               ") for good: it was in the trash until %s",
               disk->name[0] ? disk->name : "?", disk->disk.id,
               times_local (disk->until, until));
  warn (line.message);
}

int
emptying_run (struct emptying *emptying, struct store *store, int64_t now,
              uint64_t clock, void (*warn) (const char *message),
              unsigned *purged, struct status *status)
{
  struct status failure;
  int r = look_again (emptying, store, now, clock, status);

  *purged = 0;
  for (size_t i = 0; r != -1 && i < emptying->count; i++) {
    const struct overdue *overdue = &emptying->disks[i];

    if (!may_go (overdue, clock))
      continue;
    if (manage_purge (store, &overdue->disk, &failure) == 0) {
      tell (&overdue->disk, warn);
      ++*purged;
    }
    else if (r == 0 && failure.error != EBUSY && failure.error != ENOENT) {
      *status = failure;
      r = 1;
    }
  }
  return r == 1 ? status_prefix (status, "emptying the trash") : r;
}

void
emptying_end (struct emptying *emptying)
{
  free (emptying->disks);
}
