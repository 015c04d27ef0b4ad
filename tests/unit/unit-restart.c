/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The log starts over just when a checkpoint begins: nothing is lost.
 *
 * SQLite's fault (see vfs-restart.h) needs a commit between two steps of a
 * checkpoint that no call separates: it copies the header of the log's index,
 * then looks how far the log has been checkpointed.  So the connection that
 * checkpoints gets a copy of the index's first region, and the test decides
 * when what others did to the index appears there:
 *
 *   index   header | progress, read marks | pages of frames
 *             |                 |
 *             | each lock       | each lock, and while SQLite reads the header
 *             v                 v
 *   copy    header | progress, read marks | pages of frames
 *
 * While SQLite reads the header, the other side commits.  What SQLite sees is
 * as if that had come directly after the header was copied.
 */

#include <config.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "engine/checkpoint.h"
#include "shim.h"
#include "sqlite/vfs-restart.h"

/* The first region of the index: its header, twice, then the progress of
 * checkpoints and the read marks, then the pages of frames.
 */
#define REGION   32768
#define HEADERS  96
#define PROGRESS 40

#define LOCK_CHECKPOINT 1

/* Commits before the checkpoint, and within its beginning: fewer, so that the
 * log has old frames behind those that are new.
 */
#define BEFORE 30
#define WITHIN 10

/*--------------------------------------------------------------------
 * The copy of the index.
 */

static sqlite3_file *watched; /* the file of the connection that checkpoints */
static bool watch_next;       /* the next database that is opened is that */
static unsigned char copy[REGION], seen[PROGRESS];
static unsigned char *region;    /* what is copied, once it is mapped */
static void (*interfere) (void); /* called once, while the header is read */
static bool checkpointing;

/* What others did to the index, from OFFSET on, appears. */
static void
show (size_t offset)
{
  memcpy (copy + offset, region + offset, REGION - offset);
  memcpy (seen, copy + HEADERS, PROGRESS);
}

/* What SQLite did to the copy is done to the index. */
static void
pass_on (void)
{
  for (size_t i = 0; i < PROGRESS; i++)
    if (copy[HEADERS + i] != seen[i])
      region[HEADERS + i] = copy[HEADERS + i];
}

static int
before (struct shim_call *call)
{
  if (watched && call->handle == watched && call->method == SHIM_SHM_LOCK &&
      region)
    pass_on ();
  return SQLITE_OK;
}

static void
map_copy (void volatile **memory)
{
  region = (unsigned char *)*memory;
  show (0);
  *memory = copy;
}

static void
after (const struct shim_call *call, int result)
{
  if (call->method == SHIM_OPEN && call->file == SHIM_DATABASE && watch_next) {
    watched = call->handle;
    watch_next = false;
  }
  if (call->handle != watched || watched == NULL || result != SQLITE_OK)
    return;
  if (call->method == SHIM_SHM_MAP && call->number == 0 &&
      *(void volatile **)call->memory)
    map_copy (call->memory);
  if (call->method == SHIM_SHM_LOCK && region) {
    show (0);
    if (call->number == LOCK_CHECKPOINT)
      checkpointing = call->flags & SQLITE_SHM_LOCK;
  }
}

static void
barrier (sqlite3_file *handle)
{
  void (*const call) (void) = interfere;

  if (handle != watched || !checkpointing || call == NULL)
    return;
  interfere = NULL;
  call ();
  show (HEADERS);
}

static const struct shim_hooks hooks = {
  .before = before,
  .after = after,
  .barrier = barrier,
};

/*--------------------------------------------------------------------
 * The other side, which commits, as any program does that lets SQLite start
 * the log over: another connection of this process, or of
 * another one.
 */

static sqlite3 *other;
static int rows; /* that were committed */

static void
commit_rows (sqlite3 *db, int count)
{
  for (int i = 0; i < count; i++)
    unit_sql (db, "INSERT INTO property SELECT NULL, 9, 0, 'row ' || count (*),"
                  " 0, 0 FROM property");
}

static sqlite3 *
open_other (const char *path)
{
  sqlite3 *db = unit_open_raw (path);

  sqlite3_busy_timeout (db, 10000);
  unit_sql (db, "PRAGMA wal_autocheckpoint = 0; PRAGMA synchronous = NORMAL");
  sqlite3_db_config (db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
  return db;
}

static void
commit_here (void)
{
  commit_rows (other, WITHIN);
  rows += WITHIN;
}

/* A process that commits as many rows as it reads bytes, and then writes one.
 */
static pid_t child;
static int to_child, from_child;

static void
run_child (const char *path, int in, int out)
{
  struct connection connection;
  struct status status;
  sqlite3 *db;
  char byte;

  alarm (60);
  /* The file is there when the first byte comes.  This makes our VFS known. */
  if (read (in, &byte, 1) != 1 ||
      connection_open (&connection, path, CONNECTION_READ, NULL, &status) == -1)
    _exit (1);
  db = open_other (path);
  while (read (in, &byte, 1) == 1) {
    commit_rows (db, byte);
    if (write (out, &byte, 1) != 1)
      _exit (1);
  }
  sqlite3_close (db);
  connection_close (&connection);
  _exit (0);
}

/* Before this process uses SQLite. */
static void
start_child (const char *path)
{
  int in[2], out[2];

  assert_int_equal (pipe (in), 0);
  assert_int_equal (pipe (out), 0);
  child = fork ();
  assert_return_code (child, 0);
  if (child == 0) {
    close (in[1]);
    close (out[0]);
    run_child (path, in[0], out[1]);
  }
  close (in[0]);
  close (out[1]);
  to_child = in[1];
  from_child = out[0];
}

static void
send_child (char byte)
{
  assert_int_equal (write (to_child, &byte, 1), 1);
}

static void
commit_in_child (void)
{
  char byte;

  send_child (WITHIN);
  assert_int_equal (read (from_child, &byte, 1), 1);
  rows += WITHIN;
}

static void
end_child (void)
{
  int wait_status;

  close (to_child);
  close (from_child);
  assert_int_equal (waitpid (child, &wait_status, 0), child);
  assert_true (WIFEXITED (wait_status) && WEXITSTATUS (wait_status) == 0);
  child = 0;
}

/*--------------------------------------------------------------------
 * The tests.
 */

static struct connection checkpointer;
static char *path;

static int
setup (void **state)
{
  unit_setup (state);
  path = unit_database ();
  return 0;
}

static int
setup_with_child (void **state)
{
  setup (state);
  start_child (path);
  return 0;
}

/* A database whose log has been checkpointed, but for what COMMIT adds. */
static void
begin (void)
{
  const struct disk_options options = { .name = "d", .size = 1 << 20 };
  struct status status;
  int frames, done;

  unit_create (path, &options);
  watched = NULL;
  region = NULL;
  other = open_other (path);
  commit_rows (other, BEFORE);
  rows = unit_integer (other, "SELECT count (*) FROM property");
  watch_next = true;
  assert_ok (
      connection_open (&checkpointer, path, CONNECTION_LOG, NULL, &status),
      &status);
  watch_next = false;
  assert_ok (connection_touch (&checkpointer, &status), &status);
  assert_non_null (region);
  assert_int_equal (sqlite3_wal_checkpoint_v2 (checkpointer.db, "main",
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               &frames, &done),
                    SQLITE_OK);
  assert_int_equal (frames, done);
}

/* All rows that were committed are there, also once the log has gone. */
static void
check_rows (void)
{
  static const char count_sql[] = "SELECT count (*) FROM property";
  struct connection connection;
  struct status status;
  int64_t count;

  assert_ok (
      connection_open (&connection, path, CONNECTION_WRITE, NULL, &status),
      &status);
  assert_result (checkpoint_complete (&connection, &status), &status, 1);
  assert_ok (connection_integer (&connection, count_sql, &count, &status),
             &status);
  connection_close (&connection);
  assert_int_equal (count, rows);
}

static void
end (void)
{
  watched = NULL;
  connection_close (&checkpointer);
  check_rows ();
  assert_int_equal (sqlite3_close (other), SQLITE_OK);
  unit_assert_sound (path);
}

/* The log was checkpointed, and something is committed in the window, and
 * after it: that is what would be taken for checkpointed.
 */
static void
checkpoint_against (void (*commit) (void))
{
  int frames, done;

  interfere = commit;
  assert_int_equal (sqlite3_wal_checkpoint_v2 (checkpointer.db, "main",
                                               SQLITE_CHECKPOINT_PASSIVE,
                                               &frames, &done),
                    SQLITE_OK);
  assert_null (interfere);
  commit ();
}

/* A connection of the same process commits in the window. */
static void
test_connection (void **state)
{
  (void)state;
  begin ();
  checkpoint_against (commit_here);
  end ();
}

/* One of another process. */
static void
test_process (void **state)
{
  (void)state;
  begin ();
  send_child (0);
  checkpoint_against (commit_in_child);
  end_child ();
  end ();
}

/* The log still starts over where it may: it does not grow for ever. */
static void
test_starts_over (void **state)
{
  struct status status;
  int frames, done;

  (void)state;
  begin ();
  for (int i = 0; i < 10; i++) {
    commit_rows (other, BEFORE);
    rows += BEFORE;
    assert_ok (connection_touch (&checkpointer, &status), &status);
    assert_int_equal (sqlite3_wal_checkpoint_v2 (checkpointer.db, "main",
                                                 SQLITE_CHECKPOINT_PASSIVE,
                                                 &frames, &done),
                      SQLITE_OK);
    assert_int_equal (frames, done);
    assert_uint_in_range (frames, BEFORE, 3 * BEFORE);
  }
  end ();
}

static void
test_versions (void **state)
{
  (void)state;
  assert_false (vfs_restart_is_fixed (3040001));
  assert_false (vfs_restart_is_fixed (3044005));
  assert_true (vfs_restart_is_fixed (3044006));
  assert_false (vfs_restart_is_fixed (3045000));
  assert_false (vfs_restart_is_fixed (3046001));
  assert_false (vfs_restart_is_fixed (3050006));
  assert_true (vfs_restart_is_fixed (3050007));
  assert_false (vfs_restart_is_fixed (3051002));
  assert_true (vfs_restart_is_fixed (3051003));
  assert_true (vfs_restart_is_fixed (3052000));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    /* This first: a process is made before SQLite is used. */
    cmocka_unit_test_setup_teardown (test_process, setup_with_child,
                                     unit_teardown),
    cmocka_unit_test_setup_teardown (test_connection, setup, unit_teardown),
    cmocka_unit_test_setup_teardown (test_starts_over, setup, unit_teardown),
    cmocka_unit_test (test_versions),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
