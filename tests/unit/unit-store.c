/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The engine without nbdkit: group commit, flushes, errors, restarts.
 *
 * The shim VFS counts what reaches the files and makes them fail.  Batches
 * are made on purpose: the writer is paused, threads queue up, the writer
 * goes on.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "engine/checkpoint.h"
#include "block/checksum.h"
#include "base/clock.h"
#include "rows/database.h"
#include "shim.h"
#include "manage.h"
#include "store.h"
#include "engine/writer.h"
#include "sqlite/marking.h"

#define BLOCK     4096
#define DISK_SIZE (64 * 1024 * 1024)

/* A disk, and the writer below it where a test needs that itself. */
static char *path;
static struct store *store;
static struct disk *disk;
static struct connections connections;
static struct writer writer;
static struct flusher flusher;
static struct disk_info info;
static atomic_int commits;
static atomic_long log_used; /* bytes of the pages in the log */

/*--------------------------------------------------------------------
 * What reaches the files.
 */

/* Counted since the last reset_counts. */
static atomic_int syncs[SHIM_FILES];
static atomic_int writes[SHIM_FILES];
static atomic_int log_starts; /* writes to the log's first byte */

/* While it is not zero, syncs of a file fail with EIO. */
static atomic_int fail_sync[SHIM_FILES];
/* Writes to a file at or past this many bytes fail, as on a full file system
 * (0: never).
 */
static atomic_long full_at[SHIM_FILES];
/* While it is not zero, a sync of the log that fails also loses the page that
 * was written last: afterwards there is what a page was before.
 */
static atomic_int lose_page;
static atomic_long last_page; /* the end of a frame, in bytes */
/* While it is not zero, only the thread of the tests gets the lock of
 * checkpoints, number 1 of the log's index.
 */
static atomic_int keep_checkpoints;
static pthread_t tester;
/* While it is not zero, the header of the log cannot be read. */
static atomic_int fail_header;
/* The how-manieth request for the lock of writers fails (0: none). */
static atomic_int fail_lock;

/* Lose the last page of a log. */
static void
lose_last_page (sqlite3_file *log)
{
  static const char zeroes[BLOCK];

  assert_int_equal (log->pMethods->xWrite (log, zeroes, sizeof zeroes,
                                           last_page - sizeof zeroes),
                    SQLITE_OK);
}

/* Look at a write to the log. */
static void
note_log_write (struct shim_call *call)
{
  const char *memory = call->memory;

  if (call->number == 0)
    log_starts++;
  /* What is put behind the frames are zeroes. */
  if (memory[0] != 0 || memcmp (memory, memory + 1, call->count - 1) != 0)
    last_page = call->number + call->count;
}

static int
count_or_fail (struct shim_call *call)
{
  const long limit = full_at[call->file];

  if (call->method == SHIM_SYNC) {
    syncs[call->file]++;
    if (fail_sync[call->file] && atomic_exchange (&lose_page, 0))
      lose_last_page (call->handle);
    return fail_sync[call->file] ? SQLITE_IOERR_FSYNC : SQLITE_OK;
  }
  if (call->method == SHIM_WRITE) {
    if (limit && call->number + call->count > limit)
      return SQLITE_FULL;
    writes[call->file]++;
    if (call->file == SHIM_LOG)
      note_log_write (call);
  }
  if (call->method == SHIM_READ && call->file == SHIM_LOG &&
      call->number == 0 && fail_header)
    return SQLITE_IOERR_READ;
  if (call->method == SHIM_SHM_LOCK && call->number == 1 && keep_checkpoints &&
      call->flags & SQLITE_SHM_LOCK && !pthread_equal (pthread_self (), tester))
    return SQLITE_BUSY;
  if (call->method == SHIM_SHM_LOCK && call->number == 0 &&
      call->flags & SQLITE_SHM_LOCK && fail_lock && --fail_lock == 0)
    return SQLITE_IOERR_SHMLOCK;
  return SQLITE_OK;
}

static const struct shim_hooks hooks = { .before = count_or_fail };

/* Set all of the above to zero. */
static void
reset_counts (void)
{
  for (int i = 0; i < SHIM_FILES; i++) {
    syncs[i] = 0;
    writes[i] = 0;
    fail_sync[i] = 0;
    full_at[i] = 0;
  }
  log_starts = 0;
  lose_page = 0;
  keep_checkpoints = 0;
  fail_header = 0;
  fail_lock = 0;
}

/*--------------------------------------------------------------------
 * Opening and closing.
 */

/* The last line for the server's log. */
static char warning[1000];

static void
keep_warning (const char *message)
{
  snprintf (warning, sizeof warning, "%s", message);
}

static void
make_disk (uint32_t block_size)
{
  const struct disk_options options = {
    .name = "d",
    .size = DISK_SIZE,
    .block_size = block_size,
    .storing.compression = { CODEC_RAW, 0 },
  };
  struct status status;

  path = unit_database ();
  assert_int_equal (store_provide (path, &options, &status), 0);
  reset_counts ();
}

static void
open_store_with (const struct checkpoint_limits *limits)
{
  struct status status;
  const struct store_options options = {
    .limits = *limits,
    .warn = keep_warning,
  };

  store = store_open (path, &options, &status);
  assert_non_null (store);
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  assert_false (disk_is_readonly (disk));
}

static void
open_store (void)
{
  open_store_with (&checkpoint_limits_default);
}

static void
close_store (void)
{
  disk_close (disk);
  store_close (store);
}

static void
count_commit (uint64_t log_bytes, void *opaque)
{
  log_used = log_bytes;
  (void)opaque;
  commits++;
}

/* The writer alone, without a checkpointer that could come in between. */
static void
open_writer (void)
{
  const struct store_options options = { .warn = unit_ignore_warning };
  struct status status;

  assert_ok (connections_find (&connections, path, &options, &status), &status);
  assert_int_equal (writer_open (&writer, &connections, &flusher, &status), 0);
  assert_int_equal (flusher_open (&flusher, &connections, false, &status), 0);
  assert_int_equal (disks_find (&writer.connection, "d", &info, &status), 1);
  writer.committed = count_commit;
  commits = 0;
}

static void
close_writer (void)
{
  flusher_close (&flusher);
  writer_close (&writer);
  connections_free (&connections);
}

/* What SQL says about the database, from a connection of its own. */
static int64_t
ask (const char *sql)
{
  return unit_integer_on (path, "%s", sql);
}

/* The size of the log's file in bytes. */
static long
log_size (void)
{
  struct stat st;
  char *name;

  assert_true (asprintf (&name, "%s-wal", path) > 0);
  assert_int_equal (stat (name, &st), 0);
  free (name);
  return st.st_size;
}

/*--------------------------------------------------------------------
 * Flushes.
 */

static char bytes[2 * BLOCK];

static int
do_write (void)
{
  struct status status;

  bytes[0]++;
  return disk_write (disk, bytes, 0, BLOCK, false, &status);
}

static int
do_write_at (uint64_t number)
{
  struct status status;

  bytes[0]++;
  return disk_write (disk, bytes, number * BLOCK, BLOCK, false, &status);
}

static int
do_write_fua (void)
{
  struct status status;

  bytes[0]++;
  return disk_write (disk, bytes, 0, BLOCK, true, &status);
}

static int
do_part_fua (void)
{
  struct status status;

  bytes[0]++;
  return disk_write (disk, bytes, 100, BLOCK, true, &status);
}

/* Trims and zeroes begin with something to clear. */
static int
do_trim (void)
{
  struct status status;

  return do_write () | disk_trim (disk, 0, BLOCK, false, &status);
}

static int
do_trim_fua (void)
{
  struct status status;

  return do_write () | disk_trim (disk, 0, BLOCK, true, &status);
}

static int
do_zero (void)
{
  struct status status;

  return do_write () | disk_zero (disk, 0, BLOCK, false, &status);
}

static int
do_zero_fua (void)
{
  struct status status;

  return do_write () | disk_zero (disk, 10, BLOCK, true, &status);
}

static int
do_flush (void)
{
  struct status status;

  return disk_flush (disk, &status);
}

static int
do_write_flush (void)
{
  return do_write () | do_flush ();
}

static int
do_trim_flush (void)
{
  return do_trim () | do_flush ();
}

static int
do_zero_flush (void)
{
  return do_zero () | do_flush ();
}

static int
do_read (void)
{
  struct status status;

  return disk_read (disk, bytes, 0, sizeof bytes, &status);
}

/* How often the log is synced when something is done to a disk on which
 * nothing waits for a flush.  A checkpoint that comes in between syncs the
 * database; then it is done again.
 */
static int
syncs_of (int (*do_it) (void))
{
  do {
    assert_int_equal (do_write_flush (), 0);
    reset_counts ();
    assert_int_equal (do_it (), 0);
  } while (syncs[SHIM_DATABASE] > 0);
  return syncs[SHIM_LOG];
}

static void
test_syncs (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();

  assert_int_equal (syncs_of (do_read), 0);
  assert_int_equal (syncs_of (do_write), 0);
  assert_int_equal (syncs_of (do_trim), 0);
  assert_int_equal (syncs_of (do_zero), 0);

  assert_int_equal (syncs_of (do_write_flush), 1);
  assert_int_equal (syncs_of (do_trim_flush), 1);
  assert_int_equal (syncs_of (do_zero_flush), 1);

  assert_int_equal (syncs_of (do_write_fua), 1);
  assert_int_equal (syncs_of (do_part_fua), 1);
  assert_int_equal (syncs_of (do_trim_fua), 1);
  assert_int_equal (syncs_of (do_zero_fua), 1);

  /* Nothing was committed since the last one. */
  assert_int_equal (syncs_of (do_flush), 0);
  close_store ();
}

/* A flush covers what another client wrote. */
static void
test_flush_for_others (void **state)
{
  struct status status;
  struct disk *other;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  other = disk_open (store, "d", false, &status);
  assert_non_null (other);
  do {
    assert_int_equal (do_write_flush (), 0);
    reset_counts ();
    assert_int_equal (do_write (), 0);
    assert_int_equal (disk_flush (other, &status), 0);
  } while (syncs[SHIM_DATABASE] > 0);
  assert_int_equal (syncs[SHIM_LOG], 1);
  disk_close (other);
  close_store ();
}

/* Try to flush until it succeeds, for some seconds. */
static int
flush_at_last (void)
{
  for (int i = 0; i < 100; i++) {
    if (do_flush () == 0)
      return 0;
    nanosleep (&(struct timespec){ .tv_nsec = 100000000 }, NULL);
  }
  return -1;
}

/* After a failed sync no flush succeeds, not even if the next sync would,
 * until a complete checkpoint has.
 */
static void
test_failed_sync (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write_flush (), 0);

  fail_sync[SHIM_LOG] = 1;
  fail_sync[SHIM_DATABASE] = 1;
  assert_int_equal (do_write (), 0);
  assert_int_equal (do_flush (), -1);
  fail_sync[SHIM_LOG] = 0;
  assert_int_equal (do_flush (), -1);
  assert_int_equal (do_write_fua (), -1);
  nanosleep (&(struct timespec){ .tv_nsec = 300000000 }, NULL);
  assert_int_equal (do_flush (), -1);
  assert_int_equal (do_read (), 0);

  fail_sync[SHIM_DATABASE] = 0;
  writes[SHIM_DATABASE] = 0;
  assert_int_equal (flush_at_last (), 0);
  assert_int_equal (do_write_fua (), 0);
  close_store ();
}

/* Wait, for some seconds at most, until a count is at least MANY. */
static void
await_count (atomic_int *count, int many)
{
  for (int i = 0; i < 100 && *count < many; i++)
    nanosleep (&(struct timespec){ .tv_nsec = 100000000 }, NULL);
  assert_true (*count >= many);
}

/* A sync of the database that failed after a checkpoint had moved a part of
 * the log: what was moved is written again before a flush succeeds.
 */
static void
test_failed_database_sync (void **state)
{
  const int blocks = 100;
  sqlite3 *reader;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  for (int i = 0; i < blocks; i++)
    assert_int_equal (do_write_at (i), 0);
  reader = unit_open_raw (path);
  unit_sql (reader, "BEGIN; SELECT * FROM disk");
  assert_int_equal (do_write_at (blocks), 0);

  reset_counts ();
  fail_sync[SHIM_DATABASE] = 1;
  await_count (&syncs[SHIM_DATABASE], 1);
  while (do_flush () == 0)
    nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);

  reset_counts ();
  sqlite3_close (reader);
  assert_int_equal (flush_at_last (), 0);
  assert_true (writes[SHIM_DATABASE] >= blocks);
  close_store ();
}

/* Fail a sync in such a way that the last page of the log is lost. */
static void
lose_page_of_log (void)
{
  fail_sync[SHIM_LOG] = 1;
  lose_page = 1;
  assert_int_equal (do_flush (), -1);
  fail_sync[SHIM_LOG] = 0;
}

/* Nothing is written to the store, and nothing moved into the database. */
static void
assert_gave_up (void)
{
  struct status status;

  nanosleep (&(struct timespec){ .tv_nsec = 500000000 }, NULL);
  assert_int_equal (disk_flush (disk, &status), -1);
  assert_int_equal (disk_write (disk, bytes, 0, sizeof bytes, false, &status),
                    -1);
  assert_int_equal (status.error, EIO);
  assert_non_null (strstr (status.message, "start the server again"));
  assert_int_equal (writes[SHIM_DATABASE], 0);
}

/* A page of the log that could not be written and was dropped is not copied
 * into the database.  The next server goes on from what was flushed.
 */
static void
test_lost_page (void **state)
{
  char flushed[BLOCK];
  struct status status;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write_fua (), 0);
  memcpy (flushed, bytes, BLOCK);
  assert_int_equal (do_write (), 0);

  reset_counts ();
  lose_page_of_log ();
  assert_gave_up ();
  assert_non_null (strstr (warning, "start the server again"));
  close_store ();
  assert_true (log_size () > 0);
  assert_int_equal (writes[SHIM_DATABASE], 0);

  open_store ();
  assert_int_equal (disk_read (disk, bytes, 0, BLOCK, &status), 0);
  assert_memory_equal (bytes, flushed, BLOCK);
  assert_int_equal (do_write_fua (), 0);
  close_store ();
}

/* The same at the start of a server, while another program has the database
 * open, so that SQLite does not look at the log.
 */
static void
test_lost_page_at_start (void **state)
{
  const struct store_options options = {
    .limits = checkpoint_limits_default,
    .warn = keep_warning,
  };
  struct status status;
  sqlite3 *other;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write_fua (), 0);
  assert_int_equal (do_write (), 0);
  other = unit_open_raw (path);
  unit_sql (other, "SELECT * FROM disk");
  lose_page_of_log ();
  close_store ();

  reset_counts ();
  store = store_open (path, &options, &status);
  assert_non_null (store);
  assert_null (disk_open (store, "d", false, &status));
  assert_non_null (strstr (status.message, "start the server again"));
  store_close (store);
  assert_int_equal (writes[SHIM_DATABASE], 0);
  sqlite3_close (other);
}

/*--------------------------------------------------------------------
 * Group commit.
 */

#define THREADS 8

/* A write by a thread of its own. */
struct request {
  pthread_t thread;
  struct disk_info info;
  char *data; /* NULL: a trim */
  uint64_t offset, count;
  int result;
  int place; /* of those that are done, the first is 0 */
  struct status status;
};

static atomic_int requests_done;

static void *
run_request (void *opaque)
{
  struct request *request = opaque;
  struct write_request write = {
    .data = request->data,
    .offset = request->offset,
    .count = request->count,
    .storing.compression = { CODEC_RAW, 0 },
  };

  request->result =
      request->data
          ? writer_write (&writer, &request->info, &write, &request->status)
          : writer_clear (&writer, &request->info, request->offset,
                          request->count, false, &request->status);
  request->place = atomic_fetch_add (&requests_done, 1);
  return NULL;
}

/* Wait until COUNT operations stand in the queue of the paused writer. */
static void
await_queued (size_t count)
{
  size_t queued;

  do {
    nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    pthread_mutex_lock (&writer.lock);
    queued = writer.queued;
    pthread_mutex_unlock (&writer.lock);
  } while (queued < count);
}

/* Run requests that have been queued together, in this order. */
static void
run_together (struct request *requests, int count)
{
  atomic_store (&requests_done, 0);
  writer_pause (&writer);
  for (int i = 0; i < count; i++) {
    assert_int_equal (
        pthread_create (&requests[i].thread, NULL, run_request, &requests[i]),
        0);
    await_queued (i + 1);
  }
  writer_resume (&writer);
  for (int i = 0; i < count; i++)
    pthread_join (requests[i].thread, NULL);
}

static void
fill_request (struct request *request, uint64_t offset, uint64_t count,
              char fill)
{
  *request = (struct request){
    .info = info,
    .data = malloc (count),
    .offset = offset,
    .count = count,
    .result = -2,
  };
  assert_non_null (request->data);
  memset (request->data, fill, count);
}

/* Is the data of a request on the disk? */
static bool
is_stored (const struct request *request)
{
  char *got = malloc (request->count);
  struct view view = { 0 };
  struct status status;
  bool same;

  assert_non_null (got);
  assert_int_equal (
      disks_view (&writer.connection, info.id, info.epoch, &view, &status), 0);
  assert_int_equal (view_read (&writer.connection, &view, got, request->offset,
                               request->count, &status),
                    0);
  same = memcmp (got, request->data, request->count) == 0;
  view_free (&view);
  free (got);
  return same;
}

static void
free_requests (struct request *requests, int count)
{
  for (int i = 0; i < count; i++)
    free (requests[i].data);
}

/* What waits together is one transaction. */
static void
test_one_transaction (void **state)
{
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int i = 0; i < THREADS; i++)
    fill_request (&requests[i], i * BLOCK, BLOCK, 'a' + i);
  run_together (requests, THREADS);
  assert_int_equal (commits, 1);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal (requests[i].result, 0);
    assert_true (is_stored (&requests[i]));
  }
  free_requests (requests, THREADS);
  close_writer ();
}

/* A write that comes after many trims of the whole disk waits for one of them,
 * and these for no more than one batch of others.
 */
static void
test_large_ones_in_turn (void **state)
{
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int i = 0; i < THREADS - 1; i++)
    requests[i] = (struct request){ .info = info, .count = info.size };
  fill_request (&requests[THREADS - 1], 0, BLOCK, 'w');
  writer.batch_bytes = info.size - 1;
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++)
    assert_ok (requests[i].result, &requests[i].status);
  /* The trims wait for it, too, but who has ended first is up to the system. */
  assert_uint_in_range (requests[THREADS - 1].place, 0, THREADS - 3);
  free (requests[THREADS - 1].data);
  close_writer ();
}

/* Writers to parts of one block do not undo each other. */
static void
test_parts_of_one_block (void **state)
{
  const int part = BLOCK / THREADS;
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int i = 0; i < THREADS; i++)
    fill_request (&requests[i], 7 * BLOCK + i * part, part, 'a' + i);
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++)
    assert_true (is_stored (&requests[i]));
  free_requests (requests, THREADS);
  close_writer ();
}

/* What block 7 is now. */
static void
read_block_before (struct block_before *before)
{
  struct view view = { 0 };
  struct status status;

  before->bytes = malloc (BLOCK);
  assert_non_null (before->bytes);
  assert_ok (
      disks_view (&writer.connection, info.id, info.epoch, &view, &status),
      &status);
  assert_ok (
      view_version (&writer.connection, &view, 7, &before->version, &status),
      &status);
  assert_ok (view_read (&writer.connection, &view, before->bytes, 7 * BLOCK,
                        BLOCK, &status),
             &status);
  view_free (&view);
}

/* Write COUNT bytes of FILL at byte OFFSET of block 7, which was BEFORE. */
static void
write_part (const struct block_before *before, uint32_t offset, uint32_t count,
            char fill)
{
  char data[BLOCK];
  struct write_request request = {
    .data = data,
    .offset = 7 * BLOCK + offset,
    .count = count,
    .storing.compression = info.storing.compression,
    .before[0] = *before,
  };
  struct status status;

  memset (data, fill, count);
  request.before[0].bytes = malloc (BLOCK);
  assert_non_null (request.before[0].bytes);
  memcpy (request.before[0].bytes, before->bytes, BLOCK);
  assert_ok (writer_write (&writer, &info, &request, &status), &status);
  free (request.before[0].bytes);
}

/* What was merged before the transaction is stored if the block is still the
 * same, and else merged anew.
 */
static void
test_merged_before (void **state)
{
  struct block_before before, after;

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  read_block_before (&before);
  assert_int_equal (before.version.layer, 0);
  write_part (&before, 0, 100, 'a');
  write_part (&before, 100, 100, 'b'); /* the block has changed */
  read_block_before (&after);
  assert_int_equal (after.bytes[99], 'a');
  assert_int_equal (after.bytes[100], 'b');
  free (before.bytes);

  /* That the transaction does not read the block shows where it is told that
   * it was something else.
   */
  after.bytes[BLOCK - 1] = 'x';
  write_part (&after, 200, 100, 'c');
  write_part (&after, 300, 100, 'd');
  read_block_before (&before);
  assert_int_equal (before.bytes[200], 'c');
  assert_int_equal (before.bytes[300], 'd');
  assert_int_equal (before.bytes[BLOCK - 1], 'x');
  free (before.bytes);
  free (after.bytes);
  close_writer ();
}

/* A disk that is open takes another compression from its next writes on. */
static void
test_set_compression (void **state)
{
  static const char *const names[] = { "zstd:3", "lz4", "none" };
  struct disk_options options = { 0 };
  char data[BLOCK];
  struct status status;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  memset (data, 'x', sizeof data);
  for (int i = 0; i < 3; i++) {
    if (compression_parse (names[i], &options.storing.compression, &status) ==
        -1) {
      assert_int_equal (status.error, ENOTSUP);
      continue;
    }
    assert_ok (manage_set (store, "d", &options, &status), &status);
    /* A write tells the next one. */
    for (int block = 0; block < 2; block++)
      assert_ok (disk_write (disk, data, block * BLOCK, BLOCK, false, &status),
                 &status);
    assert_int_equal (ask ("SELECT codec FROM block WHERE number = 1"),
                      options.storing.compression.codec);
    /* A part of a block, and parts of two. */
    assert_ok (disk_write (disk, data, 2 * BLOCK + 10, 100, false, &status),
               &status);
    assert_ok (disk_write (disk, data, 4 * BLOCK - 1, 2, false, &status),
               &status);
    assert_int_equal (ask ("SELECT count (*) FROM block WHERE number > 1"
                           " AND codec = (SELECT compression FROM disk)"),
                      3);
    assert_int_equal (disk_read (disk, data, 0, BLOCK, &status), 0);
    assert_int_equal (data[0], 'x');
  }
  close_store ();
}

/* A request that cannot be done gets the error, the others in its batch do
 * not notice, wherever it stands.
 */
static void
test_error_in_batch (void **state)
{
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int bad = 0; bad < THREADS; bad++) {
    for (int i = 0; i < THREADS; i++)
      fill_request (&requests[i], i * BLOCK, BLOCK, 'a' + bad + i);
    requests[bad].info.epoch++;
    run_together (requests, THREADS);
    for (int i = 0; i < THREADS; i++) {
      assert_int_equal (requests[i].result, i == bad ? -1 : 0);
      assert_int_equal (is_stored (&requests[i]), i != bad);
    }
    assert_int_equal (requests[bad].status.error, EIO);
    free_requests (requests, THREADS);
  }
  close_writer ();
}

/* The same where one that is tried alone cannot begin: those behind it are
 * tried all the same.
 */
static void
test_alone_without_lock (void **state)
{
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  fill_request (&requests[0], 0, BLOCK, 'a');
  run_together (requests, 1);
  assert_int_equal (requests[0].result, 0);
  free_requests (requests, 1);
  for (int i = 0; i < THREADS; i++)
    fill_request (&requests[i], i * BLOCK, BLOCK, 'b' + i);
  requests[0].info.epoch++;
  fail_lock = 3; /* that of the batch, of the first, of the second */
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal (requests[i].result, i < 2 ? -1 : 0);
  free_requests (requests, THREADS);
  close_writer ();
}

/* Take or let go of SQLite's lock of checkpoints. */
static void
lock_checkpoints (struct connection *connection, int action)
{
  sqlite3_file *database, *log;

  assert_int_equal (connection_files (connection, &database, &log), SQLITE_OK);
  assert_int_equal (database->pMethods->xShmLock (
                        database, 1, 1, action | SQLITE_SHM_EXCLUSIVE),
                    SQLITE_OK);
}

/* The first write to a closed database waits for the lock of checkpoints.  Who
 * has that, and asks writers to pause, does not wait for the write for ever.
 */
static void
test_pause_in_checkpoint (void **state)
{
  struct connection other;
  struct request request;
  struct status status;

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  assert_ok (database_open (&other, path, CONNECTION_WRITE, NULL, &status),
             &status);
  lock_checkpoints (&other, SQLITE_SHM_LOCK);
  fill_request (&request, 0, BLOCK, 'a');
  assert_int_equal (
      pthread_create (&request.thread, NULL, run_request, &request), 0);
  while (!writer_is_busy (&writer))
    nanosleep (&(struct timespec){ .tv_nsec = 1000000 }, NULL);
  assert_false (writer_try_pause (&writer, 100));
  lock_checkpoints (&other, SQLITE_SHM_UNLOCK);
  pthread_join (request.thread, NULL);
  assert_int_equal (request.result, 0);
  assert_true (writer_try_pause (&writer, 100));
  writer_resume (&writer);
  assert_true (is_stored (&request));
  free_requests (&request, 1);
  connection_close (&other);
  close_writer ();
}

/* On a full file system the request that is too large fails, smaller ones
 * in its batch succeed, and all works again when there is space.
 */
static void
test_full (void **state)
{
  const int large = 3;
  struct request requests[THREADS];

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int i = 0; i < THREADS; i++)
    fill_request (&requests[i], i * 1024 * 1024,
                  i == large ? 1024 * 1024 : BLOCK, 'a' + i);
  run_together (requests, 1);
  full_at[SHIM_LOG] = log_size () + 400 * 1024;
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal (requests[i].result, i == large ? -1 : 0);
    assert_int_equal (is_stored (&requests[i]), i != large);
  }
  assert_int_equal (requests[large].status.error, ENOSPC);
  reset_counts ();
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal (requests[i].result, 0);
    assert_true (is_stored (&requests[i]));
  }
  free_requests (requests, THREADS);
  close_writer ();
}

/* Write one block by itself. */
static int
write_alone (uint64_t number, char fill, struct status *status)
{
  struct request request;
  int r;

  fill_request (&request, number * BLOCK, BLOCK, fill);
  r = writer_write (
      &writer, &info,
      &(struct write_request){ .offset = request.offset,
                               .count = request.count,
                               .data = request.data,
                               .storing.compression = { CODEC_RAW, 0 } },
      status);
  free (request.data);
  return r;
}

/* How many blocks a copy of the database has that is recovered from its log.
 */
static int64_t
count_recovered (void)
{
  char *copy, *command;
  sqlite3 *db;
  int64_t count;

  assert_true (asprintf (&copy, "%s-copy", path) > 0);
  assert_true (
      asprintf (&command,
                "cp '%s' '%s' && cp '%s-wal' '%s-wal' && rm -f '%s-shm'", path,
                copy, path, copy, copy) > 0);
  assert_int_equal (system (command), 0);
  db = unit_open_raw (copy);
  count = unit_integer (db, "SELECT count (*) FROM block");
  sqlite3_close (db);
  free (command);
  free (copy);
  return count;
}

/* A log that grows has room behind its frames, so its size changes seldom:
 * each time, a sync must write more than its bytes.
 */
static void
test_room (void **state)
{
  struct status status;
  int grown = 0, count;
  long size = 0;

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  for (int i = 0; i < 1000; i++) {
    assert_ok (write_alone (i, 'a', &status), &status);
    grown += log_size () != size;
    size = log_size ();
    assert_uint_in_range (size, log_used, 2 * log_used + 65536);
  }
  assert_true (log_used > 8 << 20);
  assert_true (size <= log_used + (1 << 20) + 65536);
  assert_true (grown <= 25);
  assert_int_equal (count_recovered (), 1000);

  /* Without space for room all is written that fits. */
  full_at[SHIM_LOG] = size + 10 * BLOCK;
  for (count = 1000; write_alone (count, 'b', &status) == 0; count++)
    ;
  assert_int_equal (status.error, ENOSPC);
  assert_true (last_page > full_at[SHIM_LOG] - 5 * BLOCK);
  assert_int_equal (count_recovered (), count);
  full_at[SHIM_LOG] = 0;
  assert_ok (write_alone (count, 'c', &status), &status);
  assert_int_equal (count_recovered (), count + 1);
  close_writer ();
}

/*--------------------------------------------------------------------
 * What is stored.
 */

static const char rows_sql[] = "SELECT count (*) FROM block";
static const char zeroes_sql[] = "SELECT count (*) FROM block WHERE codec = 0";

/* Take a snapshot, so that what is stored must be hidden. */
static void
take_snapshot (void)
{
  const char *const name = "d";
  struct status status;

  assert_ok (manage_snapshot (store, &name, 1, "s", &status), &status);
}

static void
write_blocks (uint64_t first, uint64_t count, char fill)
{
  char *data = malloc (count * BLOCK);
  struct status status;

  assert_non_null (data);
  memset (data, fill, count * BLOCK);
  assert_int_equal (
      disk_write (disk, data, first * BLOCK, count * BLOCK, false, &status), 0);
  free (data);
}

static void
trim_blocks (uint64_t first, uint64_t count)
{
  struct status status;

  assert_int_equal (
      disk_trim (disk, first * BLOCK, count * BLOCK, false, &status), 0);
}

/* Zeroes have no row unless they hide something. */
static void
test_zeroes_are_not_stored (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();
  write_blocks (0, 10, 0);
  assert_int_equal (ask (rows_sql), 0);
  write_blocks (0, 10, 'x');
  assert_int_equal (ask (rows_sql), 10);
  write_blocks (0, 5, 0);
  trim_blocks (5, 4);
  assert_int_equal (ask (rows_sql), 1);

  take_snapshot ();
  trim_blocks (0, 1000);
  assert_int_equal (ask (rows_sql), 2);
  assert_int_equal (ask (zeroes_sql), 1);
  trim_blocks (9, 1);
  write_blocks (9, 1, 0);
  assert_int_equal (ask (rows_sql), 2);
  write_blocks (9, 1, 'y');
  assert_int_equal (ask (zeroes_sql), 0);
  write_blocks (9, 1, 0);
  assert_int_equal (ask (zeroes_sql), 1);
  assert_int_equal (do_read (), 0);
  close_store ();
}

/* Store COUNT blocks of 512 bytes, then trim all.  Returns how many
 * transactions the trim took.
 */
static int
steps_for (uint64_t count)
{
  char *data = malloc (count * 512);
  struct write_request request = {
    .data = data,
    .offset = 1024,
    .count = count * 512,
    .storing.compression = { CODEC_RAW, 0 },
  };
  struct status status;

  assert_non_null (data);
  memset (data, 'x', count * 512);
  assert_int_equal (writer_write (&writer, &info, &request, &status), 0);
  assert_int_equal (ask (rows_sql), count);
  commits = 0;
  assert_int_equal (writer_clear (&writer, &info, 0, DISK_SIZE, false, &status),
                    0);
  assert_int_equal (ask (rows_sql), 0);
  free (data);
  return commits;
}

/* A range with many stored blocks goes in steps, one transaction each. */
static void
test_steps (void **state)
{
  (void)state;
  make_disk (512);
  open_writer ();
  assert_int_equal (steps_for (WRITER_STEP_ROWS), 1);
  assert_int_equal (steps_for (WRITER_STEP_ROWS + 1), 2);
  assert_int_equal (steps_for (3 * WRITER_STEP_ROWS / 2), 2);
  close_writer ();
}

/* A batch ends where it has changed enough rows, and what is left of it goes
 * on.
 */
static void
test_rows_of_a_batch (void **state)
{
  const uint64_t each = DISK_SIZE / THREADS;
  struct request requests[THREADS];

  (void)state;
  make_disk (512);
  unit_sql_on (path,
               "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1"
               "  FROM n WHERE i < %d - 1)"
               " INSERT INTO block (layer, number, generation, codec, checksum,"
               "  data) SELECT 1, i, 1, 1, 0, x'00' FROM n",
               DISK_SIZE / 512);
  open_writer ();
  writer.batch_bytes = DISK_SIZE;
  for (int i = 0; i < THREADS; i++)
    requests[i] = (struct request){
      .info = info,
      .offset = i * each,
      .count = each,
    };
  run_together (requests, THREADS);
  for (int i = 0; i < THREADS; i++)
    assert_ok (requests[i].result, &requests[i].status);
  assert_int_equal (commits, DISK_SIZE / 512 / WRITER_STEP_ROWS);
  assert_int_equal (ask (rows_sql), 0);
  close_writer ();
}

/* Ids go on from what a snapshot remembers, though the rows are gone. */
static void
test_ids_do_not_go_back (void **state)
{
  static const char highest_sql[] = "SELECT max (id) FROM block";

  (void)state;
  make_disk (BLOCK);
  open_store ();
  write_blocks (0, 3, 'x');
  assert_int_equal (ask (highest_sql), 3);
  take_snapshot ();
  unit_sql_hostile (path, "UPDATE snapshot SET last_block = 1000");
  trim_blocks (0, 3);
  write_blocks (0, 1, 'x');
  assert_int_equal (ask (highest_sql), 1003);
  /* What is overwritten keeps its id, and no other one is left out. */
  for (int i = 0; i < 10; i++)
    write_blocks (0, 1, 'y');
  write_blocks (3, 1, 'y');
  assert_int_equal (ask (highest_sql), 1004);
  close_store ();
}

/* A connection fails once the disk was rolled back under it. */
static void
test_epoch (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write (), 0);
  unit_sql_hostile (path, "UPDATE disk SET epoch = epoch + 1");
  unit_sql_hostile (path, "%s", unit_disk_checksums);
  assert_int_equal (do_write (), -1);
  assert_int_equal (do_read (), -1);
  close_store ();
  open_store ();
  assert_int_equal (do_write (), 0);
  close_store ();
}

/* A block size that changes under a connection is an error, for requests
 * were cut into blocks of the old one.
 */
static void
test_changed_block_size (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write (), 0);
  unit_sql_hostile (path, "UPDATE disk SET block_size = 512");
  unit_sql_hostile (path, "%s", unit_disk_checksums);
  assert_int_equal (do_write (), -1);
  close_store ();
}

/*--------------------------------------------------------------------
 * Other programs, and starting again.
 */

/* Hold the database locked. */
static void
lock_database (struct connection *other)
{
  static const char lock_sql[] = "BEGIN EXCLUSIVE";
  struct status status;

  assert_int_equal (
      connection_open (other, path, CONNECTION_WRITE, NULL, &status), 0);
  assert_int_equal (connection_run (other, lock_sql, &status), 0);
}

/* A connection that goes on with another's log and cannot read its header
 * must not take a commit for a transaction that goes on, of which the last
 * page is still kept back.
 */
static void
test_unread_header (void **state)
{
  static const char update_sql[] = "UPDATE disk SET description = 'new'";
  struct connection other;
  struct status status;
  sqlite3 *db;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write (), 0);
  assert_int_equal (
      connection_open (&other, path, CONNECTION_GATHER, NULL, &status), 0);
  fail_header = 1;
  assert_fails (connection_run (&other, update_sql, &status), &status, EIO, "");
  fail_header = 0;
  assert_ok (connection_run (&other, update_sql, &status), &status);
  db = unit_open_raw (path);
  assert_int_equal (unit_integer (db, "SELECT count (*) FROM disk"
                                      " WHERE description = 'new'"),
                    1);
  sqlite3_close (db);
  connection_close (&other);
  close_store ();
}

/* A request that is in the way of a lock, and how long it waited. */
struct waiting {
  struct request request;
  int start;       /* milliseconds from now on */
  uint64_t waited; /* milliseconds */
};

static void *
run_waiting (void *opaque)
{
  struct waiting *waiting = opaque;
  uint64_t start;

  nanosleep (&(struct timespec){ .tv_sec = waiting->start / 1000,
                                 .tv_nsec = waiting->start % 1000 * 1000000 },
             NULL);
  start = clock_now ();
  run_request (&waiting->request);
  waiting->waited = (clock_now () - start) / CLOCK_MILLISECOND;
  return NULL;
}

/* Each request waits for another program's lock as long as it may, and no
 * longer: also one that stands in the queue behind others, which gave up
 * before it, or gives up before others of its batch.
 */
static void
test_longest_wait (void **state)
{
  const int longest = 2000;
  struct waiting waiting[] = {
    { .start = 0 },
    { .start = 800 },
    { .start = 800 },
    { .start = 1600 },
  };
  const int count = sizeof waiting / sizeof waiting[0];
  struct connection other;

  (void)state;
  make_disk (BLOCK);
  open_writer ();
  writer.connection.longest_wait = longest;
  lock_database (&other);
  for (int i = 0; i < count; i++) {
    fill_request (&waiting[i].request, i * BLOCK, BLOCK, 'a');
    assert_int_equal (pthread_create (&waiting[i].request.thread, NULL,
                                      run_waiting, &waiting[i]),
                      0);
  }
  for (int i = 0; i < count; i++) {
    pthread_join (waiting[i].request.thread, NULL);
    assert_int_equal (waiting[i].request.result, -1);
    assert_int_equal (waiting[i].request.status.error, EIO);
    assert_uint_in_range (waiting[i].waited, longest, longest + longest / 2);
    free (waiting[i].request.data);
  }
  connection_close (&other);
  close_writer ();
}

/* A request to read that has waited for a connection waits for a lock only
 * as long as it has left.
 */
static void
test_waited_before (void **state)
{
  const uint64_t left = 300 * CLOCK_MILLISECOND;
  struct connection connection, other;
  struct status status;
  uint64_t start, waited;

  (void)state;
  make_disk (BLOCK);
  lock_database (&other);
  start = clock_now ();
  assert_int_equal (
      connection_open_asked (
          &connection, path, CONNECTION_WRITE, NULL,
          start + left - CONNECTION_LONGEST_WAIT * CLOCK_MILLISECOND, &status),
      0);
  assert_int_equal (marking_begin (&connection, &status), -1);
  waited = clock_now () - start;
  assert_uint_in_range (waited, left, 10 * left);
  connection_close (&connection);
  connection_close (&other);
}

/* Who has only read removes the log's empty files, but does not wait for
 * another program's lock to do so.
 */
static void
test_close_beside_lock (void **state)
{
  struct connection other;
  uint64_t start;

  (void)state;
  make_disk (BLOCK);
  lock_database (&other);
  start = clock_now ();
  store_close (unit_open_store (path));
  assert_uint_in_range (clock_now () - start, 0, 10 * CLOCK_SECOND);
  connection_close (&other);
}

static void *
interrupt_soon (void *opaque)
{
  (void)opaque;
  assert_true (store_await_wait (store));
  store_interrupt (store);
  return NULL;
}

/* Waiting for another program's lock ends when the server does. */
static void
test_interrupt (void **state)
{
  struct connection other;
  struct timespec start, end;
  pthread_t thread;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write (), 0);
  lock_database (&other);
  assert_int_equal (pthread_create (&thread, NULL, interrupt_soon, NULL), 0);
  clock_gettime (CLOCK_MONOTONIC, &start);
  assert_int_equal (do_write (), -1);
  clock_gettime (CLOCK_MONOTONIC, &end);
  assert_true (end.tv_sec - start.tv_sec < CONNECTION_LONGEST_WAIT / 2000);
  pthread_join (thread, NULL);
  connection_close (&other);
  close_store ();
}

static void *
unlock_soon (void *opaque)
{
  assert_true (store_await_wait (store));
  nanosleep (&(struct timespec){ .tv_nsec = 200000000 }, NULL);
  connection_close (opaque);
  return NULL;
}

/* A lock that another program lets go of only delays. */
static void
test_lock (void **state)
{
  struct connection other;
  pthread_t thread;

  (void)state;
  make_disk (BLOCK);
  open_store ();
  lock_database (&other);
  assert_int_equal (pthread_create (&thread, NULL, unlock_soon, &other), 0);
  assert_int_equal (do_write (), 0);
  pthread_join (thread, NULL);
  close_store ();
}

/* A server that is killed when it has written. */
static void
write_and_die (void)
{
  int wait_status;
  pid_t pid = fork ();

  if (pid == 0) {
    open_store ();
    _exit (do_write () == 0 ? 0 : 1);
  }
  assert_int_equal (waitpid (pid, &wait_status, 0), pid);
  assert_int_equal (wait_status, 0);
}

/* What a server that was killed left in the log is in the database, and
 * synced, before the next one serves.
 */
static void
test_log_of_dead_server (void **state)
{
  (void)state;
  make_disk (BLOCK);
  write_and_die ();
  assert_true (log_size () > 0);
  bytes[0]++;

  reset_counts ();
  open_store ();
  assert_true (syncs[SHIM_DATABASE] > 0);
  assert_int_equal (log_size (), 0);
  assert_int_equal (ask (rows_sql), 1);
  close_store ();
}

/* The same where another program holds the write lock for longer than a
 * server waits at its start: no flush succeeds before the log was written
 * again.
 */
static void
test_log_in_doubt (void **state)
{
  struct connection other;
  (void)state;
  make_disk (BLOCK);
  write_and_die ();

  lock_database (&other);
  reset_counts ();
  open_store ();
  assert_int_equal (do_flush (), -1);
  assert_int_equal (writes[SHIM_LOG], 0);
  connection_close (&other);
  assert_int_equal (flush_at_last (), 0);
  assert_true (writes[SHIM_LOG] > 0);
  close_store ();
}

/* A server that could not begin, since a sync failed, begins later as any
 * other: its first write does not fail.
 */
static void
test_begins_again (void **state)
{
  const struct store_options opened = {
    .limits = checkpoint_limits_default,
    .warn = keep_warning,
  };
  struct status status;
  (void)state;
  make_disk (BLOCK);
  write_and_die ();

  reset_counts ();
  store = store_open (path, &opened, &status);
  assert_non_null (store);
  fail_sync[SHIM_LOG] = 1;
  assert_null (disk_open (store, "d", false, &status));
  fail_sync[SHIM_LOG] = 0;
  disk = disk_open (store, "d", false, &status);
  assert_non_null (disk);
  assert_int_equal (do_write_flush (), 0);
  close_store ();
}

/*--------------------------------------------------------------------
 * Commands beside a server.
 */

/* Change something as a command does.  Returns the store, which is open. */
static struct store *
begin_command (int *result)
{
  const struct store_options options = {
    .command = true,
    .limits = checkpoint_limits_default,
    .warn = keep_warning,
  };
  struct status status;
  struct store *command = store_open (path, &options, &status);

  assert_non_null (command);
  *result = manage_describe (command, "d", "text", &status);
  return command;
}

enum ending { ENDS, DIES, FAILS_AND_ENDS, FAILS_AND_DIES, FAILS_AND_LIVES };

/* The other process: a command that begins when it is told to, and says when
 * it has come so far.
 */
static void __attribute__ ((noreturn))
run_command (int told, int says, enum ending ending)
{
  const bool fails = ending >= FAILS_AND_ENDS;
  struct store *command;
  char byte = 'x';
  int result = 0;

  if (read (told, &byte, 1) != 1)
    _exit (1);
  fail_sync[SHIM_LOG] = fails;
  command = begin_command (&result);
  if (ending == ENDS || ending == FAILS_AND_ENDS)
    store_close (command);
  if (result != (fails ? -1 : 0) || write (says, &byte, 1) != 1)
    _exit (2);
  if (ending == FAILS_AND_LIVES && read (told, &byte, 1) != 0)
    _exit (3);
  _exit (0);
}

/* Beside a server, a command that comes after another one has ended so: it
 * must succeed.  Returns whether it wrote the log again, and has to where
 * that was not durable: only the other one was told.
 */
static bool
command_after (enum ending ending)
{
  int tell[2], hear[2], wait_status, result;
  bool again;
  char byte;
  pid_t pid;

  make_disk (BLOCK);
  assert_int_equal (pipe (tell) | pipe (hear), 0);
  pid = fork ();
  if (pid == 0) {
    close (tell[1]);
    run_command (tell[0], hear[1], ending);
  }
  close (hear[1]);
  open_store ();
  assert_int_equal (do_write_fua (), 0);
  assert_int_equal (write (tell[1], "x", 1), 1);
  assert_int_equal (read (hear[0], &byte, 1), 1);
  if (ending != FAILS_AND_LIVES) {
    close (tell[1]);
    assert_int_equal (waitpid (pid, &wait_status, 0), pid);
    assert_int_equal (wait_status, 0);
  }

  reset_counts ();
  store_close (begin_command (&result));
  assert_int_equal (result, 0);
  again = log_starts > 0;
  if (ending == FAILS_AND_LIVES) {
    close (tell[1]);
    assert_int_equal (waitpid (pid, &wait_status, 0), pid);
    assert_int_equal (wait_status, 0);
  }
  else {
    /* That is enough for those who come later. */
    log_starts = 0;
    store_close (begin_command (&result));
    assert_int_equal (result, 0);
    assert_int_equal (log_starts, 0);
  }
  close (tell[0]);
  close (hear[0]);
  close_store ();
  return again;
}

static void
test_command_ends (void **state)
{
  (void)state;
  assert_false (command_after (ENDS));
}

static void
test_command_dies (void **state)
{
  (void)state;
  assert_true (command_after (DIES));
}

static void
test_command_fails (void **state)
{
  (void)state;
  assert_true (command_after (FAILS_AND_ENDS));
}

static void
test_command_fails_and_dies (void **state)
{
  (void)state;
  assert_true (command_after (FAILS_AND_DIES));
}

static void
test_command_fails_and_lives (void **state)
{
  (void)state;
  assert_true (command_after (FAILS_AND_LIVES));
}

/* Those who write the log: there is room for many, and who died is known
 * until somebody forgets him.
 */
static void
test_entries (void **state)
{
  struct guard_entry entries[GUARD_ENTRIES], more;
  struct status status;

  (void)state;
  make_disk (BLOCK);
  for (int i = 0; i < GUARD_ENTRIES; i++)
    assert_ok (guard_enter (&entries[i], path, &status), &status);
  assert_fails (guard_enter (&more, path, &status), &status, EBUSY,
                "too many processes");
  assert_false (guard_has_doubt (&entries[5]));
  close (entries[0].fd);
  close (entries[63].fd);
  assert_int_equal (guard_find_dead (&entries[5]), UINT64_C (1) | UINT64_C (1)
                                                                      << 63);
  /* Their places are not free before. */
  assert_fails (guard_enter (&more, path, &status), &status, EBUSY,
                "too many processes");
  guard_forget_dead (&entries[5], 1);
  assert_true (guard_has_doubt (&entries[5]));
  assert_ok (guard_enter (&entries[0], path, &status), &status);

  /* One who has failed does not need a place while another one does. */
  guard_leave (&entries[1], false);
  assert_int_equal (guard_find_dead (&entries[5]), UINT64_C (1) << 63);
  guard_forget_dead (&entries[5], UINT64_C (1) << 63);
  assert_false (guard_has_doubt (&entries[5]));
  guard_leave (&entries[2], false);
  assert_int_equal (guard_find_dead (&entries[5]), 4);
  guard_set_doubt (&entries[3], true);
  guard_forget_dead (&entries[5], 4);
  assert_true (guard_has_doubt (&entries[5]));
  assert_false (guard_has_doubt (&entries[3]));
  guard_set_doubt (&entries[3], false);
  assert_false (guard_has_doubt (&entries[5]));
  for (int i = 0; i < GUARD_ENTRIES; i++)
    if (i == 0 || (i > 2 && i < 63))
      guard_leave (&entries[i], true);
}

/* A database is told by its header alone: what else stands in the file is
 * not to be read without the log, after a crash in a checkpoint.
 */
static void
test_examine_header_only (void **state)
{
  struct status status;

  (void)state;
  make_disk (BLOCK);
  assert_int_equal (truncate (path, 100), 0);
  assert_result (database_examine (path, &status), &status, 1);
}

/* The log becomes empty within some seconds. */
static void
await_empty_log (void)
{
  assert_true (log_size () > 0);
  for (int i = 0; i < 100 && log_size () > 0; i++)
    nanosleep (&(struct timespec){ .tv_nsec = 100000000 }, NULL);
  assert_int_equal (log_size (), 0);
}

/* An idle server's log is empty, however much came before. */
static void
test_idle (void **state)
{
  (void)state;
  make_disk (BLOCK);
  open_store ();
  assert_int_equal (do_write (), 0);
  await_empty_log ();
  write_blocks (0, DISK_SIZE / BLOCK, 'x');
  assert_true (log_size () > (long)checkpoint_limits_default.start);
  await_empty_log ();
  close_store ();
}

static void
sleep_milliseconds (int64_t milliseconds)
{
  nanosleep (&(struct timespec){ .tv_sec = milliseconds / 1000,
                                 .tv_nsec = milliseconds % 1000 * 1000000 },
             NULL);
}

/* A store that comes too late, since another one empties the log, does not take
 * that for a reader who keeps the log from being emptied.
 */
static void
test_emptied_by_others (void **state)
{
  const struct checkpoint_limits limits = {
    .start = 256 << 10,
    .bound = 1 << 20,
    .idle = 10000,
  };
  struct connection other;
  struct status status;

  (void)state;
  make_disk (BLOCK);
  open_store_with (&limits);
  unit_open (&other, path, CONNECTION_WRITE);
  tester = pthread_self ();
  keep_checkpoints = 1;
  write_blocks (0, 128, 'y');
  sleep_milliseconds (1500); /* it has failed */
  assert_result (checkpoint_complete (&other, &status), &status, 1);
  write_blocks (0, 1, 'y');
  sleep_milliseconds (2000);
  warning[0] = '\0';
  write_blocks (0, 512, 'y');
  sleep_milliseconds (1500);
  assert_string_equal (warning, "");
  /* This time nobody else does. */
  sleep_milliseconds (5500);
  assert_non_null (strstr (warning, "read transaction open"));
  reset_counts ();
  connection_close (&other);
  close_store ();
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_syncs),
    unit_test (test_flush_for_others),
    unit_test (test_failed_sync),
    unit_test (test_failed_database_sync),
    unit_test (test_lost_page),
    unit_test (test_lost_page_at_start),
    unit_test (test_one_transaction),
    unit_test (test_large_ones_in_turn),
    unit_test (test_rows_of_a_batch),
    unit_test (test_parts_of_one_block),
    unit_test (test_merged_before),
    unit_test (test_set_compression),
    unit_test (test_error_in_batch),
    unit_test (test_alone_without_lock),
    unit_test (test_pause_in_checkpoint),
    unit_test (test_full),
    unit_test (test_room),
    unit_test (test_zeroes_are_not_stored),
    unit_test (test_steps),
    unit_test (test_ids_do_not_go_back),
    unit_test (test_epoch),
    unit_test (test_changed_block_size),
    unit_test (test_longest_wait),
    unit_test (test_waited_before),
    unit_test (test_close_beside_lock),
    unit_test (test_begins_again),
    unit_test (test_interrupt),
    unit_test (test_lock),
    unit_test (test_unread_header),
    unit_test (test_log_of_dead_server),
    unit_test (test_log_in_doubt),
    unit_test (test_command_ends),
    unit_test (test_command_dies),
    unit_test (test_command_fails),
    unit_test (test_command_fails_and_dies),
    unit_test (test_command_fails_and_lives),
    unit_test (test_entries),
    unit_test (test_examine_header_only),
    unit_test (test_idle),
    unit_test (test_emptied_by_others),
  };

  shim_install (&hooks);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
