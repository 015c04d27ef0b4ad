/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Snapshots by schedule: see history.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/background.h"
#include "rows/changes.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "base/clock.h"
#include "base/complaint.h"
#include "base/grow.h"
#include "sqlite/guard.h"
#include "server/history.h"
#include "server/hook.h"
#include "manage/manage-parts.h"
#include "rows/inherit.h"
#include "rows/snapshots.h"
#include "base/times.h"
#include "engine/engine.h"

/* The longest sleep, in seconds: the clock may be set meanwhile, and somebody
 * may give a disk another schedule; the manual says so.
 */
#define LONGEST_SLEEP 10

/*--------------------------------------------------------------------
 * What there is.
 */

/* What is known of a disk from one run to the next. */
struct tended {
  int64_t disk;
  struct changes changes;
  struct complaint complaint;
  /* In the interval of this number: */
  int64_t interval;
  unsigned taken, deleted;
};

/* A snapshot of the schedule. */
struct entry {
  struct snapshot_info info;
  bool future;   /* it was made later than now, as it says */
  bool held;     /* somebody keeps it from being deleted */
  int64_t taken; /* when it was taken, as far as can be told */
};

/* A disk at hand. */
struct visit {
  const struct history_options *options;
  struct tended *tended;
  struct background *background; /* of the thread, or NULL */
  struct disk_info disk;
  int64_t now;
  int64_t interval; /* of this disk, in seconds; 0: it has no schedule */
  struct schedule_rules keep;
  const char *path; /* of the database */
  int guard;        /* keeps others from reading what is deleted, or -1 */

  bool due;     /* the last snapshot of the schedule is of another slot */
  bool changed; /* since the newest snapshot */
  bool more;    /* that is not known yet */
  bool taken;   /* by take */
  struct snapshot_info newest;      /* of id 0: there is none */
  char name[SNAPSHOT_NAME_MAX + 1]; /* of the one that is taken */
  int64_t called;                   /* the time in its name */
  const char *text;                 /* its description, or NULL */

  /* Snapshots of the schedule, the oldest first. */
  struct entry *entries;
  size_t count;
  bool no_memory;
  unsigned deleted; /* by thin_out */
};

static int
collect (const struct snapshot_info *info, void *opaque)
{
  struct visit *visit = opaque;
  struct entry *entries;

  visit->newest = *info;
  if (!info->automatic)
    return 0;
  entries = grow (visit->entries, visit->count, sizeof *entries);
  visit->no_memory = entries == NULL;
  if (visit->no_memory)
    return 1;
  visit->entries = entries;
  entries[visit->count++] = (struct entry){ .info = *info };
  return 0;
}

/* Tell when the snapshots were taken.  Those that say "later than now" were
 * made while the clock was ahead: by how much is not known, but their order
 * is.  They count as if the last of them had been taken just before the next
 * one that is not of the future, or now, and the others as long before it as
 * they say.
 *
 *    10:00  11:00  2028-01-01 03:00  2028-01-01 04:00  12:20   now: 12:30
 *    10:00  11:00             11:20             12:20  12:20
 */
static void
place_in_time (struct visit *visit)
{
  int64_t later = visit->now, ahead = 0;

  for (size_t i = visit->count; i > 0; i--) {
    struct entry *entry = &visit->entries[i - 1];
    const int64_t created = entry->info.created;

    entry->future = created > visit->now;
    if (!entry->future)
      ahead = 0;
    else if (created - ahead > later)
      ahead = created - later;
    entry->taken = later = created - ahead;
  }
}

/* Read the snapshots of the disk. */
static int
read_snapshots (struct connection *connection, struct visit *visit,
                struct status *status)
{
  visit->count = 0;
  visit->newest.id = 0;
  if (snapshots_list (connection, visit->disk.id, collect, visit, status) == -1)
    return -1;
  if (visit->no_memory)
    return status_no_memory (status);
  place_in_time (visit);
  return 0;
}

/*--------------------------------------------------------------------
 * Taking a snapshot.
 */

/* The number of the interval at hand; they begin at multiples of it. */
static int64_t
interval_of (const struct visit *visit, int64_t seconds)
{
  return seconds / visit->interval;
}

/* Find out how often there is a snapshot of the disk: as the server was told,
 * or else as its settings say.
 */
static int
find_interval (struct connection *connection, struct visit *visit,
               struct status *status)
{
  struct setting_value value;

  visit->interval = visit->options->interval;
  if (visit->interval > 0)
    return 0;
  return settings_look (connection, setting_find ("auto-snapshot"),
                        visit->disk.id, &value, status) == -1
             ? -1
             : schedule_parse_interval (value.text, &visit->interval, status);
}

/* Is it time for a snapshot?  What the last one says counts: where the clock
 * was ahead it is of another interval, and one is taken.
 */
static bool
is_due (const struct visit *visit)
{
  return visit->count == 0 ||
         interval_of (visit, visit->entries[visit->count - 1].info.created) !=
             interval_of (visit, visit->now);
}

/* Find the disk at hand, as DISK, and its interval.  Returns 1, 0 where it has
 * no schedule, or is gone, perhaps into the trash (rows/trash.h), or -1.
 */
static int
find_disk (struct connection *connection, struct visit *visit,
           struct disk_info *disk, struct status *status)
{
  int r;

  visit->interval = 0;
  visit->count = 0;
  r = disks_find_id (connection, visit->disk.id, disk, status);
  if (r != 1 || strchr (disk->name, '/'))
    return r == -1 ? -1 : 0;
  if (find_interval (connection, visit, status) == -1)
    return -1;
  if (visit->interval == 0)
    return 0;
  return features_allow (connection, disk->id, FEATURE_CHANGE, status) == -1
             ? -1
             : 1;
}

/* See what there is and what is to be done. */
static int
look (struct connection *connection, struct visit *visit, struct status *status)
{
  int r;

  visit->changed = visit->more = visit->due = false;
  r = find_disk (connection, visit, &visit->disk, status);
  if (r != 1)
    return r;
  if (read_snapshots (connection, visit, status) == -1)
    return -1;
  visit->due = is_due (visit);
  return visit->due ? changes_look (connection, &visit->disk, &visit->newest,
                                    &visit->tended->changes, &visit->changed,
                                    &visit->more, status)
                    : 0;
}

/* Take the snapshot, unless another server has just done so, or the disk has
 * none any more: much may have happened since, above all where there is a hook.
 * Where the clock was set back there may be one of that name.
 */
static int
take (struct connection *connection, void *opaque, struct status *status)
{
  struct visit *visit = opaque;
  char time[TIMES_TEXT_MAX];
  struct disk_info disk;
  int64_t id;
  int r;

  visit->taken = false;
  r = find_disk (connection, visit, &disk, status);
  if (r != 1)
    return r;
  if (read_snapshots (connection, visit, status) == -1)
    return -1;
  if (!is_due (visit))
    return 0;
  times_utc (visit->called, time);
  snprintf (visit->name, sizeof visit->name, "auto-%s", time);
  r = snapshots_create (connection, &disk, visit->name, true, 0, visit->now,
                        &id, status);
  for (int i = 2; r == -1 && status->error == EEXIST && i < 1000; i++) {
    snprintf (visit->name, sizeof visit->name, "auto-%s-%d", time, i);
    r = snapshots_create (connection, &disk, visit->name, true, 0, visit->now,
                          &id, status);
  }
  if (r == 0 && visit->text)
    r = properties_set_text (connection, PROPERTY_SNAPSHOT, id,
                             PROPERTY_DESCRIPTION, visit->text, status);
  visit->taken = r == 0;
  return r == -1 ? -1 : read_snapshots (connection, visit, status);
}

/* Tell the hook what is happening.  A failure is told, and passed by. */
static int
call_hook (struct visit *visit, const char *when, const char *result)
{
  const struct hook_event event = {
    .when = when,
    .database = visit->path,
    .disk = visit->disk.name,
    .snapshot = visit->name,
    .result = result,
  };
  struct status status;

  if (hook_call (&visit->options->hook, &event, visit->background, &status) ==
      0)
    return 0;
  status_prefix (&status, "disk '%s': snapshot-hook", visit->disk.name);
  visit->options->warn (status.message);
  return -1;
}

/* Take the snapshot between two calls of the hook.  It is taken whatever the
 * hook says: one that is as after a crash is better than none.  What it shows,
 * and so its time, is of when the first call has ended; its name was told then.
 */
static int
take_with_hook (struct store *store, struct visit *visit, struct status *status)
{
  const uint64_t began = clock_now ();
  char time[TIMES_TEXT_MAX];
  int r;

  times_utc (visit->now, time);
  snprintf (visit->name, sizeof visit->name, "auto-%s", time);
  if (call_hook (visit, "before", "") == -1)
    visit->text = "as after a crash: the snapshot-hook had failed";
  visit->now += (clock_now () - began) / CLOCK_SECOND;
  r = store_change (store, take, visit, status);
  call_hook (visit, "after", r == 0 && visit->taken ? "taken" : "none");
  return r;
}

/*--------------------------------------------------------------------
 * Thinning out.
 */

/* The next newer snapshot that can make snapshot I superfluous, or NULL.  One
 * of the future cannot, as its time is a guess, unless I is one, too.
 */
static const struct entry *
next_newer (const struct visit *visit, size_t i)
{
  const bool future = visit->entries[i].future;

  for (i++; i < visit->count; i++)
    if (future || !visit->entries[i].future)
      return &visit->entries[i];
  return NULL;
}

/* Does RULE keep snapshot I?  It does if no newer one is in the same slot. */
static bool
rule_keeps (const struct schedule_rule *rule, const struct visit *visit,
            size_t i)
{
  const int64_t taken = visit->entries[i].taken;
  const struct entry *next = next_newer (visit, i);

  if (visit->now - taken > rule->span)
    return false;
  return rule->every == 0 || next == NULL ||
         next->taken / rule->every != taken / rule->every;
}

static bool
is_kept (const struct visit *visit, size_t i)
{
  /* The newest is what tells when the next is due. */
  if (i + 1 == visit->count || visit->entries[i].held)
    return true;
  for (size_t rule = 0; rule < visit->keep.count; rule++)
    if (rule_keeps (&visit->keep.rules[rule], visit, i))
      return true;
  return false;
}

/* How many snapshots may be deleted now: in each interval one more than were
 * taken in it.  That keeps up with the schedule.  If the clock is wrong, or
 * the computer was off for a month, which looks the same, all may be too old
 * at once: then they go slowly, and not before anybody can notice.
 */
static unsigned
deletions_left (const struct visit *visit)
{
  return visit->tended->taken + 1 - visit->tended->deleted;
}

/* Delete SNAPSHOT.  Returns 1, 0 where somebody reads it, or -1. */
static int
delete_unread (struct connection *connection, struct visit *visit,
               const struct snapshot_info *snapshot, struct status *status)
{
  if (manage_keep_readers_out (visit->path, snapshot, &visit->guard, status) ==
      -1)
    return status->error == EBUSY ? 0 : -1;
  return snapshots_delete (connection, snapshot, status) == -1 ? -1 : 1;
}

/* Find out which of those that were read are held. */
static int
find_held (struct connection *connection, struct visit *visit,
           struct status *status)
{
  for (size_t i = 0; i < visit->count; i++)
    if (snapshots_is_held (connection, &visit->entries[i].info,
                           &visit->entries[i].held, status) == -1)
      return -1;
  return 0;
}

/* The same, and which rules hold for the disk.  Only deleting depends on that:
 * where it cannot be read, snapshots are still taken.
 */
static int
find_kept (struct connection *connection, struct visit *visit,
           struct status *status)
{
  struct setting_value value;

  visit->keep = visit->options->keep;
  if (visit->keep.count == 0 &&
      (settings_look (connection, setting_find ("keep"), visit->disk.id, &value,
                      status) == -1 ||
       schedule_parse_rules (value.text, &visit->keep, status) == -1))
    return -1;
  return find_held (connection, visit, status);
}

/* Delete what no rule keeps, the oldest first, as many as may be.  Somebody
 * may have renamed one since they were read: it is his now; or changed the
 * rules, or deleted the disk into the trash.  One that somebody
 * reads waits for a later run.
 */
static int
thin_out (struct connection *connection, void *opaque, struct status *status)
{
  struct visit *visit = opaque;
  struct disk_info disk;
  unsigned deleted = 0;
  int r;

  visit->deleted = 0;
  connection_frees_space (connection);
  r = find_disk (connection, visit, &disk, status);
  if (r != 1)
    return r;
  if (read_snapshots (connection, visit, status) == -1 ||
      find_kept (connection, visit, status) == -1)
    return -1;
  for (size_t i = 0; i < visit->count && deleted < deletions_left (visit); i++)
    if (!is_kept (visit, i)) {
      r = delete_unread (connection, visit, &visit->entries[i].info, status);
      if (r == -1)
        return -1;
      deleted += r;
    }
  visit->deleted = deleted;
  return 0;
}

static bool
has_surplus (const struct visit *visit)
{
  for (size_t i = 0; i < visit->count; i++)
    if (!is_kept (visit, i))
      return true;
  return false;
}

/*--------------------------------------------------------------------
 * A run over the disks.
 */

static bool
is_ending (const struct visit *visit)
{
  return visit->background && background_is_stopping (visit->background);
}

/* What was done in an earlier interval does not count any more. */
static void
begin_interval (struct visit *visit)
{
  struct tended *tended = visit->tended;

  if (tended->interval == interval_of (visit, visit->now))
    return;
  tended->interval = interval_of (visit, visit->now);
  tended->taken = tended->deleted = 0;
}

static int
visit_disk (struct store *store, struct visit *visit, struct status *status)
{
  struct tended *tended = visit->tended;
  int r;

  do
    r = STORE_READ (store, status, connection,
                    look (connection, visit, status));
  while (r == 0 && visit->more && !is_ending (visit));
  if (r == 0 && visit->interval > 0)
    begin_interval (visit);
  if (r == 0 && visit->changed) {
    r = visit->options->hook.program
            ? take_with_hook (store, visit, status)
            : store_change (store, take, visit, status);
    tended->taken += r == 0 && visit->taken;
  }
  if (r == 0 && visit->interval > 0)
    r = STORE_READ (store, status, connection,
                    find_kept (connection, visit, status));
  if (r == 0 && has_surplus (visit) && deletions_left (visit) > 0) {
    r = store_change (store, thin_out, visit, status);
    if (r == 0)
      tended->deleted += visit->deleted;
  }
  if (visit->guard != -1)
    guard_release (visit->guard);
  free (visit->entries);
  if (r == -1)
    status_prefix (status, "history of disk '%s'", visit->disk.name);
  return r;
}

/* The disks to visit. */
struct disk_list {
  struct disk_info *disks;
  size_t count;
  bool no_memory;
};

static int
collect_disk (const struct disk_info *info, void *opaque)
{
  struct disk_list *list = opaque;
  struct disk_info *disks = grow (list->disks, list->count, sizeof *disks);

  list->no_memory = disks == NULL;
  if (list->no_memory)
    return 1;
  list->disks = disks;
  disks[list->count++] = *info;
  return 0;
}

/* Disks that were visited, by id. */
struct history_memory {
  struct tended *disks;
  size_t count;
  bool active;                   /* the last run has found a schedule */
  int64_t next;                  /* when the next slot of one begins */
  struct background *background; /* of the thread, or NULL */
};

/* Go on with those of LIST only, which is by id as well: disks come and go.
 * Returns 0, or -1 where there is no memory, with all as it was.
 */
static int
tend_those (struct history_memory *memory, const struct disk_list *list)
{
  struct tended *disks = calloc (list->count + 1, sizeof *disks);
  size_t old = 0;

  if (disks == NULL)
    return -1;
  for (size_t i = 0; i < list->count; i++) {
    disks[i].disk = list->disks[i].id;
    for (; old < memory->count && memory->disks[old].disk <= disks[i].disk;
         old++)
      if (memory->disks[old].disk == disks[i].disk)
        disks[i] = memory->disks[old];
      else
        complaint_end (&memory->disks[old].complaint);
  }
  for (; old < memory->count; old++)
    complaint_end (&memory->disks[old].complaint);
  free (memory->disks);
  memory->disks = disks;
  memory->count = list->count;
  return 0;
}

static void
tend_none (struct history_memory *memory)
{
  for (size_t i = 0; i < memory->count; i++)
    complaint_end (&memory->disks[i].complaint);
  free (memory->disks);
}

/* Visit one of the disks; say of a failure what is new. */
static int
tend (struct store *store, struct visit *visit, struct status *status)
{
  const char *only = visit->options->disk;
  int r;

  if (only && strcmp (only, visit->disk.name) != 0)
    return 0;
  r = visit_disk (store, visit, status);
  complaint_tell (&visit->tended->complaint, r, status, visit->options->warn);
  return r;
}

/* Does any disk have a schedule?  Returns 1, 0 or -1. */
static int
has_schedule (struct store *store, const struct history_options *options,
              struct status *status)
{
  return options->interval > 0
             ? 1
             : STORE_READ (store, status, connection,
                           settings_has (connection,
                                         setting_find ("auto-snapshot"),
                                         status));
}

/* A disk was visited that goes by this schedule. */
static void
note_schedule (struct history_memory *memory, const struct visit *visit)
{
  int64_t next;

  if (visit->interval == 0)
    return;
  next = (interval_of (visit, visit->now) + 1) * visit->interval;
  if (!memory->active || next < memory->next)
    memory->next = next;
  memory->active = true;
}

/* Visit all disks, also after one of them has failed; STATUS then says what
 * the first failure was, and all have been told of.  Returns 0, 1 where some
 * failed, or -1 where none could be visited.
 */
static int
run (struct store *store, const struct history_options *options,
     struct history_memory *memory, int64_t now, struct status *status)
{
  struct disk_list list = { .count = 0 };
  struct status failure;
  int r = has_schedule (store, options, status);

  memory->active = false;
  if (r != 1)
    return r;
  r = store_list (store, collect_disk, &list, status);
  if (r == 0 && (list.no_memory || tend_those (memory, &list) == -1))
    r = status_no_memory (status);
  for (size_t i = 0; r != -1 && i < list.count; i++) {
    struct visit visit = {
      .options = options,
      .tended = &memory->disks[i],
      .background = memory->background,
      .disk = list.disks[i],
      .now = now,
      .called = now,
      .path = store_path (store),
      .guard = -1,
    };

    if (tend (store, &visit, &failure) == -1 && r == 0) {
      *status = failure;
      r = 1;
    }
    note_schedule (memory, &visit);
  }
  free (list.disks);
  return r;
}

struct history_memory *
history_remember (void)
{
  return calloc (1, sizeof (struct history_memory));
}

void
history_forget (struct history_memory *memory)
{
  tend_none (memory);
  free (memory);
}

int
history_run_on (struct store *store, const struct history_options *options,
                struct history_memory *memory, int64_t now,
                struct status *status)
{
  return run (store, options, memory, now, status) == 0 ? 0 : -1;
}

int
history_run (struct store *store, const struct history_options *options,
             int64_t now, struct status *status)
{
  struct history_memory memory = { .count = 0 };
  const int r = history_run_on (store, options, &memory, now, status);

  tend_none (&memory);
  return r;
}

/*--------------------------------------------------------------------
 * The thread.
 */

struct history {
  struct store *store;
  struct history_options options;
  struct background background;

  /* The thread's own. */
  struct history_memory memory;
  struct complaint listing, reclaiming;
};

/* Sleep until the next slot begins, or the clock or a schedule was perhaps set.
 * Returns false when the thread is to end.
 */
static bool
sleep_on (struct history *history)
{
  const struct history_memory *memory = &history->memory;
  const int64_t left =
      memory->active ? memory->next - time (NULL) : LONGEST_SLEEP;

  return background_sleep (&history->background,
                           CLOCK_SECOND * (left < 1 ? 1
                                           : left < LONGEST_SLEEP
                                               ? left
                                               : LONGEST_SLEEP));
}

/* Reclaiming goes on until the thread is to end. */
static int
is_stopping (uint64_t done, uint64_t total, void *opaque)
{
  struct history *history = opaque;

  (void)done;
  (void)total;
  return background_is_stopping (&history->background);
}

static void *
keep_history (void *opaque)
{
  struct history *history = opaque;
  void (*warn) (const char *message) = history->options.warn;
  struct status status;
  int r;

  do {
    r = run (history->store, &history->options, &history->memory, time (NULL),
             &status);
    complaint_tell (&history->listing, r, &status, warn);
    r = history->memory.active ? manage_reclaim (history->store, is_stopping,
                                                 history, NULL, &status)
                               : 0;
    complaint_tell (&history->reclaiming, r, &status, warn);
  } while (sleep_on (history));
  return NULL;
}

struct history *
history_start (struct store *store, const struct history_options *options,
               struct status *status)
{
  struct history *history = calloc (1, sizeof *history);

  if (history == NULL) {
    status_no_memory (status);
    return NULL;
  }
  history->store = store;
  history->options = *options;
  history->memory.background = &history->background;
  if (background_start (&history->background, keep_history, history, status) ==
      0)
    return history;
  free (history);
  return NULL;
}

void
history_stop (struct history *history)
{
  background_stop (&history->background);
  tend_none (&history->memory);
  complaint_end (&history->listing);
  complaint_end (&history->reclaiming);
  free (history);
}
