/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Writing marks: the file says that it is open before anything is committed
 * into it, and no log starts over, or goes, but behind a mark at its end.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"

#include "engine/checkpoint.h"
#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/log.h"
#include "sqlite/mark.h"
#include "sqlite/marking.h"
#include "sqlite/vfs.h"
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

/* Of calls that change the database: what happens before each. */
static int calls;
static int (*interfere) (const struct shim_call *call);

/* A file system that is full. */
static bool full;
static int refuse_growth (const struct shim_call *call);

static int
before (struct shim_call *call)
{
  char letter = 0;

  if (full)
    return refuse_growth (call);
  if (interfere && call->file == SHIM_DATABASE &&
      (call->method == SHIM_WRITE || call->method == SHIM_TRUNCATE ||
       call->method == SHIM_SYNC)) {
    calls++;
    return interfere (call);
  }
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

/* What others do before somebody takes the lock of checkpoints. */
static void (*others) (void);

/* The next lock of a read mark for which SQLite asks is refused; the last of
 * them is the one that vfs-restart.h takes.
 */
static bool refuse_reading;

static int
before_all (struct shim_call *call)
{
  void (*now) (void) = others;

  if (refuse_reading && call->method == SHIM_SHM_LOCK &&
      call->flags == (SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) &&
      call->number < LOG_LOCK_READ_MARK + LOG_READ_MARKS - 1) {
    refuse_reading = false;
    return SQLITE_IOERR_SHMLOCK;
  }
  if (now && call->method == SHIM_SHM_LOCK && call->number == 1 &&
      call->flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE)) {
    others = NULL;
    now ();
  }
  return before (call);
}

/* What others do once somebody has let go of the lock of writers, and there is
 * something in the log.
 */
static void (*others_after) (void);

static bool
is_end_of_write (const struct shim_call *call)
{
  return call->method == SHIM_SHM_LOCK && call->number == 0 &&
         call->flags == (SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
}

static void
after_all (const struct shim_call *call, int result)
{
  void (*now) (void) = others_after;

  (void)result;
  if (now && is_end_of_write (call) && files_bytes (path, "-wal") > 0) {
    others_after = NULL;
    now ();
  }
}

static const struct shim_hooks hooks = {
  .before = before_all,
  .after = after_all,
};

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
  interfere = NULL;
  full = false;
  others = others_after = NULL;
  refuse_reading = false;
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
  static const char insert_sql[] = UNIT_NOTE ("hex (randomblob (8))");

  assert_ok (marking_begin (connection, &status), &status);
  assert_ok (connection_run (connection, insert_sql, &status), &status);
  assert_ok (connection_commit (connection, &status), &status);
}

static int64_t
count_rows (struct connection *connection)
{
  static const char count_sql[] = "SELECT count (*) FROM property";
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
  assert_ok (marking_begin (&one, &status), &status);
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

/* The same where somebody ends the log before it is noticed, and a reader has
 * kept him from moving it.
 */
static void
test_killed_and_ended (void **state)
{
  struct marking_end end;
  sqlite3 *reader;

  (void)state;
  commit (&one);
  unit_close (&two);
  unit_close (&one);
  unit_open (&one, path, CONNECTION_WRITE);
  unit_open (&two, path, CONNECTION_WRITE);
  unit_sql (two.db, "UPDATE feature SET class = 1");
  reader = unit_open_raw (path);
  unit_sql (reader, "BEGIN; SELECT * FROM disk");
  unit_sql (two.db,
            "UPDATE mark SET state = 2, previous = id, id = randomblob (16)");
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
  assert_ok (marking_end_log (&one, MARK_ENDED, &end, &status), &status);
  assert_int_equal (look ().mark.state, MARK_CLOSED);
  commit (&one);
  assert_int_equal (look ().mark.state, MARK_OPEN);
  sqlite3_close (reader);
}

static void
begin_refusing (void)
{
  refuse_reading = true;
}

/* Where the mark cannot be read while it is to be put into the file, nothing
 * begins: the file must not go on to pass as complete.
 */
static void
test_unread (void **state)
{
  (void)state;
  others = begin_refusing;
  assert_fails (marking_begin (&one, &status), &status, EIO, "marking");
  assert_false (refuse_reading);
  assert_int_equal (look ().mark.state, MARK_CLOSED);
  commit (&one);
  assert_int_equal (look ().mark.state, MARK_OPEN);
}

/* Have another program empty the log. */
static void
empty_foreign (void)
{
  sqlite3 *foreign;

  assert_int_equal (
      sqlite3_open_v2 (path, &foreign, SQLITE_OPEN_READWRITE, VFS_NAME),
      SQLITE_OK);
  unit_sql (foreign, "PRAGMA wal_checkpoint (TRUNCATE)");
  sqlite3_close (foreign);
}

/* Another program lets the log start over. */
static void
test_foreign (void **state)
{
  struct mark_look before, now;

  (void)state;
  commit (&one);
  commit (&one);
  before = look ();
  empty_foreign ();
  watch ();
  commit (&one);
  assert_non_null (strstr (seen, "lmf"));
  now = look ();
  assert_int_equal (now.mark.state, MARK_OPEN);
  assert_same (now.mark.id, before.mark.id, false);
  assert_same (now.mark.previous, before.mark.id, true);
}

/*--------------------------------------------------------------------
 * The mark that ends a log gets into the file last.
 */

/* Some pages, before and behind those that there are. */
static void
commit_pages (void)
{
  static const char insert_sql[] = UNIT_NOTE ("hex (randomblob (1500))");

  for (int i = 0; i < 8; i++) {
    assert_ok (marking_begin (&one, &status), &status);
    assert_ok (connection_run (&one, insert_sql, &status), &status);
    assert_ok (connection_commit (&one, &status), &status);
  }
}

/* The file alone, as a kill would leave it at each call. */
static struct copy {
  char *bytes;
  size_t size;
} copies[256];

static int
copy_file (const struct shim_call *call)
{
  struct copy *copy = &copies[calls - 1];

  (void)call;
  assert_uint_in_range (calls, 1, 256);
  copy->bytes = unit_read_file (path, &copy->size);
  return SQLITE_OK;
}

static void
begin_copies (void)
{
  calls = 0;
  interfere = copy_file;
}

/* No copy passes for what it is not. */
static void
check_copies (void)
{
  char *alone = unit_path ("alone");
  struct mark_look last, at;
  size_t size;
  char *bytes = unit_read_file (path, &size);

  interfere = NULL;
  last = look ();
  assert_true (calls > 10);
  for (int i = 0; i < calls; i++) {
    unit_write_file (alone, copies[i].bytes, copies[i].size);
    assert_ok (mark_look (alone, &at, &status), &status);
    if (at.alone || memcmp (&at.mark, &last.mark, sizeof at.mark) == 0) {
      assert_int_equal (size, copies[i].size);
      assert_memory_equal (bytes, copies[i].bytes, size);
    }
    free (copies[i].bytes);
  }
  free (bytes);
}

static void
end_log (enum mark_state state)
{
  struct marking_end end;

  assert_ok (marking_end_log (&one, state, &end, &status), &status);
  assert_ok (marking_permit_restart (&one, &end, &status), &status);
}

static void
test_last (void **state)
{
  (void)state;
  for (int i = 0; i < 3; i++) {
    commit_pages ();
    end_log (MARK_ENDED);
    begin_copies ();
    assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
    check_copies ();
    assert_int_equal (look ().mark.state, MARK_ENDED);
    commit_pages ();
    begin_copies ();
    assert_result (checkpoint_complete (&one, &status), &status, 1);
    check_copies ();
    assert_true (look ().alone);
  }
  commit_pages ();
  connection_close (&two);
  begin_copies ();
  unit_close (&one);
  check_copies ();
  assert_true (look ().alone);
}

/* Each call fails once: what was not done then is done by the next checkpoint.
 */
static int fail_at;

static int
fail_one (const struct shim_call *call)
{
  (void)call;
  return calls == fail_at ? SQLITE_IOERR : SQLITE_OK;
}

static void
test_last_fails (void **state)
{
  int64_t rows;
  int r;

  (void)state;
  for (fail_at = 1;; fail_at += fail_at < 20 ? 1 : 7) {
    commit_pages ();
    rows = count_rows (&one);
    calls = 0;
    interfere = fail_one;
    r = checkpoint_complete (&one, &status);
    interfere = NULL;
    if (calls < fail_at)
      break;
    assert_int_equal (r, -1);
    assert_false (look ().alone);
    assert_result (checkpoint_complete (&one, &status), &status, 1);
    assert_true (look ().alone);
    assert_int_equal (count_rows (&two), rows);
  }
  assert_int_equal (r, 1);
  assert_true (fail_at > 10);
}

/* Somebody commits while the last checkpoint writes. */
static void (*commit_between) (void);

static int
commit_at_third (const struct shim_call *call)
{
  (void)call;
  if (calls == 3) {
    interfere = NULL;
    commit_between ();
  }
  return SQLITE_OK;
}

static void
commit_ours (void)
{
  static const char insert_sql[] =
      "UPDATE mark SET state = 2, previous = id, id = randomblob (16)";

  unit_sql (two.db, insert_sql);
}

static void
commit_foreign (void)
{
  unit_sql (two.db, UNIT_NOTE ("'foreign'"));
}

static void
commit_foreign_pages (void)
{
  static const char insert_sql[] =
      "INSERT INTO property SELECT NULL, 9, 0, hex (randomblob (1500)), 0, 0"
      " FROM property LIMIT 8";

  unit_sql (two.db, insert_sql);
}

static void
test_last_overtaken (void **state)
{
  static void (*const commits[]) (void) = { commit_ours, commit_foreign,
                                            commit_foreign_pages };
  int64_t rows, moved;

  (void)state;
  for (size_t i = 0; i < sizeof commits / sizeof commits[0]; i++) {
    commit_pages ();
    end_log (MARK_CLOSED);
    calls = 0;
    commit_between = commits[i];
    interfere = commit_at_third;
    assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
    assert_null (interfere);
    assert_int_not_equal (look ().mark.state, MARK_CLOSED);
    /* A page is missing, so nothing counts as moved. */
    assert_ok (log_moved (&one, &moved, &status), &status);
    assert_int_equal (moved, LOG_HEADER_SIZE);
    rows = count_rows (&one);
    assert_result (checkpoint_complete (&one, &status), &status, 1);
    assert_true (look ().alone);
    assert_int_equal (count_rows (&two), rows);
  }
}

/* The same, and the one who writes next has not seen the log before. */
static void
test_foreign_unseen (void **state)
{
  struct connection three;

  (void)state;
  commit (&one);
  empty_foreign ();
  assert_ok (connection_open (&three, path, CONNECTION_WRITE, NULL, &status),
             &status);
  commit (&three);
  assert_true (look ().log_has_marks);
  commit (&one);
  assert_true (look ().log_has_marks);
  connection_close (&three);
}

/* The same, and the log had just started over. */
static void
test_foreign_begun (void **state)
{
  struct marking_end end;

  (void)state;
  commit (&one);
  assert_ok (marking_end_log (&one, MARK_ENDED, &end, &status), &status);
  assert_ok (marking_permit_restart (&one, &end, &status), &status);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
  commit (&two);
  empty_foreign ();
  commit (&two);
  assert_true (look ().log_has_marks);
  watch ();
  commit (&two);
  commit (&one);
  commit (&two);
  assert_string_equal (seen, "");
}

static void
close_by_two (void)
{
  assert_result (checkpoint_complete (&two, &status), &status, 1);
}

/* Another one closes the log before the mark that opens it has been put into
 * the file: it stays closed.
 */
static void
test_closed_meanwhile (void **state)
{
  struct mark_look closed;

  (void)state;
  others = close_by_two;
  assert_ok (marking_begin (&one, &status), &status);
  assert_null (others);
  connection_rollback (&one);
  closed = look ();
  assert_true (closed.log_has_marks);
  commit (&one);
  assert_true (look ().log_has_marks);
  assert_int_equal (look ().mark.state, MARK_OPEN);
}

static void
close_twice_by_two (void)
{
  close_by_two ();
  commit (&two);
  close_by_two ();
  watch ();
}

/* The same, and that one has begun and closed another log, too. */
static void
test_closed_twice (void **state)
{
  (void)state;
  others = close_twice_by_two;
  assert_ok (marking_begin (&one, &status), &status);
  assert_null (others);
  /* It is begun again: SQLite's sync of the header, and ours; the stamp and the
   * mark.
   */
  assert_string_equal (seen, "llmmf");
  assert_int_equal (look ().mark.state, MARK_OPEN);
  assert_true (look ().log_has_marks);
  connection_rollback (&one);
}

/* Another one commits when the checkpoint of a log that was closed is about to
 * write the mark: it is put into the file after that.
 */
static pthread_t committing;
static int committed;

static void *
commit_beside (void *opaque)
{
  struct status ignored;

  (void)opaque;
  committed = marking_begin (&two, &ignored);
  return NULL;
}

static int
commit_at_mark (const struct shim_call *call)
{
  if (call->method != SHIM_WRITE ||
      call->number != (MARK_PAGE - 1) * (int64_t)call->count)
    return SQLITE_OK;
  interfere = NULL;
  assert_int_equal (pthread_create (&committing, NULL, commit_beside, NULL), 0);
  usleep (100000);
  return SQLITE_OK;
}

static void
test_closed_late (void **state)
{
  struct mark_look open;

  (void)state;
  commit_pages ();
  end_log (MARK_ENDED);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
  commit_pages ();
  end_log (MARK_CLOSED);
  assert_int_equal (look ().mark.state, MARK_ENDED);
  interfere = commit_at_mark;
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
  assert_null (interfere);
  assert_int_equal (pthread_join (committing, NULL), 0);
  assert_int_equal (committed, 0);
  open = look ();
  assert_int_equal (open.mark.state, MARK_OPEN);
  assert_true (open.log_has_id);
  connection_rollback (&two);
}

/*--------------------------------------------------------------------
 * A copy of the file alone that goes on while the file is written.
 */

static void
close_log (void)
{
  assert_result (checkpoint_complete (&one, &status), &status, 1);
}

static void
only_open (void)
{
  assert_ok (marking_begin (&one, &status), &status);
  connection_rollback (&one);
}

static void
grow (void)
{
  commit_pages ();
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
}

static void
grow_and_close (void)
{
  commit_pages ();
  close_log ();
}

static void
shrink (void)
{
  static const char delete_sql[] = "DELETE FROM property";
  static const char shrink_sql[] = "PRAGMA incremental_vacuum";

  assert_ok (marking_begin (&one, &status), &status);
  assert_ok (connection_run (&one, delete_sql, &status), &status);
  assert_ok (connection_commit (&one, &status), &status);
  assert_ok (marking_begin (&one, &status), &status);
  assert_ok (connection_run (&one, shrink_sql, &status), &status);
  assert_ok (connection_commit (&one, &status), &status);
  close_log ();
}

/* Look at what has OLD up to CUT, and then NEW. */
static struct mark_look
look_at_copy (const struct copy *old, const struct copy *new, size_t cut)
{
  char *name = unit_path ("copy");
  const size_t size = new->size > cut ? new->size : cut;
  char *both = malloc (size);
  struct mark_look look;

  assert_non_null (both);
  memcpy (both, old->bytes, cut);
  if (new->size > cut)
    memcpy (both + cut, new->bytes + cut, new->size - cut);
  unit_write_file (name, both, size);
  assert_ok (mark_look (name, &look, &status), &status);
  free (both);
  return look;
}

/* Wherever a copy is when the file is opened, it is not taken. */
static void
test_copy (void **state)
{
  static void (*const changes[]) (void) = { only_open, grow, grow_and_close,
                                            shrink };
  char *name = unit_path ("copy"), *log = unit_path ("copy-wal");
  struct connection connection;
  struct mark_look seen_there;
  struct copy old, new;
  int64_t page_size;
  char *bytes;
  size_t size;

  (void)state;
  assert_ok (connection_page_size (&one, &page_size, &status), &status);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    commit_pages ();
    close_log ();
    old.bytes = unit_read_file (path, &old.size);
    changes[i]();
    new.bytes = unit_read_file (path, &new.size);
    for (size_t cut = MARK_PAGE * page_size; cut < old.size;
         cut += page_size * (cut > 8 * (size_t)page_size ? 5 : 1)) {
      seen_there = look_at_copy (&old, &new, cut);
      if (seen_there.fit != MARK_TORN || seen_there.alone)
        fail_msg ("%zu, cut at %zu of %zu: %d", i, cut, old.size,
                  seen_there.fit);
    }
    assert_fails (
        database_open (&connection, name, CONNECTION_WRITE, NULL, &status),
        &status, EIO, "of different times");
    assert_fails (
        database_open (&connection, name, CONNECTION_READ, NULL, &status),
        &status, EIO, "of different times");
    /* With the log that was begun since it is whole. */
    if (changes[i] == grow) {
      bytes = unit_read_file (unit_path ("database.sqlite-wal"), &size);
      unit_write_file (log, bytes, size);
      unit_open (&connection, name, CONNECTION_WRITE);
      assert_int_equal (count_rows (&connection), count_rows (&one));
      connection_close (&connection);
      unlink (log);
      free (bytes);
    }
    assert_true (look_at_copy (&old, &new, old.size).alone);
    free (old.bytes);
    free (new.bytes);
  }
}

/* What another program changes in a file that is closed is no such copy, and
 * neither is one whose last page is given its checksum again.
 */
static void
test_stamp_stays (void **state)
{
  static const char *const changes[] = {
    "UPDATE property SET value = 1",
    ("INSERT INTO property SELECT NULL, 9, 0, hex (randomblob (9)), 0, 0 FROM"
     " property a, property b, property c"),
    "DELETE FROM property; PRAGMA incremental_vacuum",
    "CREATE VIEW v AS SELECT * FROM property; ANALYZE",
  };
  char *copy = unit_path ("copy"), *bytes;
  struct mark_look closed;
  int64_t page_size, pages;
  sqlite3 *foreign;
  bool sealed;
  size_t size;

  (void)state;
  assert_ok (connection_page_size (&one, &page_size, &status), &status);
  commit_pages ();
  close_log ();
  pages = unit_integer (two.db, "PRAGMA page_count");
  closed = look ();
  assert_int_equal (mark_last (&closed.mark), pages);
  bytes = unit_read_file (path, &size);
  for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
    unit_write_file (copy, bytes, size);
    assert_int_equal (sqlite3_open (copy, &foreign), SQLITE_OK);
    unit_sql (foreign, changes[i]);
    sqlite3_close (foreign);
    assert_ok (mark_look (copy, &closed, &status), &status);
    assert_true (closed.alone);
  }
  free (bytes);
  assert_int_equal (vfs_checksum_accept (one.db, pages, page_size), SQLITE_OK);
  assert_true (look ().alone);
  assert_int_equal (vfs_checksum_seal (one.db, pages, page_size, &sealed),
                    SQLITE_OK);
  assert_false (sealed);
  commit (&two);
  close_log ();
  assert_true (look ().alone);
  unit_assert_sound (path);
}

/* A commit that does not change the last page. */
static void
commit_low (void)
{
  static const char grow_sql[] = "UPDATE disk SET size = size + 4096";

  assert_ok (marking_begin (&one, &status), &status);
  assert_ok (connection_run (&one, grow_sql, &status), &status);
  assert_ok (connection_commit (&one, &status), &status);
}

/* The stamp of the page of FILE that the mark in LOOK names. */
static uint32_t
last_stamp (const char *file, const struct mark_look *look, size_t page_size)
{
  size_t size;
  char *bytes = unit_read_file (file, &size);
  const size_t end = mark_last (&look->mark) * page_size;
  uint32_t stamp;

  assert_uint_in_range (end, page_size, size);
  stamp =
      vfs_checksum_stamp_of ((unsigned char *)bytes + end - PAGE_CHECKSUM_SIZE);
  free (bytes);
  return stamp;
}

/* A server dies when the mark that closes the file is in the log only, and
 * another program moves that.
 */
static void
test_moved_by_another (void **state)
{
  char *copy = unit_path ("copy"), *log = unit_path ("copy-wal"), *bytes;
  struct mark_look seen_there;
  struct connection three;
  int64_t page_size;
  sqlite3 *foreign;
  bool sealed;
  size_t size;

  (void)state;
  assert_ok (connection_page_size (&one, &page_size, &status), &status);
  commit_pages ();
  close_log ();
  commit_low ();
  end_log (MARK_ENDED);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_RESTART), SQLITE_OK);
  commit_low ();
  end_log (MARK_CLOSED);
  bytes = unit_read_file (path, &size);
  unit_write_file (copy, bytes, size);
  free (bytes);
  bytes = unit_read_file (unit_path ("database.sqlite-wal"), &size);
  unit_write_file (log, bytes, size);
  free (bytes);
  assert_int_equal (sqlite3_open (copy, &foreign), SQLITE_OK);
  assert_true (unit_integer (foreign, "SELECT count (*) FROM property") > 0);
  sqlite3_close (foreign);
  for (int i = 0; i < 2; i++) {
    assert_ok (mark_look (copy, &seen_there, &status), &status);
    assert_true (mark_last (&seen_there.mark) > 0);
    assert_true (seen_there.alone);
    /* The last page has still the stamp of an earlier time. */
    assert_int_not_equal (last_stamp (copy, &seen_there, page_size), 0);
    assert_int_not_equal (last_stamp (copy, &seen_there, page_size),
                          mark_stamp (&seen_there.mark));
    unit_open (&three, copy, CONNECTION_WRITE);
    assert_int_equal (
        vfs_checksum_seal (three.db, MARK_PAGE, page_size, &sealed), SQLITE_OK);
    assert_int_equal (sealed, i == 0);
    connection_close (&three);
  }
}

/*--------------------------------------------------------------------
 * A file system that is full: the log cannot grow.
 */

/* The file and its log, as a kill would leave them at each call. */
static struct pair {
  struct copy file, log;
} pairs[64];

static size_t pair_count;

static void
copy_pair (void)
{
  struct pair *pair = &pairs[pair_count++];

  assert_true (pair_count <= sizeof pairs / sizeof pairs[0]);
  pair->file.bytes = unit_read_file (path, &pair->file.size);
  pair->log.bytes =
      unit_read_file (unit_path ("database.sqlite-wal"), &pair->log.size);
}

static int
refuse_growth (const struct shim_call *call)
{
  if (call->file == SHIM_LOG && call->method == SHIM_WRITE)
    return SQLITE_FULL;
  if (call->file != SHIM_OTHER &&
      (call->method == SHIM_WRITE || call->method == SHIM_TRUNCATE ||
       call->method == SHIM_SYNC))
    copy_pair ();
  return SQLITE_OK;
}

static bool
has_log (const struct pair *pair)
{
  return pair->log.size > 0;
}

/* Each pair fits; one in which a transaction is only in the log is not one that
 * could do without it.
 */
static void
check_pairs (void)
{
  char *file = unit_path ("pair"), *log = unit_path ("pair-wal");
  struct mark_look look;
  int with_log = 0;

  for (size_t i = 0; i < pair_count; i++) {
    unit_write_file (file, pairs[i].file.bytes, pairs[i].file.size);
    unit_write_file (log, has_log (&pairs[i]) ? pairs[i].log.bytes : "",
                     pairs[i].log.size);
    assert_ok (mark_look (file, &look, &status), &status);
    if (look.fit != MARK_FITS)
      fail_msg ("call %zu of %zu: %d", i, pair_count, look.fit);
    with_log += has_log (&pairs[i]);
    free (pairs[i].file.bytes);
    free (pairs[i].log.bytes);
  }
  assert_true (with_log > 3);
  assert_true (pair_count > 5);
  pair_count = 0;
}

/* At no call would a kill leave a file that is refused. */
static void
test_close_full (void **state)
{
  int64_t rows;

  (void)state;
  commit_pages ();
  rows = count_rows (&one);
  full = true;
  assert_result (checkpoint_complete (&one, &status), &status, 1);
  copy_pair ();
  full = false;
  check_pairs ();
  assert_true (look ().alone);
  assert_int_equal (count_rows (&two), rows);
  commit (&two);
  assert_int_equal (look ().mark.state, MARK_OPEN);
}

/* The log that was to go, if it is there again, is only that. */
static void
test_close_full_killed (void **state)
{
  struct marking_end end;
  struct mark_look closed;

  (void)state;
  commit_pages ();
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
  assert_ok (marking_close_in_file (&one, &end, &status), &status);
  closed = look ();
  assert_int_equal (closed.mark.state, MARK_CLOSED);
  assert_true (closed.log_has_sums);
  assert_false (closed.alone || closed.log_has_id);
  /* Who goes on with it has it open in the file before that. */
  assert_ok (marking_reopen_in_file (&one, &end, &status), &status);
  assert_int_equal (look ().mark.state, MARK_OPEN);
  commit (&two);
  assert_true (look ().log_has_id);
}

/* A commit at the last moment: the log stays, and the file says so. */
static int locks;

static void
commit_at_last (void)
{
  if (++locks < 4)
    others = commit_at_last;
  else {
    full = false;
    commit (&two);
  }
}

static void
test_close_full_overtaken (void **state)
{
  struct marking_end end;
  struct mark_look now;

  (void)state;
  commit_pages ();
  locks = 0;
  full = true;
  others = commit_at_last;
  assert_result (checkpoint_complete (&one, &status), &status, 1);
  assert_int_equal (locks, 4);
  assert_true (look ().alone);

  /* The same, by one who has seen the mark, and there it ends. */
  commit_pages ();
  commit (&two);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_PASSIVE), SQLITE_OK);
  assert_ok (marking_close_in_file (&one, &end, &status), &status);
  commit (&two);
  assert_true (look ().log_has_sums);
  assert_ok (marking_permit_restart (&one, &end, &status), &status);
  assert_int_equal (checkpoint (&one, SQLITE_CHECKPOINT_TRUNCATE),
                    SQLITE_BUSY_SNAPSHOT);
  assert_ok (marking_reopen_in_file (&one, &end, &status), &status);
  now = look ();
  assert_int_equal (now.mark.state, MARK_OPEN);
  assert_true (now.log_has_id);
}

/* Make the database a copy by SQLite's backup API, which nobody has open. */
static void
become_copy (void)
{
  char *copy = unit_path ("copy");
  sqlite3_backup *copying;
  sqlite3 *to;

  connection_close (&two);
  assert_int_equal (sqlite3_open (copy, &to), SQLITE_OK);
  copying = sqlite3_backup_init (to, "main", one.db, "main");
  assert_non_null (copying);
  assert_int_equal (sqlite3_backup_step (copying, -1), SQLITE_DONE);
  sqlite3_backup_finish (copying);
  sqlite3_close (to);
  unit_close (&one);
  assert_int_equal (rename (copy, path), 0);
}

static void
begin_beside (void)
{
  assert_ok (connection_open (&two, path, CONNECTION_WRITE, NULL, &status),
             &status);
  commit (&two);
}

/* Somebody else begins to write to a copy as soon as it is a database of its
 * own: the log in which he has begun is not cut off.
 */
static void
test_adopted_by_two (void **state)
{
  int64_t rows;

  (void)state;
  become_copy ();
  assert_true (look ().copied);
  others_after = begin_beside;
  assert_ok (database_open (&one, path, CONNECTION_WRITE, NULL, &status),
             &status);
  assert_null (others_after);
  assert_false (look ().copied);
  rows = count_rows (&two);
  commit (&two);
  assert_int_equal (look ().log_last.state, MARK_OPEN);
  assert_int_equal (count_rows (&one), rows + 1);
}

int
main (void)
{
#define TEST(function)                                                         \
  cmocka_unit_test_setup_teardown (function, setup, teardown)
  const struct CMUnitTest tests[] = {
    TEST (test_open),
    TEST (test_other),
    TEST (test_end),
    TEST (test_behind_end),
    TEST (test_close),
    TEST (test_killed),
    TEST (test_killed_and_ended),
    TEST (test_unread),
    TEST (test_foreign),
    TEST (test_last),
    TEST (test_last_fails),
    TEST (test_last_overtaken),
    TEST (test_foreign_unseen),
    TEST (test_foreign_begun),
    TEST (test_closed_meanwhile),
    TEST (test_copy),
    TEST (test_stamp_stays),
    TEST (test_moved_by_another),
    TEST (test_close_full),
    TEST (test_close_full_killed),
    TEST (test_close_full_overtaken),
    TEST (test_closed_twice),
    TEST (test_closed_late),
    TEST (test_adopted_by_two),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
