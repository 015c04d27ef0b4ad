/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Mending: see check.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check-parts.h"
#include "block/checksum.h"
#include "block/codec.h"
#include "block/correct.h"
#include "base/grow.h"
#include "sqlite/guard.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/layers.h"
#include "rows/properties.h"
#include "check/sealing.h"
#include "engine/engine.h"
#include "engine/remote.h"
#include "engine/checkpoint.h"
#include "manage.h"
#include "base/count.h"
#include "base/failed.h"
#include "check.h"

/* More is mended by the next call. */
#define MENDS_MAX 1000000

/* Something to be mended. */
struct mend {
  enum check_mend how;
  int64_t subject;
  int64_t layer, number, generation; /* MEND_BLOCK */
  uint64_t changes;                  /* that a step has made */
};

struct repair {
  struct store *store;
  const struct repair_options *options;
  struct mend *mends;
  size_t count;
  bool no_memory;
  bool keep;            /* what nobody seems to see may still be needed */
  unsigned corrections; /* that were tried */
  bool has_bad_blocks;  /* that could not be mended */
};

/*--------------------------------------------------------------------
 * What is to be done.
 */

/* Can the damage hide who needs what? */
static bool
is_grave (const struct check_problem *problem)
{
  switch (problem->kind) {
  case CHECK_FILE:
  case CHECK_FEATURE:
    return problem->mend == MEND_NOT;
  case CHECK_LAYER:
  case CHECK_DISK:
  case CHECK_SNAPSHOT:
    return true;
  default:
    return false;
  }
}

static void
note (const struct check_problem *problem, void *opaque)
{
  struct repair *repair = opaque;
  struct mend *mends;

  repair->keep = repair->keep || is_grave (problem);
  for (size_t i = repair->count; i > 0 && problem->mend != MEND_BLOCK; i--)
    if (repair->mends[i - 1].how == problem->mend &&
        repair->mends[i - 1].subject == problem->subject)
      return;
    else if (repair->count - i > 100)
      break;
  if (problem->kind == CHECK_BLOCK && problem->mend == MEND_NOT)
    repair->has_bad_blocks = true;
  if (problem->mend == MEND_NOT || repair->count == MENDS_MAX)
    return;
  mends = grow (repair->mends, repair->count, sizeof *mends);
  repair->no_memory = mends == NULL;
  if (repair->no_memory)
    return;
  repair->mends = mends;
  mends[repair->count++] = (struct mend){
    .how = problem->mend,
    .subject = problem->subject,
    .layer = problem->layer,
    .number = problem->number,
    .generation = problem->generation,
  };
}

static int
report_progress (uint64_t done, uint64_t total, void *opaque)
{
  const struct repair_options *options = ((struct repair *)opaque)->options;

  return options->progress ? options->progress (done, total, options->opaque)
                           : 0;
}

/* Say what was mended, or with an error what was not. */
static void say (struct repair *repair, int error, const char *format, ...)
    __attribute__ ((format (printf, 3, 4)));
static void
say (struct repair *repair, int error, const char *format, ...)
{
  char text[900];
  va_list arguments;

  va_start (arguments, format);
  vsnprintf (text, sizeof text, format, arguments);
  va_end (arguments);
  if (repair->options->mended)
    repair->options->mended (text, error, repair->options->opaque);
}

/* Is there anything to mend in this way? */
static bool
has (const struct repair *repair, enum check_mend how)
{
  for (size_t i = 0; i < repair->count; i++)
    if (repair->mends[i].how == how)
      return true;
  return false;
}

/*--------------------------------------------------------------------
 * A block of which one byte has changed.
 */

/* A row with a wrong checksum. */
struct bad_row {
  struct mend *mend;
  int64_t id, codec, checksum;
  unsigned char *data;
  size_t length;
  int64_t right; /* the checksum that it is to have */
};

static int64_t
checksum_of (const struct bad_row *row)
{
  return checksum_block (row->mend->layer, row->mend->number,
                         row->mend->generation, row->codec, row->length,
                         checksum_bytes (row->data, row->length));
}

static bool
is_right (void *opaque)
{
  const struct bad_row *row = opaque;

  return checksum_of (row) == row->checksum;
}

/* Read it. */
static int
read_bad_row (struct connection *connection, struct bad_row *row,
              struct status *status)
{
  static const char row_sql[] =
      "SELECT id, codec, checksum, data FROM block INDEXED BY block_by_number"
      " WHERE layer = ?1 AND number = ?2 AND generation = ?3";
  CLEANUP_STATEMENT sqlite3_stmt *find =
      connection_statement (connection, row_sql, status);
  int r;

  if (find == NULL)
    return -1;
  sqlite3_bind_int64 (find, 1, row->mend->layer);
  sqlite3_bind_int64 (find, 2, row->mend->number);
  sqlite3_bind_int64 (find, 3, row->mend->generation);
  r = connection_step (connection, find, status);
  if (r != 1)
    return r;
  row->id = sqlite3_column_int64 (find, 0);
  row->codec = sqlite3_column_int64 (find, 1);
  row->checksum = sqlite3_column_int64 (find, 2);
  row->length = sqlite3_column_bytes (find, 3);
  if (row->length == 0 || row->codec == CODEC_CONTENT ||
      !codec_is_known (row->codec))
    return 0;
  row->data = malloc (row->length);
  if (row->data == NULL)
    return status_no_memory (status);
  memcpy (row->data, sqlite3_column_blob (find, 3), row->length);
  return 0;
}

static int
write_row (struct connection *connection, void *opaque, struct status *status)
{
  static const char write_sql[] = "UPDATE block SET data = ?3, checksum = ?4"
                                  " WHERE id = ?1 AND checksum = ?2"
                                  " AND " CODEC_UNDERSTOOD ("block");
  const struct bad_row *row = opaque;
  CLEANUP_STATEMENT sqlite3_stmt *write =
      connection_statement (connection, write_sql, status);

  if (write == NULL)
    return -1;
  sqlite3_bind_int64 (write, 1, row->id);
  sqlite3_bind_int64 (write, 2, row->checksum);
  sqlite3_bind_blob64 (write, 3, row->data, row->length, SQLITE_STATIC);
  sqlite3_bind_int64 (write, 4, row->right);
  return connection_step (connection, write, status);
}

/* Returns 1 when it was mended, 0, -1. */
static int
mend_block (struct repair *repair, struct mend *mend, struct status *status)
{
  struct bad_row row = { .mend = mend };
  int r = STORE_READ (repair->store, status, connection,
                      read_bad_row (connection, &row, status));
  bool found = false;

  if (r == -1 && !status_is_damage (status))
    return -1;
  if (r == 0 && row.data) {
    row.right = checksum_of (&row);
    found = correct_differ_by_byte (row.right, row.checksum);
    if (!found && repair->corrections < repair->options->corrections) {
      repair->corrections++;
      row.right = row.checksum;
      found = correct_byte (row.data, row.length, row.length, is_right, &row);
    }
  }
  r = found ? store_change (repair->store, write_row, &row, status) : 0;
  free (row.data);
  return r == -1 ? -1 : found;
}

/* May a row of LAYER be mended?  Returns 1, 0 with what to say, -1. */
static int
may_mend (struct repair *repair, int64_t layer, struct status *status)
{
  const int r = STORE_READ (
      repair->store, status, connection,
      features_forbid_layer (connection, layer, FEATURE_CHANGE, status));

  return r == -1 ? -1 : !r;
}

/* Has WHAT failed, as STATUS says, since this program does not know how to
 * treat it?  Then it is left as it is, and that is said.
 */
static bool
is_left (struct repair *repair, const char *what, const struct status *status)
{
  if (status->error != ENOTSUP && (status->error != EROFS || status->sqlite))
    return false;
  say (repair, status->error, "%s is left as it is: %s", what, status->message);
  return true;
}

static int
mend_blocks (struct repair *repair, struct status *status)
{
  for (size_t i = 0; i < repair->count; i++) {
    struct mend *mend = &repair->mends[i];
    int r;

    if (mend->how != MEND_BLOCK)
      continue;
    if (report_progress (0, 0, repair) != 0)
      return status_fail (status, ECANCELED, "interrupted");
    r = may_mend (repair, mend->layer, status);
    if (r == 1)
      r = mend_block (repair, mend, status);
    else if (r == 0)
      say (repair, EROFS,
           "block %" PRId64 " of layer %" PRId64 " is left as it is: %s",
           mend->number, mend->layer, status->message);
    if (r == -1)
      return -1;
    if (r == 1)
      say (repair, 0,
           "block %" PRId64 " of layer %" PRId64 ", generation %" PRId64
           ": one byte was wrong, and has been set right",
           mend->number, mend->layer, mend->generation);
    else
      repair->has_bad_blocks = true;
  }
  return 0;
}

/*--------------------------------------------------------------------
 * Indexes.
 */

/* A row whose key is damaged is found by its old place in the index only. */
static int
may_reindex (struct repair *repair, struct status *status)
{
  int served;

  if (repair->keep || repair->has_bad_blocks) {
    say (repair, EIO,
         "the indexes were not made anew, since rows are damaged "
         "whose true places only the old ones tell");
    return 0;
  }
  served = guard_is_served (store_path (repair->store), status);
  if (served == 1)
    say (repair, EBUSY,
         "the indexes were not made anew, since a server has "
         "the database open; end it first");
  return served == -1 ? -1 : !served;
}

static int
reindex (struct repair *repair, struct status *status)
{
  /* What is sorted may not fit into memory. */
  static const char files_sql[] = "PRAGMA temp_store = FILE";
  /* Not those of other programs, which may need what this one lacks. */
  static const char *const tables[] = {
    "REINDEX feature",  "REINDEX layer", "REINDEX disk",    "REINDEX snapshot",
    "REINDEX property", "REINDEX block", "REINDEX content", NULL,
  };
  struct connection connection;
  int r;

  if (store_connect (repair->store, &connection, status) == -1)
    return -1;
  r = connection_run (&connection, files_sql, status);
  if (r == 0)
    r = marking_begin (&connection, status);
  for (size_t i = 0; r == 0 && tables[i]; i++)
    r = connection_run (&connection, tables[i], status);
  if (r == 0)
    r = connection_commit (&connection, status);
  if (r == 0 && checkpoint_complete (&connection, status) == -1)
    r = -1;
  connection_rollback (&connection);
  connection_close (&connection);
  if (r == 0)
    say (repair, 0, "the indexes were made anew");
  else if (status_is_damage (status))
    say (repair, EIO, "the indexes could not be made anew: %s",
         status->message);
  return r == -1 && !status_is_damage (status) ? -1 : 0;
}

/*--------------------------------------------------------------------
 * Rows that nobody sees, and counters.
 */

/* Delete some of the rows that DELETE names. */
static int
run_delete (struct connection *connection, const char *delete_sql,
            int64_t subject, uint64_t *changes, struct status *status)
{
  const int before = sqlite3_total_changes (connection->db);

  if (connection_run_for (connection, delete_sql, subject, status) == -1)
    return -1;
  *changes += sqlite3_total_changes (connection->db) - before;
  return 0;
}

static int
set_sequences (struct connection *connection, struct status *status)
{
  static const char foreign_sql[] =
      "DELETE FROM sqlite_sequence WHERE " CHECK_FOREIGN_SEQUENCE;
  static const char set_sql[] = CHECK_HIGHEST
      " UPDATE sqlite_sequence SET seq = ifnull ((SELECT id FROM highest"
      "  WHERE highest.name = sqlite_sequence.name), 0)"
      " WHERE name IN (SELECT name FROM highest) AND seq NOT BETWEEN ifnull "
      "((SELECT id FROM highest"
      "  WHERE highest.name = sqlite_sequence.name), 0) AND 1 << 62";
  static const char add_sql[] =
      CHECK_HIGHEST " INSERT INTO sqlite_sequence SELECT name, id FROM highest"
                    "  WHERE id IS NOT NULL AND name NOT IN"
                    "   (SELECT name FROM sqlite_sequence)";

  if (connection_run (connection, foreign_sql, status) == -1 ||
      connection_run (connection, set_sql, status) == -1)
    return -1;
  return connection_run (connection, add_sql, status);
}

/* One step; OPAQUE is a mend. */
static int
mend_step (struct connection *connection, void *opaque, struct status *status)
{
  static const char layer_sql[] =
      RECLAIM_ADD ("SELECT id AS layer FROM layer WHERE id = ?1");
  static const char rows_sql[] =
      "DELETE FROM block WHERE id IN (SELECT id FROM block"
      " INDEXED BY block_by_number WHERE layer = ?1"
      " AND ?1 NOT IN (SELECT id FROM layer) LIMIT 2048)"
      " AND " CODEC_UNDERSTOOD ("block");
  static const char content_sql[] =
      "DELETE FROM content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM block"
      " WHERE codec = 4 AND content = ?1) AND " CODEC_UNDERSTOOD ("content");
  static const char reclaim_sql[] =
      "DELETE FROM reclaim WHERE layer = ?1 AND layer NOT IN"
      " (SELECT id FROM layer)";
  static const char counted_sql[] =
      "DELETE FROM counted WHERE layer = ?1 AND layer NOT IN"
      " (SELECT id FROM layer)";
  static const char gone_sql[] =
      "DELETE FROM feature WHERE id = ?1 AND checksum = " FEATURE_CHECKSUM
      " AND disk <> 0 AND disk NOT IN (SELECT id FROM disk)";
  static const char feature_sql[] =
      "UPDATE feature SET checksum = " FEATURE_CHECKSUM " WHERE id = ?1";
  static const char property_sql[] =
      "DELETE FROM property WHERE id = ?1 AND checksum = " PROPERTY_CHECKSUM
      " AND NOT " PROPERTY_HAS_OWNER;
  static const char count_sql[] =
      "UPDATE counted SET number = 0, bytes = 0 WHERE layer = ?1";
  struct mend *mend = opaque;

  mend->changes = 0;
  switch (mend->how) {
  case MEND_RECLAIM:
    return connection_run_for (connection, layer_sql, mend->subject, status);
  case MEND_DELETE:
    return run_delete (connection, rows_sql, mend->subject, &mend->changes,
                       status);
  case MEND_CONTENT:
    return connection_run_for (connection, content_sql, mend->subject, status);
  case MEND_FORGET:
    if (connection_run_for (connection, reclaim_sql, mend->subject, status) ==
        -1)
      return -1;
    return connection_run_for (connection, counted_sql, mend->subject, status);
  case MEND_FEATURE:
    return connection_run_for (connection, feature_sql, mend->subject, status);
  case MEND_DISOWNED:
    return connection_run_for (connection, gone_sql, mend->subject, status);
  case MEND_PROPERTY:
    return connection_run_for (connection, property_sql, mend->subject, status);
  case MEND_COUNT:
    return connection_run_for (connection, count_sql, mend->subject, status);
  case MEND_SEQUENCE:
    return set_sequences (connection, status);
  default:
    return 0;
  }
}

/* What to say of it, before and after its subject. */
static const char *const words[][2] = {
  [MEND_RECLAIM] = { "what nobody sees of layer", "is freed" },
  [MEND_DELETE] = { "the blocks of layer",
                    "which does not exist, are deleted" },
  [MEND_CONTENT] = { "content", "to which nothing refers, is deleted" },
  [MEND_FORGET] = { "what was kept about layer", "which is gone, is deleted" },
  [MEND_FEATURE] = { "feature", "is set right" },
  [MEND_DISOWNED] = { "feature", "of what is gone, is deleted" },
  [MEND_PROPERTY] = { "property", "of what is gone, is deleted" },
  [MEND_COUNT] = { "layer", "is counted anew" },
  [MEND_SEQUENCE] = { "the counters of the ids are set", NULL },
  [MEND_ACCEPT] = { NULL, NULL },
};

static bool
deletes (enum check_mend how)
{
  return how == MEND_RECLAIM || how == MEND_DELETE || how == MEND_CONTENT ||
         how == MEND_DISOWNED || how == MEND_PROPERTY;
}

/* Mend one thing, in steps. */
static int
mend_one (struct repair *repair, struct mend *mend, struct status *status)
{
  const char *const *say_words = words[mend->how];

  if (say_words[0] == NULL)
    return 0;
  if (deletes (mend->how) && repair->keep)
    return 0;
  do
    if (report_progress (0, 0, repair) != 0)
      return status_fail (status, ECANCELED, "interrupted");
    else if (store_change (repair->store, mend_step, mend, status) == -1)
      return is_left (repair, "what should be mended", status) ? 0 : -1;
  while (mend->changes > 0);
  if (say_words[1])
    say (repair, 0, "%s %" PRId64 " %s", say_words[0], mend->subject,
         say_words[1]);
  else
    say (repair, 0, "%s", say_words[0]);
  return 0;
}

/* Clear what lies behind the end of a disk. */
static int
clear_end (struct repair *repair, int64_t id, struct status *status)
{
  if (store_clear_end (repair->store, id, status) == -1)
    return is_left (repair, "what lies behind the end", status) ? 0 : -1;
  say (repair, 0,
       "what lay behind the end of disk number %" PRId64 " is cleared", id);
  return 0;
}

static int
clear_ends (struct repair *repair, struct status *status)
{
  for (size_t i = 0; i < repair->count; i++)
    if (repair->mends[i].how == MEND_CLEAR_END &&
        clear_end (repair, repair->mends[i].subject, status) == -1)
      return -1;
  return 0;
}

/* What is to be cleaned up has come to the result R; where that is a failure,
 * others may still work.
 */
static bool
is_cleaned (struct repair *repair, int r, const struct status *status)
{
  if (r == -1)
    say (repair, status->error == EBUSY ? EBUSY : EIO, "%s", status->message);
  return r == 0;
}

/* Remove what was interrupted, and free what nobody sees. */
static int
clean (struct repair *repair, struct status *status)
{
  const bool leftovers = has (repair, MEND_CLEAN);
  unsigned removed;
  bool cleaned;
  int r;

  if (!leftovers && !has (repair, MEND_RECLAIM))
    return 0;
  r = manage_receive_clean (repair->store, &removed, status);
  if (r == -1 && !failed_is_local (status) && status->error != EBUSY)
    return -1;
  cleaned = is_cleaned (repair, r, status);
  r = manage_reclaim (repair->store, report_progress, repair, NULL, status);
  if (r == -1 && !failed_is_local (status) && status->error != EBUSY)
    return -1;
  cleaned = is_cleaned (repair, r, status) && cleaned;
  if (leftovers && cleaned)
    say (repair, 0, "what interrupted copies left is removed");
  return 0;
}

/*--------------------------------------------------------------------
 * Pages.
 */

/* Give pages new checksums in DATABASE, while all writing is held. */
static int
accept_pages (struct repair *repair, struct connection *connection,
              sqlite3_file *database, struct status *status)
{
  int64_t size;
  bool right;
  int rc;

  if (connection_page_size (connection, &size, status) == -1)
    return -1;
  for (size_t i = 0; i < repair->count; i++) {
    const uint32_t page = repair->mends[i].subject;

    if (repair->mends[i].how != MEND_ACCEPT)
      continue;
    rc = vfs_checksum_look (connection->db, page, size, &right);
    if (rc == SQLITE_OK && !right)
      rc = vfs_checksum_accept (connection->db, page, size);
    if (rc != SQLITE_OK)
      return status_fail_sqlite (status, connection->db, rc,
                                 "giving page %" PRIu32 " a checksum", page);
    say (repair, 0, "page %" PRIu32 " has a checksum that fits", page);
  }
  rc = database->pMethods->xSync (database, SQLITE_SYNC_NORMAL);
  return rc == SQLITE_OK ? 0
                         : status_fail_sqlite (status, connection->db, rc,
                                               "syncing the checksums");
}

static int
hold_and_accept (struct connection *connection, void *opaque,
                 struct status *status)
{
  sqlite3_file *database;
  int r;

  if (log_hold (connection, &database, status) == -1)
    return -1;
  r = accept_pages (opaque, connection, database, status);
  log_release (connection, database);
  return r;
}

/* Where the rows have other damage than in their data, something may be
 * missing on these very pages.
 */
static int
mend_pages (struct repair *repair, struct status *status)
{
  if (!has (repair, MEND_ACCEPT))
    return 0;
  if (repair->keep || has (repair, MEND_REINDEX)) {
    say (repair, EIO,
         "pages that do not fit their checksums were left so, since there is "
         "other damage, which may be theirs");
    return 0;
  }
  /* What was mended is in the log. */
  if (store_checkpoint (repair->store, status) == -1)
    return -1;
  return store_apart (repair->store, hold_and_accept, repair, status);
}

static int
mend_all (struct repair *repair, struct status *status)
{
  int r;

  if (mend_blocks (repair, status) == -1)
    return -1;
  if (has (repair, MEND_REINDEX)) {
    r = may_reindex (repair, status);
    if (r == -1 || (r == 1 && reindex (repair, status) == -1))
      return -1;
  }
  for (size_t i = 0; i < repair->count; i++)
    if (mend_one (repair, &repair->mends[i], status) == -1)
      return -1;
  if (mend_pages (repair, status) == -1)
    return -1;
  if (!repair->keep)
    return clear_ends (repair, status) == -1 ? -1 : clean (repair, status);
  say (repair, EIO,
       "nothing was freed or deleted, since rows of disks, snapshots, layers "
       "or features, or the file's structures, are damaged: what they show may "
       "still be needed");
  return 0;
}

/* Give pages that have none a checksum, after a check that has found nothing
 * wrong: after mends it takes another one.
 */
static int
seal_pages (struct repair *repair, const struct check_counts *counts,
            struct status *status)
{
  uint64_t sealed;

  if (counts->without_checksum == 0)
    return 0;
  if (counts->problems > 0 || counts->file_not_checked) {
    say (repair, counts->problems > 0 ? EIO : EBUSY,
         "%s without a checksum; a repair that finds %s gives each one",
         COUNT (counts->without_checksum, "page"),
         counts->problems > 0 ? "no other problem"
                              : "time to check the structures of the file");
    return 0;
  }
  if (seal_all (repair->store, report_progress, repair, &sealed, status) == -1)
    return -1;
  say (repair, 0, "gave a checksum again to %s", COUNT (sealed, "page"));
  return 0;
}

int
repair_database (struct store *store, const struct repair_options *options,
                 struct check_counts *counts, struct status *status)
{
  struct repair repair = { .store = store, .options = options };
  const struct check_options check = {
    .found = note,
    .progress = report_progress,
    .opaque = &repair,
  };
  bool forgotten = true;
  int r;

  if (store_remote (store))
    return remote_refuse (status);
  r = check_database (store, &check, counts, status);
  if (r == 0 && repair.no_memory)
    r = status_no_memory (status);
  /* Who has a disk attached must not go on with what was lost. */
  if (r == 0 && counts->problems > 0)
    forgotten = store_forget_told (store, status) == 0;
  if (r == 0 && counts->problems + counts->leftovers > 0) {
    r = mend_all (&repair, status);
    if (r == -1 && status_is_damage (status)) {
      say (&repair, EIO, "%s", status->message);
      r = 0;
    }
  }
  /* The table of that itself may have been damaged. */
  if (r == 0 && !forgotten)
    r = store_forget_told (store, status);
  if (r == 0)
    r = seal_pages (&repair, counts, status);
  free (repair.mends);
  return r;
}
