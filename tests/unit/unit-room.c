/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Room in the database for what is in the log: it is there before a
 * transaction is committed, and nobody takes it away again.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"
#include "rows.h"
#include "unit.h"

#include "engine/checkpoint.h"
#include "sqlite/guard.h"
#include "sqlite/log.h"
#include "sqlite/marking.h"
#include "shim.h"
#include "sqlite/vfs_room.h"

#define PAGE 4096

/* What the hook does. */
static enum {
  NOTHING,
  LOOK,      /* look at the database when a transaction is committed */
  INTERFERE, /* commit one, just before the file would be cut */
  USE_UP,    /* let the log have no more of the user's quota */
} watching;

static int commits;       /* that were looked at */
static int short_of_room; /* commits at which the database was too small */
static bool written;      /* a checkpoint has begun to write */
static struct rows rows;

static struct stat
status_of (const char *path)
{
  struct stat st;

  assert_int_equal (stat (path, &st), 0);
  return st;
}

/* Have the database at least BYTES, all of them allocated? */
static bool
has_room (int64_t bytes)
{
  const struct stat st = status_of (rows.path);

  return st.st_size >= bytes && st.st_blocks * INT64_C (512) >= bytes;
}

/* Find the headers of frames in a piece of the log. */
static void
look_at (const struct shim_call *call)
{
  const int frame = FRAME_HEADER_SIZE + PAGE;
  const int past = (call->number - LOG_HEADER_SIZE) % frame;
  const unsigned char *bytes = call->memory;

  if (call->number < LOG_HEADER_SIZE)
    return;
  for (int at = past ? frame - past : 0; at + FRAME_HEADER_SIZE <= call->count;
       at += frame) {
    const int64_t pages = big_endian (bytes + at + 4);

    commits += pages > 0;
    short_of_room += pages > 0 && !has_room (pages * PAGE);
  }
}

/* Store COUNT blocks from NUMBER on, in one transaction of the store. */
static int
store_blocks (struct connection *connection, int64_t number, int64_t count,
              struct status *status)
{
  static const char insert_sql[] =
      "INSERT INTO block (layer, number, generation, codec, checksum, data)"
      " VALUES (1, ?1, 1, 1, 0, randomblob (4096))";

  if (marking_begin (connection, status) == -1)
    return -1;
  for (int64_t i = number; i < number + count; i++)
    if (connection_run_for (connection, insert_sql, i, status) == -1)
      return -1;
  return connection_commit (connection, status);
}

/* A writer of another process commits when it does most harm. */
static void
interfere (void)
{
  struct connection other;
  struct status status;

  watching = NOTHING;
  unit_open (&other, rows.path, CONNECTION_WRITE);
  assert_ok (store_blocks (&other, 5000, 1500, &status), &status);
  connection_close (&other);
}

/* Nothing can be written to the log, and the system says why. */
static int
use_up (struct shim_call *call)
{
  if (call->method == SHIM_FILE_CONTROL &&
      call->flags == SQLITE_FCNTL_LAST_ERRNO) {
    *(int *)call->memory = EDQUOT;
    return SHIM_DONE;
  }
  return call->method == SHIM_WRITE ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

static int
before (struct shim_call *call)
{
  if (watching == USE_UP && call->file == SHIM_LOG)
    return use_up (call);
  if (watching == LOOK && call->method == SHIM_WRITE && call->file == SHIM_LOG)
    look_at (call);
  if (watching != INTERFERE || call->file != SHIM_DATABASE)
    return SQLITE_OK;
  if (call->method == SHIM_WRITE)
    written = true;
  else if (written &&
           (call->method == SHIM_FILE_SIZE || call->method == SHIM_TRUNCATE))
    interfere ();
  return SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = before };

static int
setup (void **state)
{
  unit_setup (state);
  rows_open (&rows, 1 << 20, PAGE);
  commits = short_of_room = 0;
  written = false;
  return 0;
}

static int
teardown (void **state)
{
  watching = NOTHING;
  rows_close (&rows);
  return unit_teardown (state);
}

/* With each kind of connection, with transactions smaller and larger than the
 * page cache, there is room before the commit.
 */
static void
test_commit (void **state)
{
  const enum connection_mode modes[] = { CONNECTION_WRITE, CONNECTION_GATHER };
  struct connection connection;
  struct status status;
  int64_t number = 0;

  (void)state;
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    unit_open (&connection, rows.path, modes[i]);
    watching = LOOK;
    for (int64_t count = 1; count < 3000; number += count, count *= 7)
      assert_ok (store_blocks (&connection, number, count, &status), &status);
    watching = NOTHING;
    connection_close (&connection);
  }
  assert_true (commits >= 10);
  assert_int_equal (short_of_room, 0);
}

/* What other programs have left as a hole is filled. */
static void
test_hole (void **state)
{
  const int64_t end = status_of (rows.path).st_size;
  struct connection connection;
  struct status status;

  (void)state;
  assert_int_equal (truncate (rows.path, end + (8 << 20)), 0);
  unit_open (&connection, rows.path, CONNECTION_GATHER);
  watching = LOOK;
  assert_ok (store_blocks (&connection, 0, 1000, &status), &status);
  watching = NOTHING;
  connection_close (&connection);
  assert_int_equal (short_of_room, 0);
}

/* A transaction for which there is no room is not committed. */
static void
test_no_room (void **state)
{
  const int64_t end = status_of (rows.path).st_size;
  struct rlimit before_it, limit;
  struct connection connection;
  struct status status;

  (void)state;
  unit_open (&connection, rows.path, CONNECTION_GATHER);
  assert_ok (store_blocks (&connection, 0, 1, &status), &status);
  assert_int_equal (getrlimit (RLIMIT_FSIZE, &before_it), 0);
  limit = before_it;
  limit.rlim_cur = end + (3 << 20);
  assert_int_equal (setrlimit (RLIMIT_FSIZE, &limit), 0);
  watching = LOOK;
  for (int64_t number = 1; number < 5000; number += 20)
    if (store_blocks (&connection, number, 20, &status) == -1) {
      connection_rollback (&connection);
      break;
    }
  assert_int_equal (status.error, ENOSPC);
  watching = NOTHING;
  assert_int_equal (setrlimit (RLIMIT_FSIZE, &before_it), 0);
  assert_true (commits > 1);
  assert_int_equal (short_of_room, 0);
  /* All that is there can be moved into the database. */
  assert_result (checkpoint_complete (&connection, &status), &status, 1);
  connection_close (&connection);
  unit_assert_sound (rows.path);
}

/* A quota that is used up is as good as a full file system. */
static void
test_quota (void **state)
{
  struct connection connection;
  struct status status;

  (void)state;
  unit_open (&connection, rows.path, CONNECTION_GATHER);
  assert_ok (store_blocks (&connection, 0, 1, &status), &status);
  watching = USE_UP;
  assert_int_equal (store_blocks (&connection, 1, 10, &status), -1);
  watching = NOTHING;
  connection_rollback (&connection);
  assert_int_equal (status.error, ENOSPC);
  assert_ok (store_blocks (&connection, 1, 10, &status), &status);
  connection_close (&connection);
  unit_assert_sound (rows.path);
}

/* The C library's, which fails with this, where it is not 0, and is counted. */
static int allocate_error, allocations;

int
fallocate (int fd, int mode, off_t offset, off_t length)
{
  allocations++;
  if (allocate_error == 0)
    return syscall (SYS_fallocate, fd, mode, offset, length);
  errno = allocate_error;
  return -1;
}

/* Only where the file system cannot allocate at all room is made by zeroes;
 * what fails otherwise fails the commit, and goes on later.
 */
static void
test_allocation_fails (void **state)
{
  struct connection connection;
  struct status status;

  (void)state;
  unit_open (&connection, rows.path, CONNECTION_GATHER);
  assert_ok (store_blocks (&connection, 0, 1, &status), &status);
  allocate_error = EIO;
  assert_int_equal (store_blocks (&connection, 1000, 1000, &status), -1);
  assert_int_equal (status.error, EIO);
  connection_rollback (&connection);
  allocate_error = 0;
  watching = LOOK;
  allocations = 0;
  assert_ok (store_blocks (&connection, 1000, 1000, &status), &status);
  assert_true (allocations > 0);

  allocate_error = EOPNOTSUPP;
  assert_ok (store_blocks (&connection, 2000, 1000, &status), &status);
  allocations = 0;
  assert_ok (store_blocks (&connection, 3000, 1000, &status), &status);
  assert_int_equal (allocations, 0);
  allocate_error = 0;
  watching = NOTHING;
  assert_int_equal (short_of_room, 0);
  connection_close (&connection);
  unit_assert_sound (rows.path);
}

/* While a checkpoint is about to cut the file, somebody commits what needs
 * more: that has its room all the same.
 */
static void
test_cut (void **state)
{
  struct connection log;
  struct status status;

  (void)state;
  unit_open (&log, rows.path, CONNECTION_WRITE);
  assert_ok (store_blocks (&log, 0, 100, &status), &status);
  watching = INTERFERE;
  sqlite3_wal_checkpoint_v2 (log.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL,
                             NULL);
  assert_int_equal (watching, NOTHING);
  assert_true (has_room (unit_integer (rows.db, "PRAGMA page_count") * PAGE));
  connection_close (&log);
}

/* What is behind the end is cut off when nobody writes. */
static void
test_tail (void **state)
{
  struct connection log;
  struct status status;

  (void)state;
  unit_open (&log, rows.path, CONNECTION_WRITE);
  assert_ok (store_blocks (&log, 0, 100, &status), &status);
  assert_result (checkpoint_complete (&log, &status), &status, 1);
  connection_close (&log);
  assert_int_equal (unit_integer (rows.db, "PRAGMA page_count") * PAGE,
                    status_of (rows.path).st_size);
}

/* What is behind the end stays while somebody writes. */
static void
test_tail_stays (void **state)
{
  struct connection log, writer;
  struct status status;
  int64_t size;

  (void)state;
  unit_open (&log, rows.path, CONNECTION_LOG);
  unit_open (&writer, rows.path, CONNECTION_WRITE);
  assert_ok (store_blocks (&writer, 0, 100, &status), &status);
  size = status_of (rows.path).st_size;
  assert_ok (marking_begin (&writer, &status), &status);
  assert_ok (connection_touch (&log, &status), &status);
  assert_int_equal (sqlite3_wal_checkpoint_v2 (
                        log.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL),
                    SQLITE_OK);
  assert_int_equal (status_of (rows.path).st_size, size);
  connection_rollback (&writer);
  connection_close (&writer);
  connection_close (&log);
}

/* Where the database has become smaller, what the log says of its size before
 * that is written again without taking room for it.
 */
static void
test_written_again (void **state)
{
  static const char vacuum_sql[] = "PRAGMA incremental_vacuum";
  static const char delete_sql[] = "DELETE FROM block";
  struct guard_entry entry;
  struct connection log;
  struct status status;
  int64_t size;

  (void)state;
  unit_open (&log, rows.path, CONNECTION_WRITE);
  assert_ok (guard_enter (&entry, rows.path, &status), &status);
  assert_ok (store_blocks (&log, 0, 1000, &status), &status);
  assert_ok (marking_begin (&log, &status), &status);
  assert_ok (connection_run (&log, delete_sql, &status), &status);
  assert_ok (connection_run (&log, vacuum_sql, &status), &status);
  assert_ok (connection_commit (&log, &status), &status);
  assert_int_equal (sqlite3_wal_checkpoint_v2 (
                        log.db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL),
                    SQLITE_OK);
  size = status_of (rows.path).st_size;
  assert_true (size < 1000 * PAGE);
  assert_ok (log_rewrite (&log, &entry, &status), &status);
  assert_int_equal (status_of (rows.path).st_size, size);
  guard_leave (&entry, true);
  connection_close (&log);
}

int
main (void)
{
#define ROOM_TEST(function)                                                    \
  cmocka_unit_test_setup_teardown (function, setup, teardown)
  const struct CMUnitTest tests[] = {
    ROOM_TEST (test_commit),
    ROOM_TEST (test_hole),
    ROOM_TEST (test_no_room),
    ROOM_TEST (test_cut),
    ROOM_TEST (test_tail),
    ROOM_TEST (test_tail_stays),
    ROOM_TEST (test_written_again),
    ROOM_TEST (test_quota),
    ROOM_TEST (test_allocation_fails),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
