/* A pool of read connections: see reader.h. */

#include <config.h>

#include <stdlib.h>

#include "clock.h"
#include "database.h"
#include "reader.h"
#include "snapshots.h"

static void
close_reader (struct reader *reader)
{
  connection_close (&reader->connection);
  view_free (&reader->view);
  free (reader);
}

int
reader_pool_open (struct reader_pool *pool, struct place *place,
                  struct patience *patience, struct status *status)
{
  struct reader *first = calloc (1, sizeof *first);

  if (first == NULL)
    return status_no_memory (status);
  if (database_open (&first->connection, place->path, CONNECTION_READ, patience,
                     status) == -1) {
    free (first);
    return -1;
  }
  if (place_check (place, status) == -1) {
    close_reader (first);
    return -1;
  }
  *pool = (struct reader_pool){
    .place = place,
    .mode = first->connection.mode,
    .patience = patience,
    .idle = first,
    .open = 1,
  };
  pthread_mutex_init (&pool->lock, NULL);
  pthread_cond_init (&pool->returned, NULL);
  return 0;
}

void
reader_pool_close (struct reader_pool *pool)
{
  struct reader *reader;

  while ((reader = pool->idle) != NULL) {
    pool->idle = reader->next;
    close_reader (reader);
  }
  pthread_mutex_destroy (&pool->lock);
  pthread_cond_destroy (&pool->returned);
}

/* Open one more connection, for which pool->open counts already, for a
 * request that came at ASKED.
 */
static struct reader *
open_reader (struct reader_pool *pool, uint64_t asked, struct status *status)
{
  struct reader *reader = calloc (1, sizeof *reader);

  if (reader == NULL)
    status_no_memory (status);
  else if (connection_open_asked (&reader->connection, pool->place->path,
                                  pool->mode, pool->patience, asked,
                                  status) == -1) {
    free (reader);
    reader = NULL;
  }
  else if (place_check (pool->place, status) == -1) {
    close_reader (reader);
    reader = NULL;
  }
  if (reader == NULL) {
    pthread_mutex_lock (&pool->lock);
    pool->open--;
    pthread_cond_signal (&pool->returned);
    pthread_mutex_unlock (&pool->lock);
  }
  return reader;
}

/* May there be one more?  Where the file is not in its place, those that
 * are open must do.
 */
static bool
may_grow (struct reader_pool *pool)
{
  struct status ignored;

  return pool->open < READERS_MAX && place_check (pool->place, &ignored) == 0;
}

/* Take an idle connection, or open one while there may be more. */
static struct reader *
take (struct reader_pool *pool, struct status *status)
{
  const uint64_t asked = clock_now ();
  struct reader *reader;

  pthread_mutex_lock (&pool->lock);
  while (pool->idle == NULL && !may_grow (pool))
    pthread_cond_wait (&pool->returned, &pool->lock);
  reader = pool->idle;
  if (reader)
    pool->idle = reader->next;
  else
    pool->open++;
  pthread_mutex_unlock (&pool->lock);
  if (reader == NULL)
    return open_reader (pool, asked, status);
  reader->connection.asked = asked;
  return reader;
}

struct reader *
reader_take (struct reader_pool *pool, struct status *status)
{
  struct reader *reader = take (pool, status);

  if (reader && connection_begin_read (&reader->connection, status) == -1) {
    reader_return (pool, reader);
    return NULL;
  }
  return reader;
}

void
reader_return (struct reader_pool *pool, struct reader *reader)
{
  connection_rollback (&reader->connection);
  pthread_mutex_lock (&pool->lock);
  reader->next = pool->idle;
  pool->idle = reader;
  pthread_cond_signal (&pool->returned);
  pthread_mutex_unlock (&pool->lock);
}

struct reader *
reader_take_disk (struct reader_pool *pool, const struct disk_info *disk,
                  struct status *status)
{
  struct reader *reader = reader_take (pool, status);

  if (reader &&
      snapshots_view (&reader->connection, disk, &reader->view, status) == -1) {
    reader_return (pool, reader);
    return NULL;
  }
  return reader;
}
