/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* One name per database (claim.h), and file systems that may be another
 * machine's (filesystem.h).  statfs(2) is wrapped, to be on any of them.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "rows/database.h"
#include "sqlite/files.h"
#include "sqlite/filesystem.h"
#include "sqlite/mark.h"

static const struct disk_options web = { .name = "web", .size = 65536 };

/* What statfs says; 0: the truth. */
static uint32_t pretended;

int __real_statfs (const char *path, struct statfs *fs);
int __wrap_statfs (const char *path, struct statfs *fs);

int
__wrap_statfs (const char *path, struct statfs *fs)
{
  const int r = __real_statfs (path, fs);

  if (r == 0 && pretended)
    fs->f_type = pretended;
  return r;
}

/*--------------------------------------------------------------------
 * Another process that has a database open.
 */

static pid_t holder;
static int hold_pipe;

/* Have a child open PATH for MODE, and keep it open. */
static void
hold (const char *path, enum connection_mode mode)
{
  int ready[2], end[2];
  struct connection connection;
  char byte = 0;

  assert_int_equal (pipe (ready) + pipe (end), 0);
  holder = fork ();
  assert_true (holder >= 0);
  if (holder == 0) {
    close (end[1]);
    unit_open (&connection, path, mode);
    if (write (ready[1], &byte, 1) == 1 && read (end[0], &byte, 1) >= 0)
      connection_close (&connection);
    _exit (0);
  }
  close (ready[1]);
  close (end[0]);
  assert_int_equal (read (ready[0], &byte, 1), 1);
  close (ready[0]);
  hold_pipe = end[1];
}

static void
let_go (void)
{
  int status;

  close (hold_pipe);
  assert_int_equal (waitpid (holder, &status, 0), holder);
  assert_int_equal (status, 0);
}

/* Opening PATH for MODE must fail with ERROR, or for 0 succeed as MODE. */
static void
check (const char *path, enum connection_mode mode, int error)
{
  struct connection connection;
  struct status status;
  const int r = database_open (&connection, path, mode, NULL, &status);

  if (error) {
    assert_fails (r, &status, error, path);
    return;
  }
  assert_ok (r, &status);
  assert_int_equal (connection.mode, mode);
  assert_ok (connection_check (&connection, &status), &status);
  connection_close (&connection);
}

/* A file that is renamed under one who has it open has two names. */
static void
test_renamed (void **state)
{
  const char *path = unit_database (), *other = unit_path ("other");
  const enum connection_mode modes[] = { CONNECTION_READ, CONNECTION_WRITE };

  (void)state;
  for (int i = 0; i < 2; i++) {
    unlink (other);
    unit_create (path, &web);
    hold (path, modes[i]);
    check (path, CONNECTION_READ, 0);
    check (path, CONNECTION_WRITE, 0);
    assert_int_equal (rename (path, other), 0);
    check (other, CONNECTION_WRITE, EBUSY);
    check (other, CONNECTION_LOG, EBUSY);
    check (other, CONNECTION_GATHER, EBUSY);
    check (other, CONNECTION_READ, modes[i] == CONNECTION_WRITE ? EBUSY : 0);
    check (other, CONNECTION_IMMUTABLE,
           modes[i] == CONNECTION_WRITE ? EBUSY : 0);
    let_go ();
    check (other, CONNECTION_WRITE, 0);
    check (other, CONNECTION_READ, 0);
  }
}

/* The same within one process, where locks tell nothing. */
static void
test_one_process (void **state)
{
  const char *path = unit_database (), *other = unit_path ("other");
  struct connection reader, writer;

  (void)state;
  unit_create (path, &web);
  unit_open (&reader, path, CONNECTION_READ);
  unit_open (&writer, path, CONNECTION_WRITE);
  connection_close (&reader);
  assert_int_equal (rename (path, other), 0);
  check (other, CONNECTION_WRITE, EBUSY);
  check (other, CONNECTION_READ, EBUSY);
  assert_int_equal (rename (other, path), 0);
  check (path, CONNECTION_WRITE, 0);
  connection_close (&writer);
  assert_int_equal (rename (path, other), 0);
  check (other, CONNECTION_WRITE, 0);
}

/* Other ways to the same name are the same: symbolic links, relative paths.
 */
static void
test_same_name (void **state)
{
  const char *path = unit_database (), *link = unit_path ("link");
  char relative[1000];

  (void)state;
  unit_create (path, &web);
  assert_int_equal (symlink (path, link), 0);
  snprintf (relative, sizeof relative, "%s/../%s/%s", unit_directory (),
            strrchr (unit_directory (), '/') + 1, strrchr (path, '/') + 1);
  hold (link, CONNECTION_WRITE);
  check (path, CONNECTION_WRITE, 0);
  check (relative, CONNECTION_WRITE, 0);
  check (relative, CONNECTION_READ, 0);
  let_go ();
}

/* A hard link is refused, also if nobody has the file open. */
static void
test_links (void **state)
{
  const char *path = unit_database (), *other = unit_path ("other");
  const char *const names[] = { path, other };
  struct connection connection;
  struct status status;

  (void)state;
  unit_create (path, &web);
  assert_int_equal (link (path, other), 0);
  for (int i = 0; i < 2; i++) {
    check (names[i], CONNECTION_WRITE, EROFS);
    check (names[i], CONNECTION_LOG, EROFS);
    /* It is read without its log. */
    unit_open (&connection, names[i], CONNECTION_READ);
    assert_int_equal (connection.mode, CONNECTION_IMMUTABLE);
    assert_ok (connection_check (&connection, &status), &status);
    connection_close (&connection);
  }
  assert_int_equal (unlink (other), 0);
  check (path, CONNECTION_WRITE, 0);
}

/* Opening and closing one connection leaves SQLite's locks of another, which
 * would be dropped by closing any other descriptor: nobody else can have the
 * database alone.
 */
static void
test_locks_stay (void **state)
{
  const char *path = unit_database ();
  struct connection connection;
  int go[2], status;
  char byte = 0;
  pid_t child;
  sqlite3 *db;

  (void)state;
  unit_create (path, &web);
  assert_int_equal (pipe (go), 0);
  /* Before SQLite knows the file: it would take our locks for the child's. */
  child = fork ();
  assert_true (child >= 0);
  if (child == 0) {
    if (read (go[0], &byte, 1) != 1 || sqlite3_open (path, &db) != SQLITE_OK)
      _exit (2);
    _exit (sqlite3_exec (db, "PRAGMA journal_mode = DELETE", NULL, NULL,
                         NULL) != SQLITE_BUSY);
  }
  unit_open (&connection, path, CONNECTION_WRITE);
  check (path, CONNECTION_READ, 0);
  check (path, CONNECTION_WRITE, 0);
  check (path, CONNECTION_IMMUTABLE, 0);
  assert_int_equal (write (go[1], &byte, 1), 1);
  assert_int_equal (waitpid (child, &status, 0), child);
  assert_int_equal (status, 0);
  close (go[0]);
  close (go[1]);
  connection_close (&connection);
}

/* SQLite's lock of a database that is open, and the bytes it is on ("File
 * Locking Constants" in SQLite's source).
 */
#define SHARED_FIRST 0x40000002
#define SHARED_SIZE  510

/* Has another process than the child that asks this lock? */
static bool
is_seen_locked (const char *path)
{
  struct flock request = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_start = SHARED_FIRST,
    .l_len = SHARED_SIZE,
  };
  const pid_t child = fork ();
  int status, fd;

  assert_true (child >= 0);
  if (child == 0) {
    fd = open (path, O_RDWR | O_CLOEXEC);
    _exit (fd == -1 || fcntl (fd, F_GETLK, &request) == -1
               ? 2
               : request.l_type != F_UNLCK);
  }
  assert_int_equal (waitpid (child, &status, 0), child);
  assert_true (WIFEXITED (status) && WEXITSTATUS (status) < 2);
  return WEXITSTATUS (status);
}

/* Nothing that only looks at a database that is open closes a descriptor of it,
 * which would drop all locks that this process has on it: those of SQLite, and
 * ones that this SQLite does not know.
 */
static void
test_looking_drops_nothing (void **state)
{
  struct flock own = {
    .l_type = F_RDLCK,
    .l_whence = SEEK_SET,
    .l_start = SHARED_FIRST,
    .l_len = SHARED_SIZE,
  };
  const char *path = unit_database ();
  struct connection connection;
  struct mark_look look;
  struct status status;
  struct claim claim;

  (void)state;
  unit_create (path, &web);
  for (int with_sqlite = 0; with_sqlite < 2; with_sqlite++) {
    print_message ("%s\n", with_sqlite ? "SQLite's lock" : "another");
    assert_ok (claim_take (&claim, path, CLAIM_NONE, &status), &status);
    if (with_sqlite)
      unit_open (&connection, path, CONNECTION_WRITE);
    else
      assert_int_equal (fcntl (claim_descriptor (&claim), F_SETLK, &own), 0);
    assert_true (is_seen_locked (path));
    assert_int_equal (database_examine (path, &status), 1);
    assert_true (is_seen_locked (path));
    assert_ok (mark_look (path, &look, &status), &status);
    assert_true (is_seen_locked (path));
    if (with_sqlite)
      connection_close (&connection);
    claim_release (&claim);
    assert_false (is_seen_locked (path));
  }
}

/*--------------------------------------------------------------------
 * Reading without the log.
 */

/* Each change ends what is read without the log; nothing else does. */
static void
test_watch (void **state)
{
  const char *path = unit_database ();
  struct connection connection;
  struct status status;

  (void)state;
  unit_create (path, &web);
  for (int i = 0; i < 4; i++) {
    unit_open (&connection, path, CONNECTION_IMMUTABLE);
    usleep (200000);
    assert_ok (connection_check (&connection, &status), &status);
    switch (i) {
    case 0:
      unit_sql_on (path, "UPDATE disk SET name = name");
      break;
    case 1:
      assert_int_equal (chmod (path, 0640), 0);
      break;
    case 2:
      unit_write_file (unit_path (strrchr (path, '/') + 1), "", 0);
      break;
    case 3:
      hold (path, CONNECTION_WRITE); /* by the same name, and at rest */
      assert_ok (connection_check (&connection, &status), &status);
      let_go ();
      break;
    }
    if (i < 3)
      assert_fails (connection_check (&connection, &status), &status, EIO,
                    "another program is changing");
    connection_close (&connection);
    if (i == 2) {
      unlink (path);
      unit_create (path, &web);
    }
  }
}

/* A log with something in it, and a journal, are not read without. */
static void
test_watch_log (void **state)
{
  static const char *const suffixes[] = { "-wal", "-journal" };
  const char *path = unit_database ();
  struct connection connection;
  struct status status;
  char name[1000];

  (void)state;
  unit_create (path, &web);
  for (int i = 0; i < 2; i++) {
    unit_open (&connection, path, CONNECTION_IMMUTABLE);
    snprintf (name, sizeof name, "%s%s", path, suffixes[i]);
    unit_write_file (name, "", 0);
    assert_ok (connection_check (&connection, &status), &status);
    unit_write_file (name, "something", 9);
    assert_fails (connection_check (&connection, &status), &status, EIO,
                  "another program is changing");
    connection_close (&connection);
    check (path, CONNECTION_IMMUTABLE, EROFS);
    unlink (name);
    check (path, CONNECTION_IMMUTABLE, 0);
  }
}

/* A file that was changed just now rests first, and one that is changed again
 * and again is not read.
 */
static void
test_watch_rest (void **state)
{
  const char *path = unit_database ();
  struct connection connection;
  struct timespec before, after;
  struct status status;
  pid_t child;
  int r = 0;

  (void)state;
  unit_create (path, &web);
  assert_int_equal (chmod (path, 0600), 0);
  clock_gettime (CLOCK_MONOTONIC, &before);
  check (path, CONNECTION_IMMUTABLE, 0);
  clock_gettime (CLOCK_MONOTONIC, &after);
  assert_true ((after.tv_sec - before.tv_sec) * 1000 +
                   (after.tv_nsec - before.tv_nsec) / 1000000 >=
               80);
  child = fork ();
  if (child == 0)
    for (;;) {
      chmod (path, 0600);
      usleep (1000);
    }
  /* On a busy machine the child may pause as long as the file must rest; what
   * is read then fails, or does not.
   */
  status.error = EIO;
  for (int tries = 20; (r == 0 || status.error == EIO) && tries > 0; tries--) {
    usleep (50000);
    r = database_open (&connection, path, CONNECTION_IMMUTABLE, NULL, &status);
    connection_close (&connection);
  }
  kill (child, SIGKILL);
  waitpid (child, NULL, 0);
  assert_fails (r, &status, EROFS, "changed again and again");
}

/*--------------------------------------------------------------------
 * File systems.
 */

static const struct {
  uint32_t number;
  const char *name; /* NULL: it is this machine's own */
} file_systems[] = {
  { 0xef53, NULL },
  { 0x58465342, NULL },
  { 0x9123683e, NULL },
  { 0x01021994, NULL },
  { 0x794c7630, NULL },
  { 0x65735546, "fuse" },
  { 0x6969, "nfs" },
  { 0x517b, "smb" },
  { 0xff534d42, "cifs" },
  { 0xfe534d42, "smb3" },
  { 0x01021997, "9p" },
  { 0x00c36400, "ceph" },
  { 0x5346414f, "afs" },
  { 0x01161970, "gfs2" },
  { 0x7461636f, "ocfs2" },
  { 0x0bd00bd0, "lustre" },
  { 0x47504653, "gpfs" },
  { 0x786f4256, "vboxsf" },
  { 0x12345678, "an unknown" }, /* or what the kernel calls it */
};

static void
test_file_systems (void **state)
{
  const char *path = unit_database ();
  struct connection connection;
  struct status status;

  (void)state;
  for (size_t i = 0; i < sizeof file_systems / sizeof file_systems[0]; i++) {
    const char *name = file_systems[i].name;
    const bool unknown = name && strcmp (name, "an unknown") == 0;

    print_message ("%x\n", file_systems[i].number);
    pretended = 0;
    unlink (path);
    unit_create (path, &web);
    pretended = file_systems[i].number;
    if (name == NULL) {
      check (path, CONNECTION_WRITE, 0);
      check (path, CONNECTION_READ, 0);
      assert_ok (files_check_directory (unit_path ("new"), &status), &status);
      continue;
    }
    assert_fails (
        database_open (&connection, path, CONNECTION_WRITE, NULL, &status),
        &status, EROFS, unknown ? "may share" : name);
    assert_non_null (strstr (status.message, "one-machine"));
    unit_open (&connection, path, CONNECTION_READ);
    assert_int_equal (connection.mode, CONNECTION_IMMUTABLE);
    connection_close (&connection);
    assert_fails (database_create (unit_path ("new"), &web, &status), &status,
                  EROFS, "one-machine");
    assert_fails (database_create_empty (unit_path ("new"), 4096, &status),
                  &status, EROFS, "one-machine");
    assert_fails (files_check_directory (unit_path ("new"), &status), &status,
                  EROFS, "one-machine");
    filesystem_set_one_machine (true);
    check (path, CONNECTION_WRITE, 0);
    check (path, CONNECTION_READ, 0);
    assert_ok (files_check_directory (unit_path ("new"), &status), &status);
    filesystem_set_one_machine (false);
  }
  pretended = 0;
}

/* As on 9p and some kinds of FUSE. */
static void *
map_nothing (void *address, size_t length, int protection, int flags, int fd,
             off_t offset)
{
  (void)address;
  (void)length;
  (void)protection;
  (void)flags;
  (void)fd;
  (void)offset;
  errno = ENODEV;
  return MAP_FAILED;
}

/* Where the memory of the log cannot be shared, the message says so, and does
 * not blame the storage.
 */
static void
test_no_shared_memory (void **state)
{
  static const enum connection_mode modes[] = { CONNECTION_READ,
                                                CONNECTION_WRITE,
                                                CONNECTION_GATHER };
  const char *path = unit_database ();
  sqlite3_vfs *vfs = sqlite3_vfs_find (NULL);
  struct connection connection;
  struct status status;

  (void)state;
  unit_create (path, &web);
  assert_int_equal (
      vfs->xSetSystemCall (vfs, "mmap", (sqlite3_syscall_ptr)map_nothing),
      SQLITE_OK);
  for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
    assert_fails (database_open (&connection, path, modes[i], NULL, &status),
                  &status, EIO, "share memory");
    assert_null (strstr (status.message, "storage"));
  }
  assert_int_equal (vfs->xSetSystemCall (vfs, "mmap", NULL), SQLITE_OK);
  check (path, CONNECTION_WRITE, 0);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_renamed),
    unit_test (test_one_process),
    unit_test (test_same_name),
    unit_test (test_links),
    unit_test (test_locks_stay),
    unit_test (test_looking_drops_nothing),
    unit_test (test_watch),
    unit_test (test_watch_log),
    unit_test (test_watch_rest),
    unit_test (test_file_systems),
    unit_test (test_no_shared_memory),
  };

  return cmocka_run_group_tests_name ("claims", tests, NULL, NULL);
}
