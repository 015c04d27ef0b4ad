/* Writing marks: the file says that it is open before anything is committed
 * into it, and no log starts over, or goes, but behind a mark at its end.
 */

#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "checkpoint.h"
#include "database.h"
#include "mark.h"
#include "marking.h"
#include "shim.h"

static const struct disk_options options = { .name = "d", .size = 1 << 20 };

static char *path;
static struct status status;
static struct connection one, two;

/*--------------------------------------------------------------------
 * What reaches the files, as letters: a write of the mark into the file,
 * syncs of the log and of the file.
 */

static char seen[64];
static size_t seen_count;
static bool watching;

static int
before (struct shim_call *call)
{
  char letter = 0;

  if (!watching)
    return SQLITE_OK;
  if (call->method == SHIM_WRITE && call->file == SHIM_DATABASE)
    letter = call->count < 512 ? 'm' : 'p';
  else if (call->method == SHIM_SYNC)
    letter = call->file == SHIM_LOG ? 'l' : 'f';
  if (letter && seen_count < sizeof seen - 1)
    seen[seen_count++] = letter;
  return SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = before };

static void
watch (void)
{
  memset (seen, 0, sizeof seen);
  seen_count = 0;
  watching = true;
}

/*--------------------------------------------------------------------
 * Steps.
 */

static int
setup (void **state)
{
  unit_setup (state);
  path = unit_database ();
  watching = false;
  unit_create (path, &options);
  unit_open (&one, path, CONNECTION_WRITE);
  assert_ok (connection_open (&two, path, CONNECTION_WRITE, NULL, &status),
             &status);
  assert_ok (connection_touch (&two, &status), &status);
  return 0;
}

static int
teardown (void **state)
{
  connection_close (&one);
  connection_close (&two);
  return unit_teardown (state);
}

static void
commit (struct connection *connection)
{
  static const char insert_sql[] =
      "INSERT INTO feature VALUES (hex (randomblob (8)), 'compatible')";

  assert_ok (connection_begin_write (connection, &status), &status);
  assert_ok (connection_run (connection, insert_sql, &status), &status);
  assert_ok (connection_commit (connection, &status), &status);
}

static int64_t
count_rows (struct connection *connection)
{
  static const char count_sql[] = "SELECT count (*) FROM feature";
  int64_t count;

  assert_ok (connection_integer (connection, count_sql, &count, &status),
             &status);
  return count;
}

static int
checkpoint (struct connection *connection, int mode)
{
  int frames, done;

  assert_ok (connection_touch (connection, &status), &status);
  return sqlite3_wal_checkpoint_v2 (connection->db, "main", mode, &frames,
                                    &done);
}

static struct mark_look
look (void)
{
  struct mark_look look;

  assert_ok (mark_look (path, &look, &status), &status);
  assert_int_equal (look.fit, MARK_FITS);
  return look;
}

static void
assert_same (const unsigned char *id, const unsigned char *other, bool same)
{
  assert_int_equal (memcmp (id, other, MARK_ID_SIZE) == 0, same);
}

/*--------------------------------------------------------------------
 * The tests.
 */

/* The file says that it is open, durably, before the transaction begins; only
 * once.
 */
static void
test_open (void **state)
{
  const struct mark_look closed = look ();
  struct mark_look open;

  (void)state;
  assert_int_equal (closed.mark.state, MARK_CLOSED);
  watch ();
  assert_ok (connection_begin_write (&one, &status), &status);
  /* The header of the new log, then the mark in it; the file. */
  assert_string_equal (seen, "llmf");
  open = look ();
  assert_int_equal (open.mark.state, MARK_OPEN);
  assert_same (open.mark.previous, closed.mark.id, true);
  assert_true (open.log_has_id);
  connection_rollback (&one);
  watch ();
  for (int i = 0; i < 100; i++)
    commit (&one);
  assert_string_equal (seen, "");
  assert_same (look ().log_last.id, open.mark.id, true);
}

/* Another connection of this process knows; it does not put it again. */
static void
test_other (void **state)
{
  (void)state;
  commit (&one);
  watch ();
  commit (&two);
  commit (&one);
  assert_string_equal (seen, "");
}

/* A log that has been checkpointed goes on, unless it was ended; then it begins
 * with a new mark.
 */
static void
test_end (void **state)
{
  struct marking_end end;
  struct mark_look first, now;

  (void)state;
  commit (&one);
  first = look ();
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
  commit (&one);
  assert_memory_equal (look ().walk.salts, first.walk.salts, LOG_SALTS_SIZE);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART),
                    SQLITE_BUSY_SNAPSHOT);
  watch ();
  assert_ok (marking_end_log (&one, MARK_ENDED, &end, &status), &status);
  assert_string_equal (seen, "");
  watching = false;
  assert_ok (marking_permit_restart (&one, &end, &status), &status);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
  now = look ();
  assert_int_equal (now.mark.state, MARK_ENDED);
  assert_memory_equal (now.mark.salts, first.walk.salts, LOG_SALTS_SIZE);
  watch ();
  commit (&two);
  assert_string_equal (seen, "l"); /* SQLite's, of the header */
  now = look ();
  assert_memory_not_equal (now.walk.salts, first.walk.salts, LOG_SALTS_SIZE);
  assert_same (now.log_first.previous, first.mark.id, true);
  assert_int_equal (now.log_first.state, MARK_OPEN);
}

/* What somebody commits behind the end is not cut off. */
static void
test_behind_end (void **state)
{
  struct marking_end end;
  int64_t rows;

  (void)state;
  commit (&one);
  assert_ok (marking_end_log (&one, MARK_CLOSED, &end, &status), &status);
  commit (&two);
  rows = count_rows (&two);
  assert_ok (marking_permit_restart (&one, &end, &status), &status);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_TRUNCATE),
                    SQLITE_BUSY_SNAPSHOT);
  assert_true (look ().log_frames > 0);
  assert_int_equal (look ().log_last.state, MARK_OPEN);
  assert_result (checkpoint_complete (&one, &status), &status, 1);
  assert_true (look ().alone);
  assert_int_equal (count_rows (&one), rows);
}

/* Closing takes the log away behind its end only. */
static void
test_close (void **state)
{
  char *log = unit_path ("database.sqlite-wal");
  struct marking_end end;

  (void)state;
  commit (&one);
  assert_ok (marking_end_log (&one, MARK_CLOSED, &end, &status), &status);
  commit (&two);
  connection_close (&two);
  assert_ok (marking_permit_close (&one, &end, &status), &status);
  connection_close (&one);
  assert_true (look ().log_frames > 0);

  unit_open (&one, path, CONNECTION_WRITE);
  commit (&one);
  connection_close (&one);
  assert_true (look ().log_frames > 0);

  unit_open (&one, path, CONNECTION_WRITE);
  unit_close (&one);
  assert_int_equal (access (log, F_OK), -1);
  assert_true (look ().alone);
}

/* A process that dies between its first commit and the mark in the file. */
static void
test_killed (void **state)
{
  const struct mark_look closed = look ();

  (void)state;
  unit_sql (two.db,
            "UPDATE mark SET state = 2, previous = id, id = randomblob (16)");
  assert_int_equal (look ().mark.state, MARK_CLOSED);
  watch ();
  commit (&one);
  assert_string_equal (seen, "lmf");
  assert_int_equal (look ().mark.state, MARK_OPEN);
  assert_same (look ().mark.previous, closed.mark.id, true);
}

/* Another program lets the log start over. */
static void
test_foreign (void **state)
{
  struct mark_look before, now;
  sqlite3 *foreign;

  (void)state;
  commit (&one);
  commit (&one);
  before = look ();
  assert_int_equal (sqlite3_open_v2 (path, &foreign, SQLITE_OPEN_READWRITE,
                                     VFS_CHECKSUM_NAME),
                    SQLITE_OK);
  unit_sql (foreign, "PRAGMA wal_checkpoint (TRUNCATE)");
  sqlite3_close (foreign);
  watch ();
  commit (&one);
  assert_non_null (strstr (seen, "lmf"));
  now = look ();
  assert_int_equal (now.mark.state, MARK_OPEN);
  assert_same (now.mark.id, before.mark.id, false);
  assert_same (now.mark.previous, before.mark.id, true);
}

int
main (void)
{
#define TEST(function)                                                         \
  cmocka_unit_test_setup_teardown (function, setup, teardown)
  const struct CMUnitTest tests[] = {
    TEST (test_open),       TEST (test_other), TEST (test_end),
    TEST (test_behind_end), TEST (test_close), TEST (test_killed),
    TEST (test_foreign),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
