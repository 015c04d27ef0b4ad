/* Room at the end of the database: what SQLite tells beforehand is filled with
 * zeroes, in few writes, and what was there stays as it was.
 */

#include <config.h>

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "rows.h"
#include "unit.h"

#include "checkpoint.h"
#include "shim.h"
#include "vfs_room.h"

#define PAGE   4096
#define BLOCKS 500

/* Writes to the database, by what they are: zeroes past the end, or pages. */
static bool counting;
static int pieces, pages;
static int64_t unaligned; /* pieces that begin in the middle of one */

static int
before (struct shim_call *call)
{
  if (!counting || call->method != SHIM_WRITE || call->file != SHIM_DATABASE)
    return SQLITE_OK;
  if (call->count == PAGE)
    pages++;
  else {
    pieces++;
    unaligned += call->number % VFS_ROOM_PIECE != 0;
  }
  return SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = before };

static char *path;
static struct connection connection;

/* A database with a disk, and a connection that writes. */
static int
setup (void **state)
{
  const struct disk_options options = { .name = "d", .size = 1 << 20 };

  unit_setup (state);
  path = unit_database ();
  unit_create (path, &options);
  unit_open (&connection, path, CONNECTION_WRITE);
  return 0;
}

static void
count_writes (void)
{
  pieces = pages = unaligned = 0;
  counting = true;
}

static int
teardown (void **state)
{
  connection_close (&connection);
  return unit_teardown (state);
}

static void
tell_size (int64_t size)
{
  assert_int_equal (sqlite3_file_control (connection.db, "main",
                                          SQLITE_FCNTL_SIZE_HINT, &size),
                    SQLITE_OK);
}

/* The file is as long as was told, zeroes from its old end on. */
static void
test_filled (void **state)
{
  const int64_t more[] = { 1, 5 * PAGE, VFS_ROOM_PIECE, 1000000 };
  size_t size, now;
  char *bytes = unit_read_file (path, &size), *all;

  (void)state;
  for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
    tell_size (size + more[i]);
    all = unit_read_file (path, &now);
    assert_int_equal (now, size + more[i]);
    assert_memory_equal (all, bytes, size);
    for (size_t at = size; at < now; at++)
      assert_int_equal (all[at], 0);
    free (all);
  }
  free (bytes);
}

/* A file that is as long already stays as it is. */
static void
test_long_enough (void **state)
{
  size_t size, now;
  char *bytes = unit_read_file (path, &size), *all;

  (void)state;
  count_writes ();
  tell_size (size);
  tell_size (size / 2);
  tell_size (0);
  assert_int_equal (pieces + pages, 0);
  all = unit_read_file (path, &now);
  assert_int_equal (now, size);
  assert_memory_equal (all, bytes, size);
  free (all);
  free (bytes);
}

/* Where there is no space, nothing fails yet. */
static void
test_no_space (void **state)
{
  struct rlimit before_it, limit;
  size_t size;

  (void)state;
  free (unit_read_file (path, &size));
  signal (SIGXFSZ, SIG_IGN);
  assert_int_equal (getrlimit (RLIMIT_FSIZE, &before_it), 0);
  limit = before_it;
  limit.rlim_cur = size + 100000;
  assert_int_equal (setrlimit (RLIMIT_FSIZE, &limit), 0);
  tell_size (size + 1000000);
  assert_int_equal (setrlimit (RLIMIT_FSIZE, &before_it), 0);
  signal (SIGXFSZ, SIG_DFL);
  free (unit_read_file (path, &size));
  assert_true (size <= limit.rlim_cur);
}

/* A checkpoint fills first; then the file is what SQLite says. */
static void
test_checkpoint (void **state)
{
  struct connection log;
  struct status status;
  struct rows rows;
  size_t size, now;

  (void)state;
  rows_open (&rows, BLOCKS * PAGE, PAGE);
  unit_sql (rows.db, "PRAGMA wal_autocheckpoint = 0; BEGIN");
  for (int i = 0; i < BLOCKS; i++)
    rows_data (&rows, 1, i, 1);
  unit_sql (rows.db, "COMMIT");
  free (unit_read_file (rows.path, &size));
  unit_open (&log, rows.path, CONNECTION_LOG);
  count_writes ();
  assert_result (checkpoint_complete (&log, &status), &status, 1);
  counting = false;
  connection_close (&log);
  free (unit_read_file (rows.path, &now));
  assert_int_equal (unit_integer (rows.db, "PRAGMA page_count") * PAGE, now);
  assert_true (pages >= BLOCKS);
  assert_in_range (pieces, (now - size) / VFS_ROOM_PIECE,
                   (now - size) / VFS_ROOM_PIECE + 2);
  assert_in_range (unaligned, 0, 1);

  rows_show (&rows, 1, 0);
  for (int i = 0; i < BLOCKS; i++)
    rows_expect (&rows, i, 1, 1);
  unit_assert_sound (rows.path);
  rows_close (&rows);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown (test_filled, setup, teardown),
    cmocka_unit_test_setup_teardown (test_long_enough, setup, teardown),
    cmocka_unit_test_setup_teardown (test_no_space, setup, teardown),
    unit_test (test_checkpoint),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
