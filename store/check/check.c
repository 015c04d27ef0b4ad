/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checking a database: see check.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check/check-call.h"
#include "check/check-parts.h"
#include "base/background.h"
#include "base/clock.h"
#include "sqlite/files.h"
#include "sqlite/guard.h"
#include "check/sealing.h"
#include "engine/engine.h"
#include "manage.h"

/* How often that is looked at, in milliseconds. */
#define WATCH_INTERVAL 10

/* SQLite's own check is tried so often.  Between that it waits, as many
 * milliseconds at most, for the log to be emptied.
 */
#define FILE_TRIES 4
#define FILE_WAIT  2000

/* The most that SQLite's own check tells. */
#define FILE_PROBLEMS "1000"

/* How often it is looked up at most whether a disk or snapshot shows a row.
 */
#define LOOKUPS 1000000

const char *
check_kind_name (enum check_kind kind)
{
  static const char *const names[] = {
    [CHECK_FILE] = "file",         [CHECK_BLOCK] = "block",
    [CHECK_LAYER] = "layer",       [CHECK_DISK] = "disk",
    [CHECK_SNAPSHOT] = "snapshot", [CHECK_COUNTERS] = "counters",
    [CHECK_FEATURE] = "feature",   [CHECK_PROPERTY] = "property",
    [CHECK_ORPHAN] = "orphan",     [CHECK_PAST_END] = "past-end",
    [CHECK_LEFTOVER] = "leftover",
  };

  return names[kind];
}

void
check_tell (struct check *check, struct check_problem *problem,
            const char *format, ...)
{
  struct check_problem told;
  struct status message;
  char text[900];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  /* What comes from the file may have anything in it. */
  status_fail (&message, EIO, "%s", text);
  if (problem->shown_total < problem->shown_count)
    problem->shown_total = problem->shown_count;
  if (problem->kind == CHECK_FILE)
    check->file_is_damaged = true;
  if (problem->kind == CHECK_LEFTOVER)
    check->counts->leftovers++;
  else
    check->counts->problems++;
  told = *problem;
  told.message = message.message;
  if (check->options->found) {
    pthread_mutex_lock (&check->telling);
    check->options->found (&told, check->options->opaque);
    pthread_mutex_unlock (&check->telling);
  }
}

void
check_add_shown (struct check_problem *problem, const char *name)
{
  problem->shown_total++;
  if (problem->shown_count < CHECK_SHOWN_MAX && name)
    snprintf (problem->shown[problem->shown_count++], sizeof problem->shown[0],
              "%s", name);
}

/* Have a part called in a read transaction of its own.  What it cannot read
 * is told, and it is at its end.
 */
static int
look (struct check *check, check_part part, struct status *status)
{
  struct check_problem problem = { .kind = CHECK_FILE };

  check->plan_is_fresh = false;
  if (STORE_READ (check->store, status, connection,
                  part (check, connection, status)) == 0)
    return 0;
  if (!status_is_damage (status))
    return -1;
  check_tell (check, &problem, "%s", status->message);
  check->next_id = 0;
  check->layer = -1;
  return 0;
}

static int
progress (struct check *check, struct status *status)
{
  const struct check_options *options = check->options;
  const uint64_t done = check->done < check->total ? check->done : check->total;
  int r;

  pthread_mutex_lock (&check->telling);
  r = progress_report (options->progress, done, check->total, options->opaque,
                       status);
  pthread_mutex_unlock (&check->telling);
  return r;
}

/*--------------------------------------------------------------------
 * SQLite's own check, in this thread, while another one watches it.
 */

struct watch {
  struct check *check;
  struct connection *connection;
  int64_t longest; /* that the log may become, in bytes */
  bool too_long, canceled;
  struct background background;
};

/* How long the log is now, in bytes. */
static int64_t
log_size (const struct check *check)
{
  return files_bytes (store_path (check->store), "-wal");
}

/* How long the log is to be at most, in bytes. */
static int64_t
log_bound (const struct check *check)
{
  const uint64_t told = guard_told_bound (store_path (check->store));

  return told > 0 && told < CHECK_LOG_MOST ? (int64_t)told : CHECK_LOG_MOST;
}

/* How long may the log become that is SIZE bytes long?  One that is longer than
 * its bound already does not grow any more.
 */
static int64_t
longest_log (const struct check *check, int64_t size)
{
  const int64_t growth = check->options->log_growth;
  int64_t longest = log_bound (check);

  if (longest < size)
    longest = size;
  return growth > 0 && longest > size + growth ? size + growth : longest;
}

/* Is it to be interrupted? */
static bool
is_enough (struct watch *watch)
{
  struct status ignored;

  watch->too_long = log_size (watch->check) > watch->longest;
  if (!watch->too_long)
    watch->canceled = progress (watch->check, &ignored) == -1;
  return watch->canceled || watch->too_long;
}

static void *
watch_it (void *opaque)
{
  struct watch *watch = opaque;

  while (
      background_sleep (&watch->background, WATCH_INTERVAL * CLOCK_MILLISECOND))
    if (is_enough (watch)) {
      sqlite3_interrupt (watch->connection->db);
      break;
    }
  return NULL;
}

/* Can making the indexes anew mend what SQLite says?  Only where all else,
 * the pages of the indexes included, is well: else that would free pages
 * that may be in use.
 */
static bool
is_about_entries (const char *line)
{
  return strstr (line, "missing from index") ||
         strstr (line, "wrong # of entries in index") ||
         strstr (line, "non-unique entry in index");
}

/* Tell of what SQLite's check said, line by line. */
static void
tell_lines (struct check *check, const char *text)
{
  char line[500];

  while (*text) {
    const int length = strcspn (text, "\n");
    struct check_problem problem = { .kind = CHECK_FILE };

    snprintf (line, sizeof line, "%.*s", length, text);
    if (length > 0 && strncmp (line, "***", 3) != 0 &&
        strcmp (line, "ok") != 0) {
      if (is_about_entries (line))
        problem.mend = MEND_REINDEX;
      check_tell (check, &problem, "SQLite: %s", line);
    }
    text += length + (text[length] == '\n');
  }
}

static int
tell_rows (struct check *check, struct connection *connection, const char *sql,
           struct status *status)
{
  CLEANUP_STATEMENT sqlite3_stmt *lines =
      connection_statement (connection, sql, status);
  const char *text;
  int r;

  if (lines == NULL)
    return -1;
  while ((r = connection_step (connection, lines, status)) == 1) {
    text = (const char *)sqlite3_column_text (lines, 0);
    tell_lines (check, text ? text : "?");
  }
  return r;
}

/* Where the schema has views, SQLite may take the check of everything for that
 * of one table, and then leaves out the list of free pages.  It does not when
 * asked for the table that begins on page 1.
 */
static int
run_integrity_check (struct check *check, struct connection *connection,
                     struct status *status)
{
  static const char integrity_sql[] =
      "PRAGMA integrity_check (" FILE_PROBLEMS ")";
  static const char free_list_sql[] =
      "PRAGMA integrity_check ('sqlite_schema')";

  if (tell_rows (check, connection, integrity_sql, status) == -1)
    return -1;
  return check->file_is_damaged
             ? 0
             : tell_rows (check, connection, free_list_sql, status);
}

/* What else must be as it was when the file was made. */
static int
check_settings (struct check *check, struct connection *connection,
                struct status *status)
{
  static const char vacuum_sql[] = "PRAGMA auto_vacuum";
  struct check_problem problem = { .kind = CHECK_FILE };
  int64_t value;

  if (connection_integer (connection, vacuum_sql, &value, status) == -1)
    return -1;
  if (value != 2)
    check_tell (check, &problem, "auto_vacuum is not INCREMENTAL");
  return 0;
}

static int
check_file (struct check *check, struct connection *connection,
            struct status *status)
{
  struct watch watch = {
    .check = check,
    .connection = connection,
    .longest = longest_log (check, log_size (check)),
  };
  int r;

  r = background_start (&watch.background, watch_it, &watch, status);
  if (r == 0) {
    r = run_integrity_check (check, connection, status);
    background_stop (&watch.background);
  }
  if (r == 0)
    r = check_settings (check, connection, status);
  if (r == 0)
    return 0;
  if (watch.canceled)
    return status_fail (status, ECANCELED, "interrupted");
  if (watch.too_long) {
    check->counts->file_not_checked = true;
    return 0;
  }
  return -1;
}

/* Wait for the log to be emptied by those who write.  */
static int
await_empty_log (struct check *check, struct status *status)
{
  const uint64_t until = clock_now () + FILE_WAIT * CLOCK_MILLISECOND;
  const int64_t small = log_bound (check) / 4;
  int r = 0;

  while (r == 0 && log_size (check) > small && clock_now () < until) {
    nanosleep (&(struct timespec){ .tv_nsec = WATCH_INTERVAL * 1000000 }, NULL);
    r = progress (check, status);
  }
  return r;
}

/* SQLite's own check.  Where others write so much that it was given up, it may
 * come to its end at a quieter moment.
 */
static int
look_at_file (struct check *check, struct status *status)
{
  struct check_counts *counts = check->counts;

  for (int i = 0; i < FILE_TRIES; i++) {
    if (i > 0 && await_empty_log (check, status) == -1)
      return -1;
    counts->file_not_checked = false;
    if (look (check, check_file, status) == -1)
      return -1;
    if (!counts->file_not_checked || check->file_is_damaged)
      return 0;
  }
  return 0;
}

/*--------------------------------------------------------------------
 * All of it.
 */

/* Have PART called from the id FIRST on, until check->next_id says that it is
 * at the end.
 */
static int
look_at_some (struct check *check, check_part part, int64_t first,
              struct status *status)
{
  check->next_id = first;
  check->number = 0;
  check->unseen = 0;
  while (check->next_id != 0)
    if (look (check, part, status) == -1 || progress (check, status) == -1)
      return -1;
  return 0;
}

static int
look_at_rows (struct check *check, check_part part, struct status *status)
{
  return look_at_some (check, part, 1, status);
}

/* A random id up to the highest of a block. */
static int
find_middle (struct check *check, struct connection *connection,
             struct status *status)
{
  static const char highest_sql[] =
      "SELECT ifnull (max (id), 0) FROM block NOT INDEXED";
  uint64_t number;
  int64_t highest;

  if (connection_integer (connection, highest_sql, &highest, status) == -1)
    return -1;
  sqlite3_randomness (sizeof number, &number);
  check->end_id = highest > 0 ? 1 + number % highest : 0;
  return 0;
}

/* All blocks; without SQLite's check from somewhere on, and then those that
 * stand before.
 */
static int
look_at_blocks (struct check *check, struct status *status)
{
  int64_t middle;

  if (check->options->rows_only && look (check, find_middle, status) == -1)
    return -1;
  middle = check->end_id;
  check->end_id = 0;
  if (middle != 0 &&
      look_at_some (check, check_some_blocks, middle + 1, status) == -1)
    return -1;
  check->end_id = middle;
  if (look_at_rows (check, check_some_blocks, status) == -1)
    return -1;
  check->end_id = 0;
  return 0;
}

static int
look_at_index (struct check *check, struct status *status)
{
  check->layer = 0;
  while (check->layer != -1)
    if (look (check, check_some_index, status) == -1 ||
        progress (check, status) == -1)
      return -1;
  return 0;
}

/* Tell of the pages that were read although they do not fit their checksums,
 * and still do not: repair may have written some since.
 */
static int
check_pages (struct check *check, struct connection *connection,
             struct status *status)
{
  uint32_t pages[DAMAGED_PAGES_MAX];
  const size_t count = store_damaged (check->store, pages);
  int64_t size;
  bool right;
  int rc;

  if (connection_page_size (connection, &size, status) == -1)
    return -1;
  for (size_t i = 0; i < count; i++) {
    struct check_problem problem = {
      .kind = CHECK_FILE,
      .mend = MEND_ACCEPT,
      .subject = pages[i],
    };

    rc = vfs_checksum_look (connection->db, pages[i], size, &right);
    if (rc != SQLITE_OK)
      return status_fail_sqlite (status, connection->db, rc, "reading a page");
    if (!right)
      check_tell (check, &problem,
                  "page %" PRIu32 " does not fit its checksum: it is damaged, "
                  "or another program has changed it",
                  pages[i]);
  }
  return 0;
}

/* Count the pages without a checksum: part after part. */
static int
count_unsealed (struct check *check, struct status *status)
{
  struct seal_part *part = malloc (sizeof *part);
  int r = part ? 0 : status_no_memory (status);

  if (part)
    for (part->next = 1; r == 0 && part->next != 0;) {
      r = STORE_READ (check->store, status, connection,
                      seal_find (connection, part, status));
      if (r == 0) {
        check->counts->without_checksum += part->count;
        r = progress (check, status);
      }
    }
  free (part);
  /* What cannot be read has been told. */
  return r == -1 && status_is_damage (status) && check->counts->problems > 0
             ? 0
             : r;
}

/* How much there is to do, about. */
static int
estimate (struct check *check, struct status *status)
{
  struct manage_file file;

  if (manage_file (check->store, &file, status) == -1)
    return status_is_damage (status) ? 0 : -1;
  check->total = file.size - file.free;
  if (!check->options->rows_only)
    check->total *= 2;
  return 0;
}

/* The rules come before the rows, which are judged by the plan. */
static int
check_all (struct check *check, struct status *status)
{
  const bool rows_only = check->options->rows_only;

  if (estimate (check, status) == -1)
    return -1;
  if (!rows_only && look_at_file (check, status) == -1)
    return -1;
  check->done = rows_only ? 0 : check->total / 2;
  if (look (check, check_rules, status) == -1 ||
      look_at_blocks (check, status) == -1 ||
      look_at_rows (check, check_some_contents, status) == -1)
    return -1;
  if (!rows_only && (look_at_index (check, status) == -1 ||
                     look_at_rows (check, check_end, status) == -1))
    return -1;
  if (look (check, check_pages, status) == -1 ||
      (!rows_only && count_unsealed (check, status) == -1))
    return -1;
  check->done = check->total;
  return progress (check, status);
}

int
check_database (struct store *store, const struct check_options *options,
                struct check_counts *counts, struct status *status)
{
  struct check check = {
    .store = store,
    .options = options,
    .telling = PTHREAD_MUTEX_INITIALIZER,
    .counts = counts,
    .lookups = LOOKUPS,
  };
  int r;

  if (store_remote (store))
    return check_on_server (store, options, counts, status);
  *counts = (struct check_counts){ 0 };
  check.block = malloc (DISK_BLOCK_SIZE_MAX);
  r = check.block ? check_all (&check, status) : status_no_memory (status);
  free (check.block);
  free (check.plan.layers);
  return r == -1 ? status_prefix (status, "checking %s", store_path (store))
                 : 0;
}
