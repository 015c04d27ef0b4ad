/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A pool of read connections: see reader.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "engine/reader.h"
#include "rows/snapshots.h"

/* The size of a part of the log's index, as the VFS maps them. */
#define INDEX_PART 32768

/* Where the header says how many frames the log has, in words of 32 bits, and
 * where its own checksum is, in words of 64: another one after each commit.
 */
#define INDEX_FRAMES   4
#define INDEX_CHECKSUM 5

/*--------------------------------------------------------------------
 * Transactions that are kept.
 */

/* Find the header of the log's index, once the connection has read.  Where
 * there is no log, no transaction is kept.
 */
static void
find_index (struct reader *reader)
{
  static const char mode_sql[] = "PRAGMA journal_mode";
  struct status ignored;
  CLEANUP_STATEMENT sqlite3_stmt *mode =
      connection_statement (&reader->connection, mode_sql, &ignored);
  volatile void *index;
  sqlite3_file *file;

  if (reader->connection.mode == CONNECTION_READ && mode &&
      connection_step (&reader->connection, mode, &ignored) == 1 &&
      strcmp ((const char *)sqlite3_column_text (mode, 0), "wal") == 0 &&
      sqlite3_file_control (reader->connection.db, "main",
                            SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK &&
      file->pMethods->xShmMap (file, 0, INDEX_PART, 0, &index) == SQLITE_OK)
    reader->index = index;
}

/* Remember the header. */
static void
note_index (struct reader *reader)
{
  for (size_t i = 0; reader->index && i < INDEX_HEADER; i++)
    reader->index_seen[i] =
        __atomic_load_n (&reader->index[i], __ATOMIC_ACQUIRE);
}

/* Was nothing committed since?  Who reports a commit has written the first
 * copy of the header completely.
 */
static bool
index_is_as_noted (const struct reader *reader)
{
  if (reader->index == NULL)
    return false;
  for (size_t i = 0; i < INDEX_HEADER; i++)
    if (reader->index_seen[i] !=
        __atomic_load_n (&reader->index[i], __ATOMIC_ACQUIRE))
      return false;
  return true;
}

/* Does the kept transaction show what one that began NOW would show? */
static bool
is_fresh (const struct reader *reader, uint64_t now)
{
  return now - reader->since < READER_KEEP * CLOCK_MILLISECOND &&
         index_is_as_noted (reader);
}

static void
end_transaction (struct reader *reader)
{
  connection_rollback (&reader->connection);
  reader->kept = false;
}

/* End the kept transactions that are idle and not fresh, or ALL that are
 * idle.  Called with the lock held; lets go of it meanwhile.
 */
static void
end_idle (struct reader_pool *pool, bool all)
{
  const uint64_t now = clock_now ();
  struct reader **link = &pool->idle, *ended = NULL, *reader;

  while ((reader = *link) != NULL)
    if (reader->kept && (all || !is_fresh (reader, now))) {
      *link = reader->next;
      reader->next = ended;
      ended = reader;
    }
    else
      link = &reader->next;
  if (ended == NULL)
    return;
  pthread_mutex_unlock (&pool->lock);
  for (reader = ended; reader; reader = reader->next)
    end_transaction (reader);
  pthread_mutex_lock (&pool->lock);
  while ((reader = ended) != NULL) {
    ended = reader->next;
    reader->next = pool->idle;
    pool->idle = reader;
    pthread_cond_signal (&pool->returned);
  }
}

static bool
any_kept (const struct reader_pool *pool)
{
  for (const struct reader *reader = pool->idle; reader; reader = reader->next)
    if (reader->kept)
      return true;
  return false;
}

/* The thread: while transactions are kept, end those that nobody uses. */
static void *
watch (void *opaque)
{
  struct reader_pool *pool = opaque;
  struct timespec until;

  pthread_mutex_lock (&pool->lock);
  while (!pool->closing) {
    if (!pool->watched) {
      pthread_cond_wait (&pool->wake, &pool->lock);
      continue;
    }
    until = clock_timespec (clock_now () + READER_KEEP / 2 * CLOCK_MILLISECOND);
    while (!pool->closing && pthread_cond_timedwait (&pool->wake, &pool->lock,
                                                     &until) != ETIMEDOUT)
      ;
    end_idle (pool, false);
    pool->watched = any_kept (pool);
  }
  pthread_mutex_unlock (&pool->lock);
  return NULL;
}

void
reader_pool_suspend (struct reader_pool *pool)
{
  pthread_mutex_lock (&pool->lock);
  pool->suspended++;
  end_idle (pool, true);
  pthread_mutex_unlock (&pool->lock);
}

void
reader_pool_resume (struct reader_pool *pool)
{
  pthread_mutex_lock (&pool->lock);
  pool->suspended--;
  pthread_mutex_unlock (&pool->lock);
}

/*--------------------------------------------------------------------
 * The pool.
 */

static void
close_reader (struct reader *reader)
{
  connection_close (&reader->connection);
  view_free (&reader->view);
  free (reader);
}

/* Set up the locks and start the thread. */
static int
start_watch (struct reader_pool *pool)
{
  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->returned, NULL);
  clock_init_condition (&pool->wake);
  return pthread_create (&pool->thread, NULL, watch, pool);
}

int
reader_pool_open (struct reader_pool *pool, struct connections *connections,
                  struct status *status)
{
  struct reader *first = calloc (1, sizeof *first);

  if (first == NULL)
    return status_no_memory (status);
  if (connections_open (connections, &first->connection, CONNECTION_READ,
                        status) == -1) {
    free (first);
    return -1;
  }
  *pool = (struct reader_pool){
    .connections = connections,
    .idle = first,
    .open = 1,
  };
  if (start_watch (pool) != 0) {
    close_reader (first);
    return status_fail (status, EAGAIN, "cannot start a thread");
  }
  find_index (first);
  return 0;
}

void
reader_pool_close (struct reader_pool *pool)
{
  struct reader *reader;

  pthread_mutex_lock (&pool->lock);
  pool->closing = true;
  pthread_cond_signal (&pool->wake);
  pthread_mutex_unlock (&pool->lock);
  pthread_join (pool->thread, NULL);
  while ((reader = pool->idle) != NULL) {
    pool->idle = reader->next;
    close_reader (reader);
  }
  pthread_mutex_destroy (&pool->lock);
  pthread_cond_destroy (&pool->returned);
  pthread_cond_destroy (&pool->wake);
}

/* READER, or NULL where there was no memory, is not of use: one less. */
static void
drop_reader (struct reader_pool *pool, struct reader *reader)
{
  if (reader)
    close_reader (reader);
  pthread_mutex_lock (&pool->lock);
  pool->open--;
  pthread_cond_signal (&pool->returned);
  pthread_mutex_unlock (&pool->lock);
}

/* Open one more connection, for which pool->open counts already. */
static struct reader *
open_reader (struct reader_pool *pool, uint64_t asked, struct status *status)
{
  struct reader *reader = calloc (1, sizeof *reader);

  if (reader == NULL)
    status_no_memory (status);
  else if (connections_open_reader (pool->connections, &reader->connection,
                                    asked, status) == 0) {
    find_index (reader);
    return reader;
  }
  drop_reader (pool, reader);
  return NULL;
}

/* May there be one more?  Where the file is not in its place, those that
 * are open must do; where none is, opening one tells what is wrong.
 */
static bool
may_grow (struct reader_pool *pool)
{
  struct status ignored;

  return pool->open == 0 ||
         (pool->open < READERS_MAX &&
          place_check (&pool->connections->place, &ignored) == 0);
}

/*--------------------------------------------------------------------
 * What is read without the log.
 */

/* A request fails since the database changes.  The first one is told of, where
 * others will follow.
 */
static int
fail_changed (struct reader_pool *pool, struct status *status)
{
  if (status->error == ENOMEM)
    return -1;
  watch_fail (status);
  status->known = pool->follow;
  if (pool->follow && !atomic_exchange (&pool->failing, true))
    pool->connections->place.warn (status->message);
  return -1;
}

/* What was read is right again. */
static void
note_unchanged (struct reader_pool *pool)
{
  if (atomic_load (&pool->failing) && atomic_exchange (&pool->failing, false))
    pool->connections->place.warn (
        "the database is at rest again: reading goes on");
}

/* Make READER one that shows the database as it is now.  Returns NULL, with the
 * reader gone, where it changes.
 */
static struct reader *
renew (struct reader_pool *pool, struct reader *reader, struct status *status)
{
  if (connection_check (&reader->connection, status) == 0)
    return reader;
  if (pool->follow) {
    close_reader (reader);
    reader = calloc (1, sizeof *reader);
    if (reader == NULL)
      status_no_memory (status);
    else if (connections_open_reader (pool->connections, &reader->connection,
                                      clock_now (), status) == 0)
      return reader;
  }
  drop_reader (pool, reader);
  fail_changed (pool, status);
  return NULL;
}

/* Take an idle connection, or open one while there may be more. */
static struct reader *
take (struct reader_pool *pool, struct status *status)
{
  const uint64_t asked = clock_now ();
  struct reader *reader;

  if (place_check_reading (&pool->connections->place, asked, status) == -1)
    return NULL;
  pthread_mutex_lock (&pool->lock);
  while (pool->idle == NULL && !may_grow (pool))
    pthread_cond_wait (&pool->returned, &pool->lock);
  reader = pool->idle;
  if (reader)
    pool->idle = reader->next;
  else
    pool->open++;
  pthread_mutex_unlock (&pool->lock);
  if (reader == NULL) {
    reader = open_reader (pool, asked, status);
    if (reader == NULL && pool->connections->reading == CONNECTION_IMMUTABLE)
      fail_changed (pool, status);
    return reader;
  }
  reader->connection.asked = asked;
  return reader->connection.watch ? renew (pool, reader, status) : reader;
}

struct reader *
reader_take (struct reader_pool *pool, struct status *status)
{
  struct reader *reader = take (pool, status);

  if (reader == NULL)
    return NULL;
  end_transaction (reader);
  if (connection_begin_read (&reader->connection, status) == -1) {
    reader_end (pool, reader, -1, status);
    return NULL;
  }
  return reader;
}

void
reader_return (struct reader_pool *pool, struct reader *reader)
{
  /* SQLite ends some transactions by itself. */
  if (!reader->kept || sqlite3_get_autocommit (reader->connection.db))
    end_transaction (reader);
  pthread_mutex_lock (&pool->lock);
  if (reader->kept && pool->suspended) {
    pthread_mutex_unlock (&pool->lock);
    end_transaction (reader);
    pthread_mutex_lock (&pool->lock);
  }
  if (reader->kept && !pool->watched) {
    pool->watched = true;
    pthread_cond_signal (&pool->wake);
  }
  reader->next = pool->idle;
  pool->idle = reader;
  pthread_cond_signal (&pool->returned);
  pthread_mutex_unlock (&pool->lock);
}

int
reader_end_or_again (struct reader_pool *pool, struct reader *reader,
                     int result, bool *again, struct status *status)
{
  const bool changed = connection_check (&reader->connection, status) == -1;

  *again = *again && changed && pool->follow;
  if (changed)
    result = *again ? -1 : fail_changed (pool, status);
  else
    note_unchanged (pool);
  reader_return (pool, reader);
  return result;
}

int
reader_end (struct reader_pool *pool, struct reader *reader, int result,
            struct status *status)
{
  bool again = false;

  return reader_end_or_again (pool, reader, result, &again, status);
}

/* Was nothing committed for a second before NOW, as far as was seen?  A change
 * counts from when it is noticed.
 */
static bool
is_at_rest (struct reader_pool *pool, const struct reader *reader, uint64_t now)
{
  const uint64_t header = reader->index_seen[INDEX_CHECKSUM];

  if (atomic_load (&pool->header) != header) {
    atomic_store (&pool->changed, now);
    atomic_store (&pool->header, header);
  }
  return now - atomic_load (&pool->changed) >= CLOCK_SECOND;
}

/* May a transaction that began NOW be kept, for all that the log says? */
static bool
may_keep (struct reader_pool *pool, const struct reader *reader, uint64_t now)
{
  const volatile uint32_t *header = (const volatile uint32_t *)reader->index;

  return index_is_as_noted (reader) &&
         (header[INDEX_FRAMES] <= READER_KEEP_FRAMES ||
          now - atomic_load (&pool->committed) < CLOCK_SECOND ||
          is_at_rest (pool, reader, now));
}

/* Begin a transaction and look up what DISK is. */
static int
begin_view (struct reader_pool *pool, struct reader *reader,
            const struct disk_info *disk, struct status *status)
{
  reader->since = clock_now ();
  note_index (reader);
  if (connection_begin_read (&reader->connection, status) == -1 ||
      snapshots_view (&reader->connection, disk, &reader->view, status) == -1)
    return -1;
  reader->disk = disk->id;
  reader->snapshot = disk->snapshot;
  reader->epoch = disk->epoch;
  reader->kept = may_keep (pool, reader, reader->since);
  return 0;
}

struct reader *
reader_take_disk (struct reader_pool *pool, const struct disk_info *disk,
                  struct status *status)
{
  struct reader *reader = take (pool, status);

  if (reader == NULL ||
      (reader->kept && reader->disk == disk->id &&
       reader->snapshot == disk->snapshot && reader->epoch == disk->epoch &&
       is_fresh (reader, clock_now ()))) {
    if (reader)
      reader->view.key = disk->key;
    return reader;
  }
  end_transaction (reader);
  if (begin_view (pool, reader, disk, status) == -1) {
    reader_end (pool, reader, -1, status);
    return NULL;
  }
  return reader;
}
