/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A file that is shared in one process (process.h), where the VFS below fails,
 * and where it is as that of a cluster: locked late, without methods that
 * SQLite calls, and with calls that count as made and were not.
 */

#include <config.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "shim.h"
#include "sqlite/process.h"
#include "sqlite/process-cache.h"
#include "sqlite/process-file.h"

#define PAGE 4096

/*--------------------------------------------------------------------
 * The VFS below.
 */

/* What a test does when a method of a database or of its log is called, and
 * after it; then the call is made.
 */
static int (*on_call) (struct shim_call *call);
static void (*on_return) (const struct shim_call *call);

static int
before (struct shim_call *call)
{
  const int rc = on_call && call->file != SHIM_OTHER ? on_call (call) : 0;

  if (call->method == SHIM_OPEN && call->path && call->path[0] == '\0')
    fail_msg ("the VFS below is to open a file without a name");
  if (rc != SQLITE_OK)
    return rc;
  return call->method == SHIM_WRITE || call->method == SHIM_READ
             ? shim_pass_in_pieces (call)
             : SQLITE_OK;
}

static void
after (const struct shim_call *call, int result)
{
  (void)result;
  if (on_return && call->file != SHIM_OTHER)
    on_return (call);
}

static const struct shim_hooks hooks = { .before = before, .after = after };

/* SQLite's VFS finds parameters behind the name.  KIND is an open flag. */
static struct process_file *
open_kind (int kind, int options)
{
  const int flags = kind | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  static char name[4096];
  struct process_file *file;
  int rc;

  memset (name, 0, sizeof name);
  strcpy (name, unit_database ());
  file = process_file_open (sqlite3_vfs_find (NULL), name, flags, PROCESS_CHUNK,
                            options, &rc);
  assert_int_equal (rc, SQLITE_OK);
  return file;
}

static struct process_file *
open_file (int options)
{
  return open_kind (SQLITE_OPEN_MAIN_DB, options);
}

static void
write_pages (struct process_file *file, int first, int count, int byte)
{
  unsigned char page[PAGE];

  memset (page, byte, PAGE);
  for (int i = first; i < first + count; i++)
    assert_int_equal (process_file_write (file, page, PAGE, (int64_t)i * PAGE),
                      SQLITE_OK);
}

/*--------------------------------------------------------------------
 * SQLite over it.
 */

static sqlite3 *
open_database (void)
{
  sqlite3 *db;

  assert_int_equal (sqlite3_open_v2 (unit_database (), &db,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                     PROCESS_NAME),
                    SQLITE_OK);
  return db;
}

static void
run (sqlite3 *db, const char *sql)
{
  const int rc = sqlite3_exec (db, sql, NULL, NULL, NULL);

  if (rc != SQLITE_OK)
    fail_msg ("%s: %s", sql, sqlite3_errmsg (db));
}

static const char check_sql[] =
    "SELECT integrity_check = 'ok' FROM pragma_integrity_check";

#define FILL(rows)                                                             \
  "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n"          \
  " WHERE i < " rows ") INSERT INTO t SELECT randomblob (3000) FROM n;"

/* As another process does, which has the file before us. */
static void
change_elsewhere (const char *sql)
{
  static const char vfs[] = "unix";
  const pid_t child = fork ();
  sqlite3 *db;
  int status;

  if (child == 0) {
    if (sqlite3_open_v2 (unit_database (), &db, SQLITE_OPEN_READWRITE, vfs) !=
            SQLITE_OK ||
        sqlite3_exec (db, sql, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_close (db) != SQLITE_OK)
      _exit (1);
    _exit (0);
  }
  waitpid (child, &status, 0);
  assert_int_equal (status, 0);
}

/* Unlike unit_integer_on, which opens what the store has made. */
static int64_t
integer_elsewhere (const char *sql)
{
  sqlite3 *db;
  int64_t value;

  assert_int_equal (sqlite3_open (unit_database (), &db), SQLITE_OK);
  value = unit_integer (db, "%s", sql);
  sqlite3_close (db);
  return value;
}

/* Another process has had the lock, and lets go of it now. */
static int
change_before_locked (struct shim_call *call)
{
  if (call->method != SHIM_LOCK || call->flags != SQLITE_LOCK_SHARED)
    return SQLITE_OK;
  on_call = NULL;
  change_elsewhere (FILL ("500") "CREATE TABLE other (x)");
  return SQLITE_OK;
}

/* Who waits for the lock has the file open already, and SQLite may have read
 * its header: what was known of the file before is of no use.
 */
static void
changed_before_locked (const char *mode)
{
  sqlite3 *db = open_database (), *waiting;

  run (db, mode);
  run (db, "CREATE TABLE t (x);" FILL ("5"));
  sqlite3_close (db);
  on_call = change_before_locked;
  waiting = open_database ();
  assert_int_equal (unit_integer (waiting, "SELECT count (*) FROM t"), 505);
  assert_ptr_equal (on_call, NULL);
  run (waiting, FILL ("100") "INSERT INTO other VALUES (1)");
  assert_int_equal (unit_integer (waiting, check_sql), 1);
  sqlite3_close (waiting);
  assert_int_equal (integer_elsewhere (check_sql), 1);
  assert_int_equal (integer_elsewhere ("SELECT count (*) FROM t"), 605);
}

static void
test_changed_before_locked (void **state)
{
  (void)state;
  changed_before_locked ("PRAGMA journal_mode = WAL");
  assert_int_equal (unlink (unit_database ()), 0);
  changed_before_locked ("PRAGMA journal_mode = DELETE");
}

/* Where nobody has a log, nothing is left of the index of the last one. */
static void
test_modes (void **state)
{
  sqlite3 *db = open_database ();

  (void)state;
  run (db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x);" FILL ("5"));
  run (db, "PRAGMA journal_mode = DELETE;" FILL ("500"));
  run (db, "PRAGMA journal_mode = WAL");
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM t"), 505);
  run (db, FILL ("100"));
  assert_int_equal (unit_integer (db, check_sql), 1);
  sqlite3_close (db);
  assert_int_equal (integer_elsewhere (check_sql), 1);
}

/* Another connection waits, by the VFS's xSleep, of which that of a cluster
 * has none.
 */
static void
test_busy (void **state)
{
  sqlite3 *db = open_database (), *other = open_database ();

  (void)state;
  run (db, "PRAGMA journal_mode = WAL; CREATE TABLE t (x); BEGIN IMMEDIATE");
  sqlite3_busy_timeout (other, 20);
  assert_int_equal (sqlite3_exec (other, "BEGIN IMMEDIATE", NULL, NULL, NULL),
                    SQLITE_BUSY);
  sqlite3_close (other);
  sqlite3_close (db);
}

/*--------------------------------------------------------------------
 * Names.
 */

static const char *opened[SHIM_FILES], *closed[SHIM_FILES];

static int
note_names (struct shim_call *call)
{
  if (call->method == SHIM_OPEN)
    opened[call->file] = call->path;
  if (call->method == SHIM_CLOSE)
    closed[call->file] = call->path;
  return SQLITE_OK;
}

/* The name is valid as long as the file is open, which is longer than the
 * connection is that came first.
 */
static void
test_names (void **state)
{
  sqlite3 *first = open_database (), *second;
  const char *name;

  (void)state;
  sqlite3_close (first);
  on_call = note_names;
  first = open_database ();
  run (first, "PRAGMA journal_mode = WAL; CREATE TABLE t (x)");
  name = sqlite3_db_filename (first, "main");
  assert_ptr_not_equal (opened[SHIM_DATABASE], name);
  assert_ptr_not_equal (opened[SHIM_LOG], sqlite3_filename_wal (name));
  second = open_database ();
  run (second, "INSERT INTO t VALUES (1)");
  sqlite3_close (first);
  run (second, "INSERT INTO t VALUES (2)");
  assert_string_equal (opened[SHIM_DATABASE], unit_database ());
  assert_string_equal (opened[SHIM_LOG], unit_path ("database.sqlite-wal"));
  sqlite3_close (second);
  on_call = NULL;
  assert_ptr_equal (closed[SHIM_DATABASE], opened[SHIM_DATABASE]);
}

/* The names of a database and of what is beside it, as SQLite makes them. */
static const char *
make_names (const char *journal, const char *log)
{
  const char *names =
      sqlite3_create_filename (unit_database (), journal, log, 0, NULL);

  assert_non_null (names);
  return names;
}

/* libcephsqlite aborts where it is to open a file without a name: who asks for
 * a log by names that have none is refused before.
 */
static void
test_no_name (void **state)
{
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3_vfs *process = sqlite3_vfs_find (PROCESS_NAME);
  sqlite3_file *file = calloc (1, process->szOsFile);
  const char *names = make_names ("", "");

  (void)state;
  assert_int_equal (process->xOpen (process, sqlite3_filename_wal (names), file,
                                    flags | SQLITE_OPEN_WAL, NULL),
                    SQLITE_CANTOPEN);
  assert_int_equal (
      process->xOpen (process, names, file, flags | SQLITE_OPEN_MAIN_DB, NULL),
      SQLITE_OK);
  assert_int_equal (file->pMethods->xClose (file), SQLITE_OK);
  free (file);
  sqlite3_free_filename ((char *)names);
}

/*--------------------------------------------------------------------
 * Errors.
 */

static bool let_go;       /* the file below is unlocked */
static int failing_times; /* so many writes fail yet */

static int
fail_once (struct shim_call *call)
{
  if (call->file != SHIM_DATABASE)
    return SQLITE_OK;
  if (call->method == SHIM_UNLOCK && call->flags == SQLITE_LOCK_NONE)
    let_go = true;
  if (call->method != SHIM_WRITE)
    return SQLITE_OK;
  if (let_go)
    fail_msg ("written without the lock");
  return failing_times-- > 0 ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

/* What could not be written before a file is closed is not written after
 * another process may have it.
 */
static void
test_failing_close (void **state)
{
  sqlite3 *db = open_database ();

  (void)state;
  run (db, "CREATE TABLE t (x)");
  run (db, "PRAGMA synchronous = OFF");
  on_call = fail_once;
  let_go = false;
  failing_times = 0;
  run (db, "INSERT INTO t VALUES (1)");
  failing_times = 1;
  sqlite3_close (db);
  on_call = NULL;
  assert_int_equal (integer_elsewhere (check_sql), 1);
}

static atomic_bool swallowing;

static int
swallow (struct shim_call *call)
{
  return swallowing && call->method == SHIM_WRITE ? SHIM_DONE : SQLITE_OK;
}

/* Write, of which nothing arrives, cut the file to so many PAGES, and sync. */
static int
cut_swallowed (int pages)
{
  struct process_file *file = open_file (PROCESS_VERIFY);
  int rc;

  write_pages (file, 0, 1044, 1);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  on_call = swallow;
  swallowing = true;
  write_pages (file, 1024, 20, 2);
  rc = process_file_truncate (file, pages * PAGE);
  swallowing = false;
  if (rc == SQLITE_OK)
    rc = process_file_sync (file, 0);
  process_file_close (file);
  on_call = NULL;
  return rc;
}

/* What was swallowed before the file was cut is not forgotten, but where
 * nothing is left of it.
 */
static void
test_swallowed_before_cut (void **state)
{
  (void)state;
  assert_int_equal (cut_swallowed (1044), SQLITE_IOERR_FSYNC);
  assert_int_equal (cut_swallowed (1034), SQLITE_IOERR_FSYNC);
  assert_int_equal (cut_swallowed (1024), SQLITE_OK);
  assert_int_equal (cut_swallowed (0), SQLITE_OK);
}

/* The first write fails while the next one is on its way already.  As in
 * libcephsqlite 16, a write looks at those that are through, which are those
 * before a read, and a sync only knows what a write has seen.
 */
static enum { NOT_YET, FAILED, THROUGH, SEEN } first_write;

static int
fail_first (struct shim_call *call)
{
  const bool seen = first_write == SEEN;

  if (call->method == SHIM_WRITE && first_write == NOT_YET) {
    first_write = FAILED;
    return SHIM_DONE;
  }
  if (call->method == SHIM_READ && first_write == FAILED)
    first_write = THROUGH;
  if (call->method == SHIM_WRITE && first_write == THROUGH)
    first_write = SEEN;
  if (call->method == SHIM_SYNC)
    first_write = FAILED;
  return call->method == SHIM_SYNC && seen ? SQLITE_IOERR : SQLITE_OK;
}

/* A write to an object may fail and the one after it not. */
static void
test_first_write_fails (void **state)
{
  struct process_file *file = open_file (PROCESS_VERIFY);

  (void)state;
  write_pages (file, 0, 20, 1);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  on_call = fail_first;
  first_write = NOT_YET;
  write_pages (file, 3, 1, 2);
  write_pages (file, 7, 1, 2);
  assert_int_equal (process_file_sync (file, 0), SQLITE_IOERR);
  on_call = NULL;
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

static int
swallow_write (struct shim_call *call)
{
  return call->method == SHIM_WRITE ? SHIM_DONE : SQLITE_OK;
}

/* What did not get into a log is told once, since nobody writes it again; of a
 * database, until it is written.
 */
static void
test_swallowed_once (void **state)
{
  static const int kinds[] = { SQLITE_OPEN_WAL, SQLITE_OPEN_MAIN_DB };

  (void)state;
  for (int i = 0; i < 2; i++) {
    struct process_file *file = open_kind (kinds[i], PROCESS_VERIFY);

    write_pages (file, 0, 20, 1);
    assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
    on_call = swallow_write;
    write_pages (file, 5, 9, 2);
    assert_int_equal (process_file_sync (file, 0), SQLITE_IOERR_FSYNC);
    on_call = NULL;
    assert_int_equal (process_file_sync (file, 0),
                      i == 0 ? SQLITE_OK : SQLITE_IOERR_FSYNC);
    write_pages (file, 5, 9, 2);
    assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
    assert_int_equal (process_file_close (file), SQLITE_OK);
  }
}

/* Writes that wait, as for space in a pool, until somebody waits for them: what
 * is read meanwhile is what was there before.
 */
static struct shim_call waiting[4];
static int waiting_count;

static int
write_late (struct shim_call *call)
{
  struct shim_call *one = &waiting[waiting_count];

  if (call->method == SHIM_WRITE && call->count > 0) {
    assert_true (waiting_count < 4);
    *one = *call;
    one->memory = malloc (call->count);
    assert_non_null (one->memory);
    memcpy (one->memory, call->memory, call->count);
    waiting_count++;
    return SHIM_DONE;
  }
  if (call->method != SHIM_SYNC)
    return SQLITE_OK;
  for (; waiting_count > 0; waiting_count--) {
    one = &waiting[waiting_count - 1];
    assert_int_equal (shim_pass_in_pieces (one), SHIM_DONE);
    free (one->memory);
  }
  return SQLITE_OK;
}

/* A sync waits for them, also for those behind the end; it does not fail. */
static void
test_writes_wait (void **state)
{
  struct process_file *file = open_file (PROCESS_VERIFY);

  (void)state;
  write_pages (file, 0, 20, 1);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  on_call = write_late;
  write_pages (file, 5, 1, 2);
  write_pages (file, 1030, 1, 2);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  assert_int_equal (waiting_count, 0);
  on_call = NULL;
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

/* A page that was written, as by a part of a checkpoint, which does not sync,
 * and is not in the cache any more: it is read as it was written, or not at
 * all.  ON_WRITE says what comes of the write; READ is a result.
 */
static void
read_written (int (*on_write) (struct shim_call *call), int read)
{
  struct process_file *file = open_file (PROCESS_VERIFY);
  unsigned char page[PAGE];

  write_pages (file, 0, 20, 1);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  on_call = on_write;
  write_pages (file, 3, 1, 2);
  write_pages (file, 1030, 16, 3);
  if (on_write == swallow_write)
    on_call = NULL;
  assert_int_equal (process_file_read (file, page, PAGE, 3 * PAGE), read);
  if (read == SQLITE_OK)
    assert_int_equal (page[0], 2);
  on_call = NULL;
  assert_int_equal (process_file_sync (file, 0), read);
  write_pages (file, 3, 1, 2);
  write_pages (file, 1030, 16, 3);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

static void
test_read_what_was_written (void **state)
{
  (void)state;
  read_written (write_late, SQLITE_OK);
  read_written (swallow_write, SQLITE_IOERR_FSYNC);
}

/* As one connection opens the log. */
static sqlite3_file *
open_log (const char *names)
{
  const int flags =
      SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3_vfs *process = sqlite3_vfs_find (PROCESS_NAME);
  sqlite3_file *log = calloc (1, process->szOsFile);

  assert_int_equal (
      process->xOpen (process, sqlite3_filename_wal (names), log, flags, NULL),
      SQLITE_OK);
  return log;
}

static int
write_log (sqlite3_file *log, int page)
{
  unsigned char bytes[PAGE];

  memset (bytes, page + 1, PAGE);
  return log->pMethods->xWrite (log, bytes, PAGE, page * PAGE);
}

static int
sync_log (sqlite3_file *log)
{
  return log->pMethods->xSync (log, SQLITE_SYNC_NORMAL);
}

/* Another connection's sync, of a flush or of a checkpoint, finds that what
 * this one wrote has not arrived: both are told, and who writes afterwards is
 * not.
 */
static void
test_swallowed_told_to_writer (void **state)
{
  const char *names = make_names ("journal", unit_path ("database.sqlite-wal"));
  sqlite3 *db = open_database ();
  sqlite3_file *writer, *other, *files[2];

  (void)state;
  run (db, "CREATE TABLE t (x)");
  writer = files[0] = open_log (names);
  other = files[1] = open_log (names);
  assert_int_equal (write_log (writer, 0), SQLITE_OK);
  assert_int_equal (sync_log (writer), SQLITE_OK);
  on_call = swallow_write;
  assert_int_equal (write_log (writer, 1), SQLITE_OK);
  assert_int_equal (sync_log (other), SQLITE_IOERR_FSYNC);
  on_call = NULL;
  assert_int_equal (write_log (writer, 2), SQLITE_OK);
  assert_int_equal (write_log (other, 3), SQLITE_OK);
  assert_int_equal (sync_log (other), SQLITE_OK);
  assert_int_equal (sync_log (writer), SQLITE_IOERR_FSYNC);
  assert_int_equal (write_log (writer, 1), SQLITE_OK);
  assert_int_equal (sync_log (writer), SQLITE_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal (files[i]->pMethods->xClose (files[i]), SQLITE_OK);
    free (files[i]);
  }
  sqlite3_close (db);
  sqlite3_free_filename ((char *)names);
}

static int
swallow_size (struct shim_call *call)
{
  if (call->method != SHIM_FILE_SIZE)
    return SQLITE_OK;
  *(sqlite3_int64 *)call->memory = 20 * PAGE;
  return SHIM_DONE;
}

/* On a cluster the size is kept elsewhere than what was written: both have to
 * be there.
 */
static void
test_swallowed_size (void **state)
{
  struct process_file *file = open_file (PROCESS_VERIFY);

  (void)state;
  write_pages (file, 0, 20, 1);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  on_call = swallow_size;
  write_pages (file, 5, 1, 2);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  write_pages (file, 20, 5, 2);
  assert_int_equal (process_file_sync (file, 0), SQLITE_IOERR_FSYNC);
  assert_int_equal (process_file_sync (file, 0), SQLITE_IOERR_FSYNC);
  on_call = NULL;
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

/*--------------------------------------------------------------------
 * A file that is cut, or not whole.
 */

static struct process_file *cut; /* or written, beside a read */
static int read_beside;

static void
read_beside_cut (const struct shim_call *call)
{
  unsigned char page[PAGE];

  if (call->method == SHIM_TRUNCATE)
    read_beside = process_file_read (cut, page, PAGE, 0);
}

/* Who reads a page that stays, and reads ahead what does not, has no error. */
static void
test_read_beside_cut (void **state)
{
  (void)state;
  cut = open_file (0);
  write_pages (cut, 0, 64, 1);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
  cut = open_file (0);
  on_return = read_beside_cut;
  read_beside = -1;
  assert_int_equal (process_file_truncate (cut, 5 * PAGE), SQLITE_OK);
  on_return = NULL;
  assert_int_equal (read_beside, SQLITE_OK);
  assert_int_equal (process_file_size (cut), 5 * PAGE);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
}

/* While the first page is read, it is written between its halves. */
static int
write_between (struct shim_call *call)
{
  struct shim_call half = *call;
  int rc;

  if (call->method != SHIM_READ || call->number != 0)
    return SQLITE_OK;
  on_call = NULL;
  half.count = PAGE / 2;
  rc = shim_pass (&half);
  write_pages (cut, 0, 1, 2);
  assert_int_equal (process_file_sync (cut, 0), SQLITE_OK);
  half.number = PAGE / 2;
  half.memory = (char *)call->memory + PAGE / 2;
  half.count = call->count - PAGE / 2;
  return rc == SQLITE_OK ? shim_pass_in_pieces (&half) : rc;
}

/* A page that is written while it is read is read as it was, or as it is. */
static void
test_written_while_read (void **state)
{
  unsigned char page[PAGE];

  (void)state;
  cut = open_file (0);
  write_pages (cut, 0, 4, 1);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
  cut = open_file (0);
  on_call = write_between;
  assert_int_equal (process_file_read (cut, page, PAGE, 0), SQLITE_OK);
  assert_null (on_call);
  for (int i = 1; i < PAGE; i++)
    assert_int_equal (page[i], page[0]);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
}

/* Two read the same page, the second one while it is on its way to the first.
 */
static pthread_t second;
static int reads;

static void *
read_too (void *opaque)
{
  unsigned char page[PAGE];

  (void)opaque;
  assert_int_equal (process_file_read (cut, page, PAGE, 5 * PAGE), SQLITE_OK);
  return NULL;
}

static int
let_second_read (struct shim_call *call)
{
  if (call->method == SHIM_READ && reads++ == 0) {
    assert_int_equal (pthread_create (&second, NULL, read_too, NULL), 0);
    usleep (50000);
  }
  return SQLITE_OK;
}

/* The second one waits for it. */
static void
test_read_once (void **state)
{
  unsigned char page[PAGE];

  (void)state;
  cut = open_file (0);
  write_pages (cut, 0, 16, 1);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
  cut = open_file (0);
  on_call = let_second_read;
  assert_int_equal (process_file_read (cut, page, PAGE, 0), SQLITE_OK);
  assert_int_equal (pthread_join (second, NULL), 0);
  on_call = NULL;
  assert_int_equal (reads, 1);
  assert_int_equal (process_file_close (cut), SQLITE_OK);
}

/* The object ends after ten pages, although the file does not: a server has
 * died between.
 */
static int
end_object (struct shim_call *call)
{
  const int64_t there = 10 * PAGE - call->number;

  if (call->method != SHIM_READ || there >= call->count)
    return SQLITE_OK;
  memset (call->memory, 0, call->count);
  return SQLITE_IOERR_SHORT_READ;
}

/* What is there is read, and what is not there is no zeros: so this VFS below
 * shows a read that has failed, too.
 */
static void
test_object_not_whole (void **state)
{
  unsigned char page[PAGE], wanted[PAGE];
  struct process_file *file = open_file (0);

  (void)state;
  write_pages (file, 0, 64, 1);
  assert_int_equal (process_file_close (file), SQLITE_OK);
  file = open_file (0);
  memset (wanted, 1, PAGE);
  on_call = end_object;
  for (int i = 0; i < 12; i++) {
    const int rc = process_file_read (file, page, PAGE, i * PAGE);

    assert_int_equal (rc, i < 10 ? SQLITE_OK : SQLITE_IOERR_READ);
    if (i < 10)
      assert_memory_equal (page, wanted, PAGE);
  }
  on_call = NULL;
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    unit_test (test_changed_before_locked),
    unit_test (test_modes),
    unit_test (test_busy),
    unit_test (test_names),
    unit_test (test_no_name),
    unit_test (test_failing_close),
    unit_test (test_swallowed_before_cut),
    unit_test (test_first_write_fails),
    unit_test (test_swallowed_once),
    unit_test (test_swallowed_told_to_writer),
    unit_test (test_writes_wait),
    unit_test (test_read_what_was_written),
    unit_test (test_swallowed_size),
    unit_test (test_read_beside_cut),
    unit_test (test_written_while_read),
    unit_test (test_read_once),
    unit_test (test_object_not_whole),
  };
  static sqlite3_vfs bare;

  shim_install (&hooks);
  /* What libcephsqlite leaves out. */
  bare = *sqlite3_vfs_find (NULL);
  bare.zName = "bare";
  bare.xDlOpen = NULL;
  bare.xDlError = NULL;
  bare.xDlSym = NULL;
  bare.xDlClose = NULL;
  bare.xRandomness = NULL;
  bare.xSleep = NULL;
  bare.xCurrentTime = NULL;
  bare.xGetLastError = NULL;
  if (process_register (&bare, 1 << 20, PROCESS_VERIFY, NULL) != SQLITE_OK)
    return 1;
  return cmocka_run_group_tests (tests, NULL, NULL);
}
