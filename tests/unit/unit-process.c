/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A file that is shared in one process (process.h): what is read is what was
 * written, in few requests, and nothing counts as synced that is not there.
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

static uint64_t seed;

/*--------------------------------------------------------------------
 * The VFS below.
 */

static atomic_int calls[SHIM_METHODS]; /* of databases */
static atomic_int failing;             /* writes fail with this result */

static int
before (struct shim_call *call)
{
  if (call->file == SHIM_OTHER)
    return SQLITE_OK;
  calls[call->method]++;
  if (call->method == SHIM_WRITE && failing != SQLITE_OK)
    return failing;
  if (call->method != SHIM_WRITE && call->method != SHIM_READ)
    return SQLITE_OK;
  return shim_pass_in_pieces (call);
}

static const struct shim_hooks hooks = { .before = before };

static void
forget_calls (void)
{
  for (int i = 0; i < SHIM_METHODS; i++)
    calls[i] = 0;
}

static struct process_file *
open_file (uint64_t cache, int options)
{
  const int flags =
      SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  /* SQLite's VFS finds parameters behind the name. */
  static char name[4096];
  struct process_file *file;
  int rc;

  memset (name, 0, sizeof name);
  strcpy (name, unit_database ());
  file = process_file_open (sqlite3_vfs_find (NULL), name, flags, cache,
                            options, &rc);
  assert_int_equal (rc, SQLITE_OK);
  return file;
}

/*--------------------------------------------------------------------
 * One file.
 */

/* Random calls, beside a model of the file in memory. */
#define MODEL (3 * PROCESS_OBJECT / 2)

static void
model_step (struct process_file *file, unsigned char *model, int64_t *size)
{
  static unsigned char data[3 * PROCESS_CHUNK], expected[3 * PROCESS_CHUNK];
  const int count =
      1 + random_below (&seed, random_below (&seed, 8) ? PAGE : sizeof data);
  const int64_t offset = random_below (&seed, MODEL - count);
  const int64_t there = *size > offset ? *size - offset : 0;
  int64_t at = offset;
  int rc;

  switch (random_below (&seed, 12)) {
  case 0:
    assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
    break;
  case 1:
    if (random_below (&seed, 8) || offset > *size)
      break;
    assert_int_equal (process_file_truncate (file, offset), SQLITE_OK);
    memset (model + offset, 0, MODEL - offset);
    *size = offset;
    break;
  case 2:
  case 3:
  case 4:
    for (int i = random_below (&seed, 30); i >= 0 && at + count <= MODEL; i--) {
      random_fill (&seed, data, count);
      assert_int_equal (process_file_write (file, data, count, at), SQLITE_OK);
      memcpy (model + at, data, count);
      at += count;
    }
    if (at > *size)
      *size = at;
    break;
  default:
    rc = process_file_read (file, data, count, offset);
    assert_int_equal (rc, there < count ? SQLITE_IOERR_SHORT_READ : SQLITE_OK);
    memcpy (expected, model + offset, count);
    assert_memory_equal (data, expected, count);
  }
  assert_int_equal (process_file_size (file), *size);
}

static void
test_model (void **state)
{
  unsigned char *model = calloc (1, MODEL);
  char *there;
  size_t bytes;
  int64_t size = 0;

  (void)state;
  for (int i = 0; i < 6; i++) {
    struct process_file *file =
        open_file (i % 3 == 0 ? 1 : i % 3 * 5 * PROCESS_CHUNK, PROCESS_VERIFY);

    for (int j = 0; j < 700; j++)
      model_step (file, model, &size);
    assert_int_equal (process_file_close (file), SQLITE_OK);
    there = unit_read_file (unit_database (), &bytes);
    assert_int_equal (bytes, size);
    assert_memory_equal (there, model, size);
    free (there);
  }
  free (model);
}

/* What goes on is written by one request for each object, and what is read in
 * order by more each time.
 */
static void
test_requests (void **state)
{
  static const int size = 5 * PROCESS_OBJECT / 2;
  struct process_file *file = open_file (size, 0);
  unsigned char page[PAGE];

  (void)state;
  forget_calls ();
  for (int i = 0; i < size / PAGE; i++) {
    memset (page, i, PAGE);
    assert_int_equal (process_file_write (file, page, PAGE, i * PAGE), 0);
  }
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  assert_int_equal (calls[SHIM_WRITE], 3);
  for (int i = size / PAGE - 1; i >= 0; i--)
    assert_int_equal (process_file_read (file, page, PAGE, i * PAGE), 0);
  assert_int_equal (calls[SHIM_READ], 0);
  assert_int_equal (process_file_close (file), SQLITE_OK);

  file = open_file (size, 0);
  forget_calls ();
  for (int i = 0; i < size / PAGE; i++) {
    assert_int_equal (process_file_read (file, page, PAGE, i * PAGE), 0);
    assert_int_equal (page[i % PAGE], i % 256);
  }
  /* 64K, 128K, ... 2M, and the rest of the object; then whole ones. */
  assert_in_range (calls[SHIM_READ], 3, 9);
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

/* A client reads from left to right; of each of its requests SQLite reads from
 * right to left.
 */
static void
test_requests_of_client (void **state)
{
  static const int size = 5 * PROCESS_OBJECT / 2, request = 1 << 20;
  struct process_file *file = open_file (4 * size, 0);
  unsigned char page[PAGE];

  (void)state;
  for (int i = 0; i < size / PAGE; i++)
    assert_int_equal (process_file_write (file, page, PAGE, i * PAGE), 0);
  assert_int_equal (process_file_close (file), SQLITE_OK);
  file = open_file (4 * size, 0);
  forget_calls ();
  for (int at = 0; at < size; at += request)
    for (int i = at + request - PAGE; i >= at; i -= PAGE)
      assert_int_equal (process_file_read (file, page, PAGE, i), SQLITE_OK);
  /* 64K, 128K, 256K, 512K, 64K; from then on what is ahead. */
  assert_in_range (calls[SHIM_READ], 5, 9);
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

/* What cannot be written stays, and no sync succeeds before it was. */
static void
test_failing_writes (void **state)
{
  struct process_file *file = open_file (PROCESS_CHUNK, 0);
  unsigned char page[PAGE], there[PAGE];

  (void)state;
  memset (page, 7, PAGE);
  assert_int_equal (process_file_write (file, page, PAGE, 0), SQLITE_OK);
  failing = SQLITE_IOERR_WRITE;
  for (int i = 0; i < 3; i++)
    assert_int_equal (process_file_sync (file, 0), SQLITE_IOERR_WRITE);
  assert_int_equal (process_file_write (file, page, PAGE, 99 * PAGE),
                    SQLITE_IOERR_WRITE);
  assert_int_equal (process_file_truncate (file, 0), SQLITE_IOERR_WRITE);
  failing = SQLITE_OK;
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  assert_int_equal (process_file_close (file), SQLITE_OK);
  file = open_file (PROCESS_CHUNK, 0);
  assert_int_equal (process_file_size (file), PAGE);
  assert_int_equal (process_file_read (file, there, PAGE, 0), SQLITE_OK);
  assert_memory_equal (there, page, PAGE);
  assert_int_equal (process_file_close (file), SQLITE_OK);
}

/* A VFS that says that it has written what never arrives. */
static int
sync_swallowed (int options)
{
  struct process_file *file = open_file (PROCESS_CHUNK, options);
  unsigned char page[PAGE];
  int rc;

  memset (page, 1, PAGE);
  for (int i = 0; i < 40; i++)
    assert_int_equal (process_file_write (file, page, PAGE, i * PAGE), 0);
  assert_int_equal (process_file_write (file, page, PAGE, PROCESS_OBJECT), 0);
  assert_int_equal (process_file_sync (file, 0), SQLITE_OK);
  memset (page, 2, PAGE);
  assert_int_equal (process_file_write (file, page, PAGE, 20 * PAGE), 0);
  failing = SHIM_DONE;
  assert_int_equal (process_file_write (file, page, PAGE, PROCESS_OBJECT), 0);
  rc = process_file_sync (file, 0);
  failing = SQLITE_OK;
  process_file_close (file);
  return rc;
}

static void
test_swallowed_writes (void **state)
{
  (void)state;
  assert_int_equal (sync_swallowed (0), SQLITE_OK);
  assert_int_equal (sync_swallowed (PROCESS_VERIFY), SQLITE_IOERR_FSYNC);
}

/*--------------------------------------------------------------------
 * Threads: one writes, others read what he says that he has written.
 */

#define PAGES   512
#define READERS 3

static struct process_file *shared;
static atomic_uint versions[PAGES];
static atomic_bool done;

/* A page has one version, and none that is older than what was written before
 * it was read.
 */
static void *
read_pages (void *opaque)
{
  unsigned page[PAGE / sizeof (unsigned)];

  (void)opaque;
  for (unsigned i = 0; !atomic_load (&done); i = (i * 5 + 3) % PAGES) {
    const unsigned least = atomic_load (&versions[i]);

    if (process_file_read (shared, page, PAGE, (int64_t)i * PAGE) != SQLITE_OK)
      return "an error";
    for (unsigned j = 0; j < PAGE / sizeof (unsigned); j++)
      if (page[j] != page[0])
        return "a torn page";
    if (page[0] < least)
      return "an old page";
  }
  return NULL;
}

static void
write_pages (void)
{
  unsigned page[PAGE / sizeof (unsigned)];

  for (unsigned version = 1; version < 6000; version++) {
    const int first = random_below (&seed, PAGES);

    for (int i = first; i < PAGES && i < first + 1 + (int)version % 20; i++) {
      for (unsigned j = 0; j < PAGE / sizeof (unsigned); j++)
        page[j] = version;
      assert_int_equal (process_file_write (shared, page, PAGE, i * PAGE), 0);
      versions[i] = version;
    }
    if (version % 50 == 0)
      assert_int_equal (process_file_sync (shared, 0), SQLITE_OK);
  }
}

static void
test_threads (void **state)
{
  static unsigned char nothing[PAGES * PAGE];
  pthread_t threads[READERS];
  void *result;

  (void)state;
  shared = open_file (4 * PROCESS_CHUNK, 0);
  assert_int_equal (process_file_write (shared, nothing, sizeof nothing, 0), 0);
  for (int i = 0; i < READERS; i++)
    assert_int_equal (pthread_create (&threads[i], NULL, read_pages, NULL), 0);
  write_pages ();
  done = true;
  for (int i = 0; i < READERS; i++) {
    pthread_join (threads[i], &result);
    assert_ptr_equal (result, NULL);
  }
  assert_int_equal (process_file_close (shared), SQLITE_OK);
}

/*--------------------------------------------------------------------
 * Under SQLite.
 */

static const char *database; /* of the test that runs */

static sqlite3 *
open_database (void)
{
  sqlite3 *db;

  assert_int_equal (sqlite3_open_v2 (database, &db,
                                     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                                     PROCESS_NAME),
                    SQLITE_OK);
  sqlite3_busy_timeout (db, 10000);
  return db;
}

static void
run (sqlite3 *db, const char *sql)
{
  const int rc = sqlite3_exec (db, sql, NULL, NULL, NULL);

  if (rc != SQLITE_OK)
    fail_msg ("%s: %s", sql, sqlite3_errmsg (db));
}

static int64_t
integer (sqlite3 *db, const char *sql)
{
  sqlite3_stmt *statement;
  int64_t value;

  assert_int_equal (sqlite3_prepare_v2 (db, sql, -1, &statement, NULL), 0);
  assert_int_equal (sqlite3_step (statement), SQLITE_ROW);
  value = sqlite3_column_int64 (statement, 0);
  sqlite3_finalize (statement);
  return value;
}

/* Money goes from one account to another; the sum is always the same. */
static void *
watch_sum (void *opaque)
{
  sqlite3 *db = open_database ();

  (void)opaque;
  while (!atomic_load (&done))
    if (integer (db, "SELECT sum (amount) FROM account") != 0)
      return "another sum";
  sqlite3_close (db);
  return NULL;
}

static void *
checkpoint (void *opaque)
{
  sqlite3 *db = open_database ();

  (void)opaque;
  while (!atomic_load (&done)) {
    sqlite3_wal_checkpoint_v2 (db, NULL, SQLITE_CHECKPOINT_RESTART, NULL, NULL);
    usleep (2000);
  }
  sqlite3_close (db);
  return NULL;
}

/* Another process finds the file locked.  Returns the result there.  Called
 * without other threads, which may hold mutexes of SQLite: they would be held
 * in the child for ever.
 */
static int
change_elsewhere (void)
{
  int status;
  const pid_t child = fork ();
  sqlite3 *db;

  if (child == 0) {
    /* By a VFS that has no memory of this process. */
    sqlite3_open_v2 (database, &db, SQLITE_OPEN_READWRITE, "unix-dotfile");
    sqlite3_close (db);
    sqlite3_open_v2 (database, &db, SQLITE_OPEN_READWRITE, "unix");
    _exit (sqlite3_exec (db, "DELETE FROM account", NULL, NULL, NULL));
  }
  waitpid (child, &status, 0);
  return WEXITSTATUS (status);
}

static void
test_sqlite (void **state)
{
  static const char check_sql[] =
      "SELECT integrity_check = 'ok' FROM pragma_integrity_check";
  static const char move_sql[] =
      "BEGIN IMMEDIATE;"
      "UPDATE account SET amount = amount + 1 WHERE id = abs (random ()) % 99;"
      "UPDATE account SET amount = amount - changes ()"
      " WHERE id = 100 + abs (random ()) % 99;"
      "COMMIT";
  static const char make_sql[] =
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
      "CREATE TABLE account (id INTEGER PRIMARY KEY, amount, text);"
      "WITH RECURSIVE n (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n"
      " WHERE i < 999)"
      "INSERT INTO account SELECT i, 0, hex (randomblob (900)) FROM n";
  pthread_t threads[3];
  sqlite3 *db, *plain;
  void *result;

  (void)state;
  database = unit_database ();
  db = open_database ();
  done = false;
  run (db, make_sql);
  pthread_create (&threads[0], NULL, watch_sum, NULL);
  pthread_create (&threads[1], NULL, watch_sum, NULL);
  pthread_create (&threads[2], NULL, checkpoint, NULL);
  for (int i = 0; i < 400; i++)
    run (db, move_sql);
  done = true;
  for (int i = 0; i < 3; i++) {
    pthread_join (threads[i], &result);
    assert_ptr_equal (result, NULL);
  }
  assert_int_equal (change_elsewhere (), SQLITE_BUSY);
  sqlite3_close (db);

  assert_int_equal (sqlite3_open (unit_database (), &plain), SQLITE_OK);
  assert_int_equal (integer (plain, check_sql), 1);
  assert_int_equal (integer (plain, "SELECT sum (amount) FROM account"), 0);
  sqlite3_close (plain);
}

/* The file is locked as long as somebody has it open, also without a
 * transaction; and the log's index, which belongs to a log that has gone with
 * its last connection, does not outlive it.
 */
static void
test_held (void **state)
{
  sqlite3_vfs *vfs = sqlite3_vfs_find (PROCESS_NAME);
  sqlite3_file *held = calloc (1, vfs->szOsFile);
  volatile void *memory;
  sqlite3 *db;

  (void)state;
  database = unit_database ();
  db = open_database ();
  run (db, "PRAGMA journal_mode = WAL; CREATE TABLE account (id)");
  assert_true (process_has (sqlite3_db_filename (db, "main")));
  assert_int_equal (vfs->xOpen (vfs, sqlite3_db_filename (db, "main"), held,
                                SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_READWRITE,
                                NULL),
                    SQLITE_OK);
  for (int i = 0; i < 3; i++) {
    run (db, "INSERT INTO account VALUES (1)");
    sqlite3_close (db);
    assert_int_equal (access (database, F_OK), 0);
    assert_int_equal (change_elsewhere (), SQLITE_BUSY);
    held->pMethods->xShmMap (held, 0, 32768, 0, &memory);
    assert_ptr_equal (memory, NULL);
    held->pMethods->xShmUnmap (held, 0);
    db = open_database ();
    assert_int_equal (integer (db, "SELECT count (*) FROM account"), i + 1);
  }
  sqlite3_close (db);
  held->pMethods->xClose (held);
  free (held);
  assert_false (process_has (database));
  assert_int_equal (change_elsewhere (), SQLITE_OK);
}

int
main (void)
{
  static const struct CMUnitTest tests[] = {
    unit_test (test_model),
    unit_test (test_requests),
    unit_test (test_requests_of_client),
    unit_test (test_failing_writes),
    unit_test (test_swallowed_writes),
    unit_test (test_threads),
    unit_test (test_sqlite),
    unit_test (test_held),
  };

  seed = unit_seed ();
  shim_install (&hooks);
  if (process_register (sqlite3_vfs_find (NULL), 1 << 20, PROCESS_VERIFY,
                        NULL) != SQLITE_OK)
    return 1;
  return cmocka_run_group_tests (tests, NULL, NULL);
}
