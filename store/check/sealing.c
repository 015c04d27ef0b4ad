/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Pages without checksums: see sealing.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/background.h"
#include "check.h"
#include "base/clock.h"
#include "base/grow.h"
#include "sqlite/log.h"
#include "sqlite/page.h"
#include "check/sealing.h"
#include "engine/engine.h"
#include "base/count.h"

/* At most this many pages are sealed while writers are kept out. */
#define AT_ONCE 256

/* How many pages are looked at after the start. */
#define SAMPLE 4096

/* How often it is looked whether there is something to do, and how long
 * nothing more is done after pages were sealed, and after they could not be,
 * in seconds.
 */
#define LOOK_EVERY  1
#define REST        60
#define RETRY_AFTER 3600

/* SQLite's check is given up when the log grows by this many bytes. */
#define LOG_GROWTH (INT64_C (32) << 20)

/* After each piece of work it rests this many times as long. */
#define REST_TIMES 3

/*--------------------------------------------------------------------
 * Finding them.
 */

/* Where the log has a page that has not been moved. */
struct frame {
  uint32_t page;
  int64_t offset;
};

/* One look at a part of the file. */
struct survey {
  sqlite3 *db;
  sqlite3_file *below, *log;
  uint32_t litestream; /* the root of its table, whose sum may be an old one */
  int64_t page_size, pages;
  int64_t moved;        /* up to there the log has been moved */
  struct frame *frames; /* by page, the newest last */
  size_t count;
  bool no_memory;
  uint32_t map; /* the page of the pointer map at hand; 0: none */
  unsigned char *map_page, *page; /* room for one each */
};

static void
note_frame (uint32_t page, int64_t offset, void *opaque)
{
  struct survey *survey = opaque;
  struct frame *frames;

  if (offset < survey->moved)
    return;
  frames = grow (survey->frames, survey->count, sizeof *frames);
  if (frames == NULL) {
    survey->no_memory = true;
    return;
  }
  survey->frames = frames;
  frames[survey->count++] = (struct frame){ page, offset };
}

static int
compare_frames (const void *a, const void *b)
{
  const struct frame *first = a, *second = b;

  return first->page != second->page
             ? (first->page > second->page) - (first->page < second->page)
             : (first->offset > second->offset) -
                   (first->offset < second->offset);
}

/* Where in the log the newest copy of a page is; 0: it has none. */
static int64_t
find_in_log (const struct survey *survey, uint32_t page)
{
  size_t low = 0, high = survey->count;

  /* The last that is not of a later page. */
  while (low < high) {
    const size_t middle = low + (high - low) / 2;

    if (survey->frames[middle].page <= page)
      low = middle + 1;
    else
      high = middle;
  }
  return low > 0 && survey->frames[low - 1].page == page
             ? survey->frames[low - 1].offset
             : 0;
}

/* Read page NUMBER into PAGE, from the log where that has it. */
static int
read_page (const struct survey *survey, uint32_t number, unsigned char *page)
{
  const int64_t in_log = find_in_log (survey, number);
  sqlite3_file *file = in_log ? survey->log : survey->below;

  return file->pMethods->xRead (file, page, survey->page_size,
                                in_log ? in_log
                                       : (number - 1) * survey->page_size);
}

/* Is this a free page, as the pointer map says?  Puts the answer into FREE;
 * returns an SQLite result code.
 */
static int
is_free (struct survey *survey, uint32_t page, bool *free)
{
  const uint32_t map = page < 3 ? page : page_map_of (survey->page_size, page);
  int rc = SQLITE_OK;

  *free = false;
  if (map >= page)
    return SQLITE_OK;
  if (survey->map != map)
    rc = read_page (survey, map, survey->map_page);
  if (rc != SQLITE_OK)
    return rc;
  survey->map = map;
  *free =
      survey->map_page[(size_t)PAGE_MAP_ENTRY * (page - map - 1)] == PAGE_FREE;
  return SQLITE_OK;
}

/* Has the page no checksum, though it should?  As is_free. */
static int
is_without (struct survey *survey, uint32_t page, bool *without)
{
  sqlite3_file *below = survey->below;
  uint64_t sum;
  bool free, right = true;
  int rc;

  *without = false;
  if (page == page_unused (survey->page_size) || find_in_log (survey, page))
    return SQLITE_OK;
  rc = below->pMethods->xRead (below, &sum, sizeof sum,
                               page * survey->page_size - PAGE_CHECKSUM_SIZE);
  if (rc == SQLITE_OK && page == survey->litestream)
    rc = vfs_checksum_look (survey->db, page, survey->page_size, &right);
  *without = !right;
  if (rc != SQLITE_OK || sum != 0)
    return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
  rc = is_free (survey, page, &free);
  if (rc == SQLITE_OK && free)
    rc = read_page (survey, page, survey->page);
  *without = rc == SQLITE_OK &&
             !(free && vfs_checksum_is_blank (survey->page, survey->page_size));
  return rc;
}

static int
begin_survey (struct survey *survey, struct connection *connection,
              struct status *status)
{
  static const char pages_sql[] = "PRAGMA page_count";
  sqlite3_file *database;
  int rc;

  *survey = (struct survey){
    .db = connection->db,
    .litestream = atomic_load (&connection->patience->litestream),
  };
  if (connection_integer (connection, pages_sql, &survey->pages, status) ==
          -1 ||
      connection_page_size (connection, &survey->page_size, status) == -1)
    return -1;
  rc = connection_files (connection, &database, &survey->log);
  if (rc == SQLITE_OK)
    rc = vfs_checksum_below (connection->db, &survey->below);
  if (rc != SQLITE_OK)
    return status_fail_sqlite (status, connection->db, rc,
                               "looking for pages without a checksum");
  survey->map_page = malloc (survey->page_size);
  survey->page = malloc (survey->page_size);
  if (survey->map_page == NULL || survey->page == NULL)
    return status_no_memory (status);
  /* On media that are only read there may be no log. */
  if (survey->log->pMethods &&
      (log_moved (connection, &survey->moved, status) == -1 ||
       log_find_pages (connection, note_frame, survey, status) == -1))
    return -1;
  if (survey->no_memory)
    return status_no_memory (status);
  if (survey->count > 0)
    qsort (survey->frames, survey->count, sizeof *survey->frames,
           compare_frames);
  return 0;
}

static void
end_survey (struct survey *survey)
{
  free (survey->frames);
  free (survey->map_page);
  free (survey->page);
}

/* Look at every STEPth page from PART->next on, as many as a part has; for 0
 * at some from anywhere in the file.
 */
static int
look_at_pages (struct connection *connection, struct seal_part *part,
               int64_t step, struct status *status)
{
  struct survey survey;
  int64_t page = part->next;
  int r = begin_survey (&survey, connection, status);

  part->count = 0;
  if (step == 0)
    step = 1 + survey.pages / SAMPLE;
  for (int i = 0; r == 0 && i < SEAL_PART && page <= survey.pages;
       i++, page += step) {
    bool without;
    const int rc = is_without (&survey, page, &without);

    if (rc != SQLITE_OK)
      r = status_fail_sqlite (status, connection->db, rc,
                              "looking for pages without a checksum");
    else if (without)
      part->numbers[part->count++] = page;
  }
  part->next = page <= survey.pages ? page : 0;
  end_survey (&survey);
  return r;
}

int
seal_find (struct connection *connection, struct seal_part *part,
           struct status *status)
{
  return look_at_pages (connection, part, 1, status);
}

/*--------------------------------------------------------------------
 * Sealing them.
 */

/* Those of a part that are sealed next. */
struct batch {
  const uint32_t *numbers;
  size_t count;
  uint64_t sealed;
};

static int
seal_held (struct connection *connection, struct batch *batch,
           struct status *status)
{
  int64_t size;
  bool sealed;
  int rc;

  if (connection_page_size (connection, &size, status) == -1)
    return -1;
  for (size_t i = 0; i < batch->count; i++) {
    rc = vfs_checksum_seal (connection->db, batch->numbers[i], size, &sealed);
    if (rc != SQLITE_OK)
      return status_fail_sqlite (status, connection->db, rc,
                                 "giving page %" PRIu32 " a checksum",
                                 batch->numbers[i]);
    batch->sealed += sealed;
  }
  return 0;
}

static int
hold_and_seal (struct connection *connection, void *opaque,
               struct status *status)
{
  sqlite3_file *database;
  int r;

  if (log_hold (connection, &database, status) == -1)
    return -1;
  r = seal_held (connection, opaque, status);
  log_release (connection, database);
  return r;
}

static int
seal_part (struct store *store, const struct seal_part *part,
           progress_made progress, void *opaque, uint64_t *sealed,
           struct status *status)
{
  for (size_t i = 0; i < part->count; i += AT_ONCE) {
    struct batch batch = {
      .numbers = part->numbers + i,
      .count = part->count - i < AT_ONCE ? part->count - i : AT_ONCE,
    };

    if (store_apart (store, hold_and_seal, &batch, status) == -1)
      return -1;
    *sealed += batch.sealed;
    if (progress_report (progress, 0, 0, opaque, status) == -1)
      return -1;
  }
  return 0;
}

int
seal_all (struct store *store, progress_made progress, void *opaque,
          uint64_t *sealed, struct status *status)
{
  struct seal_part *part = malloc (sizeof *part);
  int r = 0;

  *sealed = 0;
  if (part == NULL)
    return status_no_memory (status);
  for (part->next = 1; r == 0 && part->next != 0;) {
    r = STORE_READ (store, status, connection,
                    seal_find (connection, part, status));
    if (r == 0)
      r = seal_part (store, part, progress, opaque, sealed, status);
    if (r == 0)
      r = progress_report (progress, 0, 0, opaque, status);
  }
  free (part);
  return r;
}

/*--------------------------------------------------------------------
 * The thread.
 */

struct sealer {
  struct store *store;
  void (*warn) (const char *message);
  struct background background;
  struct seal_part part;
  bool begun;      /* the sample was looked at */
  bool suspicion;  /* there may be pages without a checksum */
  uint64_t worked; /* when the last rest ended */
  bool told;       /* why nothing is sealed */
};

/* Rest for longer than was worked. */
static int
rest (uint64_t done, uint64_t total, void *opaque)
{
  struct sealer *sealer = opaque;
  const uint64_t worked = clock_now () - sealer->worked;
  const bool goes_on =
      background_sleep (&sealer->background, REST_TIMES * worked);

  (void)done;
  (void)total;
  sealer->worked = clock_now ();
  return !goes_on;
}

/* Is there a page without a checksum anywhere?  Returns 1, 0, -1. */
static int
is_there_one (struct sealer *sealer, struct status *status)
{
  struct seal_part *part = &sealer->part;

  part->count = 0;
  for (part->next = 1; part->next != 0 && part->count == 0;)
    if (STORE_READ (sealer->store, status, connection,
                    seal_find (connection, part, status)) == -1 ||
        progress_report (rest, 0, 0, sealer, status) == -1)
      return -1;
  return part->count > 0;
}

/* Check, and seal if all is well.  Returns 0 when nothing is left to do, 1
 * when it is to be tried again, -1.
 */
static int
check_and_seal (struct sealer *sealer, struct status *status)
{
  const struct check_options options = {
    .log_growth = LOG_GROWTH,
    .progress = rest,
    .opaque = sealer,
  };
  struct check_counts counts;
  struct status line;
  uint64_t sealed;

  if (check_database (sealer->store, &options, &counts, status) == -1)
    return -1;
  if (counts.problems > 0)
    return status_fail (status, EIO,
                        "another program wrote %s without a checksum, and none "
                        "is given as long as there are problems in the "
                        "database; \"sqlblock check\" lists them",
                        COUNT (counts.without_checksum, "page"));
  if (counts.file_not_checked)
    return 1;
  if (seal_all (sealer->store, rest, sealer, &sealed, status) == -1)
    return -1;
  if (sealed > 0) {
    status_fail (&line, 0,
                 "another program had written %s without a checksum; all is "
                 "well in the database, and each has one again",
                 COUNT (sealed, "page"));
    sealer->warn (line.message);
  }
  return 0;
}

/* See what there is to do, and do it.  Returns as check_and_seal, or 2: there
 * was nothing.
 */
static int
look (struct sealer *sealer, struct status *status)
{
  int r;

  if (store_commits (sealer->store) == 0)
    return 2;
  sealer->suspicion = store_take_unsealed (sealer->store) || sealer->suspicion;
  sealer->worked = clock_now ();
  if (!sealer->begun) {
    sealer->part.next = 1;
    if (STORE_READ (sealer->store, status, connection,
                    look_at_pages (connection, &sealer->part, 0, status)) == -1)
      return -1;
    sealer->begun = true;
    sealer->suspicion = sealer->suspicion || sealer->part.count > 0;
  }
  if (!sealer->suspicion)
    return 2;
  r = is_there_one (sealer, status);
  if (r == 1)
    r = check_and_seal (sealer, status);
  sealer->suspicion = r != 0;
  if (r == 0) /* the check has read them, too */
    store_take_unsealed (sealer->store);
  return r;
}

/* How long to sleep after a look, in seconds.  Where Litestream replicates the
 * database it moves all of the log, and there are always new ones.
 */
static uint64_t
pause_after (const struct sealer *sealer, int r)
{
  return r == 2   ? LOOK_EVERY
         : r == 0 ? (store_is_replicated (sealer->store) ? RETRY_AFTER : REST)
                  : RETRY_AFTER;
}

static void *
run (void *opaque)
{
  struct sealer *sealer = opaque;
  struct status status;
  int r;

  do {
    r = look (sealer, &status);
    /* A failure is said once, not each time. */
    if (r == -1 && status.error != ECANCELED && !sealer->told)
      sealer->warn (status.message);
    if (r != 2)
      sealer->told = r == -1;
  } while (background_sleep (&sealer->background,
                             pause_after (sealer, r) * CLOCK_SECOND));
  return NULL;
}

struct sealer *
sealer_start (struct store *store, void (*warn) (const char *message),
              struct status *status)
{
  struct sealer *sealer = calloc (1, sizeof *sealer);

  if (sealer == NULL) {
    status_no_memory (status);
    return NULL;
  }
  sealer->store = store;
  sealer->warn = warn;
  if (background_start (&sealer->background, run, sealer, status) == 0)
    return sealer;
  free (sealer);
  return NULL;
}

void
sealer_stop (struct sealer *sealer)
{
  background_stop (&sealer->background);
  free (sealer);
}
