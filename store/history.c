/* Snapshots by schedule: see history.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "background.h"
#include "clock.h"
#include "grow.h"
#include "history.h"
#include "manage.h"
#include "snapshots.h"
#include "times.h"

/* A disk whose rows are new, but not its contents, is found out by comparing
 * at most so many blocks.
 */
#define COMPARE_BLOCKS 4096

/* The longest sleep, in seconds: the clock may be set meanwhile. */
#define LONGEST_SLEEP 30

/*--------------------------------------------------------------------
 * Rules.
 */

/* Read one rule, up to END. */
static bool
parse_rule (const char *text, const char *end, struct history_rule *rule)
{
  char every[20], span[20];
  const char *colon = memchr (text, ':', end - text);
  int length;

  if (colon == NULL || colon - text >= (int)sizeof every ||
      end - colon > (int)sizeof span)
    return false;
  length = colon - text;
  snprintf (every, sizeof every, "%.*s", length, text);
  length = end - colon - 1;
  snprintf (span, sizeof span, "%.*s", length, colon + 1);
  rule->every = 0;
  rule->span = INT64_MAX;
  return (strcmp (every, "all") == 0 ||
          times_parse_span (every, &rule->every)) &&
         (strcmp (span, "ever") == 0 || times_parse_span (span, &rule->span));
}

int
history_parse_rules (struct history_options *options, const char *text,
                     struct status *status)
{
  const char *rule = text, *end;

  options->rules_count = 0;
  do {
    end = rule + strcspn (rule, ",");
    if (options->rules_count == HISTORY_RULES_MAX ||
        !parse_rule (rule, end, &options->rules[options->rules_count]))
      return status_fail (status, EINVAL, "'%s' is not a list of rules like %s",
                          text, HISTORY_RULES_DEFAULT);
    options->rules_count++;
    rule = end + 1;
  } while (*end != '\0');
  return 0;
}

/*--------------------------------------------------------------------
 * Taking a snapshot.
 */

/* A disk at hand. */
struct visit {
  const struct history_options *options;
  struct disk_info disk;
  int64_t now;

  bool due;     /* the last snapshot of the schedule is of another slot */
  bool changed; /* since the newest snapshot */
  struct snapshot_info newest; /* of id 0: there is none */

  /* Snapshots of the schedule, the oldest first. */
  struct snapshot_info *snapshots;
  size_t count;
  bool no_memory;
};

static int
collect (const struct snapshot_info *info, void *opaque)
{
  struct visit *visit = opaque;
  struct snapshot_info *snapshots;

  visit->newest = *info;
  if (!info->automatic)
    return 0;
  snapshots = grow (visit->snapshots, visit->count, sizeof *snapshots);
  visit->no_memory = snapshots == NULL;
  if (visit->no_memory)
    return 1;
  visit->snapshots = snapshots;
  snapshots[visit->count++] = *info;
  return 0;
}

/* Do block NUMBER of two views have the same bytes?  Returns 1, 0, -1. */
static int
same_block (struct connection *connection, const struct view *a,
            const struct view *b, int64_t number, char *buffer,
            struct status *status)
{
  const uint32_t block_size = a->block_size;
  const uint64_t offset = number * (uint64_t)block_size;

  if (view_read (connection, a, buffer, offset, block_size, status) == -1 ||
      view_read (connection, b, buffer + block_size, offset, block_size,
                 status) == -1)
    return -1;
  return memcmp (buffer, buffer + block_size, block_size) == 0;
}

/* Compare the rows that are newer than GENERATION with what the newest
 * snapshot shows in their place.
 */
static int
compare_rows (struct connection *connection, struct visit *visit,
              const struct view *head, const struct view *old,
              int64_t generation, struct status *status)
{
  static const char newer_sql[] =
      "SELECT number FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND generation > ?2 ORDER BY number";
  CLEANUP_STATEMENT sqlite3_stmt *newer =
      connection_statement (connection, newer_sql, status);
  char *buffer = malloc (2 * (size_t)head->block_size);
  int left = COMPARE_BLOCKS;
  int r = -1;

  if (buffer == NULL)
    status_no_memory (status);
  if (newer && buffer) {
    sqlite3_bind_int64 (newer, 1, head->layers[0].layer);
    sqlite3_bind_int64 (newer, 2, generation);
    while (!visit->changed &&
           (r = connection_step (connection, newer, status)) == 1) {
      r = same_block (connection, head, old, sqlite3_column_int64 (newer, 0),
                      buffer, status);
      if (r == -1)
        break;
      visit->changed = r == 0 || --left == 0;
    }
  }
  free (buffer);
  return r == -1 ? -1 : 0;
}

/* Does the disk differ from its newest snapshot? */
static int
look_for_changes (struct connection *connection, struct visit *visit,
                  struct status *status)
{
  const struct snapshot_info *newest = &visit->newest;
  struct disk_info snapshot = visit->disk;
  struct view head = { 0 }, old = { 0 };
  int64_t generation;
  int r;

  snapshot.snapshot = newest->id;
  r = snapshots_view (connection, &visit->disk, &head, status);
  if (r == 0 && newest->id != 0)
    r = snapshots_view (connection, &snapshot, &old, status);
  if (r == 0) {
    /* All rows of a new layer are newer than what it stands on. */
    generation = head.layers[0].layer == newest->layer ? newest->generation : 0;
    visit->changed =
        newest->id == 0 || head.size != old.size ||
        (generation == 0 &&
         (head.depth < 2 || head.layers[1].layer != newest->layer ||
          head.layers[1].generation != newest->generation));
  }
  if (r == 0 && !visit->changed)
    r = compare_rows (connection, visit, &head, &old, generation, status);
  view_free (&head);
  view_free (&old);
  return r;
}

/* Is it time for a snapshot?  Slots begin at multiples of the interval. */
static bool
is_due (const struct visit *visit)
{
  const int64_t interval = visit->options->interval;

  return visit->count == 0 ||
         visit->snapshots[visit->count - 1].created / interval !=
             visit->now / interval;
}

/* See what there is and what is to be done. */
static int
look (struct connection *connection, void *opaque, struct status *status)
{
  struct visit *visit = opaque;

  visit->count = 0;
  visit->newest.id = 0;
  visit->changed = false;
  if (snapshots_list (connection, visit->disk.id, collect, visit, status) == -1)
    return -1;
  if (visit->no_memory)
    return status_no_memory (status);
  visit->due = is_due (visit);
  return visit->due ? look_for_changes (connection, visit, status) : 0;
}

/* Take the snapshot.  Where the clock was set back there may be one of that
 * name.
 */
static int
take (struct connection *connection, void *opaque, struct status *status)
{
  struct visit *visit = opaque;
  char time[TIMES_TEXT_MAX], name[SNAPSHOT_NAME_MAX];
  int64_t id;
  int r;

  times_utc (visit->now, time);
  snprintf (name, sizeof name, "auto-%s", time);
  r = snapshots_create (connection, &visit->disk, name, true, 0, visit->now,
                        &id, status);
  for (int i = 2; r == -1 && status->error == EEXIST && i < 1000; i++) {
    snprintf (name, sizeof name, "auto-%s-%d", time, i);
    r = snapshots_create (connection, &visit->disk, name, true, 0, visit->now,
                          &id, status);
  }
  return r;
}

/*--------------------------------------------------------------------
 * Thinning out.
 */

/* Does RULE keep snapshot I?  It does if no newer one is in the same slot. */
static bool
rule_keeps (const struct history_rule *rule, const struct visit *visit,
            size_t i)
{
  const int64_t created = visit->snapshots[i].created;

  if (visit->now - created > rule->span)
    return false;
  return rule->every == 0 || i + 1 == visit->count ||
         visit->snapshots[i + 1].created / rule->every != created / rule->every;
}

static bool
is_kept (const struct visit *visit, size_t i)
{
  /* The newest is what tells when the next is due. */
  if (i + 1 == visit->count)
    return true;
  for (size_t rule = 0; rule < visit->options->rules_count; rule++)
    if (rule_keeps (&visit->options->rules[rule], visit, i))
      return true;
  return false;
}

/* Delete what no rule keeps. */
static int
thin_out (struct connection *connection, void *opaque, struct status *status)
{
  const struct visit *visit = opaque;

  for (size_t i = 0; i < visit->count; i++)
    if (!is_kept (visit, i) &&
        snapshots_delete (connection, &visit->snapshots[i], status) == -1)
      return -1;
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

static int
visit_disk (struct store *store, struct visit *visit, struct status *status)
{
  int r = store_look (store, look, visit, status);

  if (r == 0 && visit->due && visit->changed)
    r = store_change (store, take, visit, status);
  if (r == 0 && has_surplus (visit))
    r = store_change (store, thin_out, visit, status);
  free (visit->snapshots);
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

int
history_run (struct store *store, const struct history_options *options,
             int64_t now, struct status *status)
{
  struct disk_list list = { .count = 0 };
  int r = store_list (store, collect_disk, &list, status);

  if (r == 0 && list.no_memory)
    r = status_no_memory (status);
  for (size_t i = 0; r == 0 && i < list.count; i++) {
    struct visit visit = {
      .options = options,
      .disk = list.disks[i],
      .now = now,
    };

    if (options->disk == NULL || strcmp (options->disk, visit.disk.name) == 0)
      r = visit_disk (store, &visit, status);
  }
  free (list.disks);
  return r;
}

/*--------------------------------------------------------------------
 * The thread.
 */

struct history {
  struct store *store;
  struct history_options options;
  struct background background;
};

/* Sleep until the next slot begins, or the clock was perhaps set.  Returns
 * false when the thread is to end.
 */
static bool
sleep_on (struct history *history)
{
  const int64_t interval = history->options.interval;
  const int64_t seconds = interval - time (NULL) % interval;

  return background_sleep (
      &history->background,
      CLOCK_SECOND * (seconds < LONGEST_SLEEP ? seconds : LONGEST_SLEEP));
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
  bool failing = false;
  struct status status;
  int r;

  do {
    r = history_run (history->store, &history->options, time (NULL), &status);
    if (r == 0)
      r = manage_reclaim (history->store, is_stopping, history, NULL, &status);
    /* A failure is said once, not each time. */
    if (r == -1 && !failing && status.error != ECANCELED)
      history->options.warn (status.message);
    failing = r == -1;
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
  free (history);
}
