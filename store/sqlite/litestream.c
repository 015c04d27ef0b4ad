/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The tables of Litestream: see litestream.h. */

#include <config.h>

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "sqlite/litestream.h"
#include "sqlite/log-format.h"
#include "sqlite/page.h"
#include "sqlite/vfs-restart.h"

/* How often, and in nanoseconds how long each time, a writer lets Litestream go
 * first: it needs less than a millisecond to take a lock.
 */
#define ATTEMPTS 50
#define PAUSE    1000000

int
litestream_find (struct connection *connection, struct status *status)
{
  static const char find_sql[] =
      "SELECT ifnull (max (rootpage), 0) FROM sqlite_schema"
      " WHERE type = 'table' AND sql = '" LITESTREAM_SEQ "'";
  int64_t root;

  if (connection->patience == NULL)
    return 0;
  if (connection_integer (connection, find_sql, &root, status) == -1)
    return -1;
  atomic_store (&connection->patience->litestream, root);
  return 0;
}

bool
litestream_is_on (const struct connection *connection)
{
  return connection->patience &&
         atomic_load (&connection->patience->litestream) != 0;
}

int
litestream_set (struct connection *connection, bool on, struct status *status)
{
  static const char seq_sql[] = "CREATE TABLE IF NOT EXISTS _litestream_seq"
                                " (id INTEGER PRIMARY KEY, seq INTEGER)";
  static const char lock_sql[] =
      "CREATE TABLE IF NOT EXISTS _litestream_lock (id INTEGER)";
  static const char row_sql[] =
      "INSERT OR IGNORE INTO _litestream_seq VALUES (1, 1)";
  static const char drop_seq_sql[] = "DROP TABLE IF EXISTS _litestream_seq";
  static const char drop_lock_sql[] = "DROP TABLE IF EXISTS _litestream_lock";
  const int r =
      on ? connection_run (connection, seq_sql, status) == -1 ||
               connection_run (connection, lock_sql, status) == -1 ||
               connection_run (connection, row_sql, status) == -1
         : connection_run (connection, drop_seq_sql, status) == -1 ||
               connection_run (connection, drop_lock_sql, status) == -1;

  return r ? -1 : litestream_find (connection, status);
}

/* The number at PLACE of the header of the log's index. */
static uint32_t
header_at (const unsigned char *header, int place)
{
  uint32_t number;

  memcpy (&number, header + place, sizeof number);
  return number;
}

uint64_t
litestream_log_size (struct connection *connection)
{
  unsigned char header[LOG_INDEX_HEADER];
  uint16_t page_size;

  if (vfs_restart_header (connection->db, header) != SQLITE_OK)
    return 0;
  memcpy (&page_size, header + LOG_INDEX_PAGE_SIZE, sizeof page_size);
  return (uint64_t)header_at (header, LOG_INDEX_FRAMES) *
         (page_size == 1 ? PAGE_SIZE_MAX : page_size);
}

/* Let Litestream go first, once for a state of the log: for one that has the
 * same COUNT bytes from PLACE on in the header of its index.  Where all of it
 * has been MOVED, that ends when it is otherwise.
 */
static bool
give_way (struct connection *connection, int place, int count, bool moved)
{
  unsigned char *given = connection->marking.given;
  unsigned char now[LOG_INDEX_HEADER];

  if (vfs_restart_header (connection->db, now) != SQLITE_OK ||
      memcmp (now + place, given + place, count) == 0)
    return false;
  memcpy (given, now, sizeof now);
  connection_rollback (connection);
  for (int i = 0;
       i < ATTEMPTS && (!moved || vfs_restart_is_moved (connection->db)); i++)
    nanosleep (&(struct timespec){ .tv_nsec = PAUSE }, NULL);
  return true;
}

bool
litestream_let_restart (struct connection *connection)
{
  return litestream_is_on (connection) &&
         vfs_restart_is_moved (connection->db) &&
         give_way (connection, 0, LOG_INDEX_HEADER, true);
}

bool
litestream_let_copy (struct connection *connection)
{
  return litestream_is_on (connection) &&
         give_way (connection, LOG_INDEX_SALTS, LOG_SALTS_SIZE, false);
}

int
litestream_count (struct connection *connection, struct status *status)
{
  static const char has_sql[] =
      "SELECT EXISTS (SELECT 1 FROM sqlite_schema"
      " WHERE type = 'table' AND name = '_litestream_seq')";
  static const char count_sql[] =
      "UPDATE _litestream_seq SET seq = seq + 1 WHERE id = 1";
  int64_t has;

  /* Another process may have made or deleted it: so the schema is asked. */
  if (connection_integer (connection, has_sql, &has, status) == -1)
    return -1;
  return has ? connection_run (connection, count_sql, status) : 0;
}
