/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The tables of Litestream: see litestream.h. */

#include <config.h>

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "sqlite/litestream.h"
#include "sqlite/log-format.h"
#include "sqlite/page.h"
#include "sqlite/vfs-restart.h"

/* How often, and in nanoseconds how long each time, a writer lets Litestream go
 * first: it needs less than a millisecond to take a lock.
 */
#define ATTEMPTS 50
#define PAUSE    1000000

/* Where things stand in the page of a table with one row, a leaf; and in its
 * cell, which is at the end: the length of the record, the number of the row,
 * the length of the record's header, and the types of its two columns, of which
 * the first is NULL as it is the number of the row.
 */
#define PAGE_TYPE     0
#define PAGE_FREE     1
#define PAGE_CELLS    3
#define PAGE_CONTENT  5
#define PAGE_POINTERS 8
#define TYPE_LEAF     13
#define CELL_HEAD     2 /* in front of the record */
#define RECORD_HEAD   3

/* The bytes of an integer of TYPE in a record; -1: it is none. */
static int
integer_size (unsigned char type)
{
  static const int sizes[] = { -1, 1, 2, 3, 4, 6, 8, -1, 0, 0 };

  return type < sizeof sizes / sizeof sizes[0] ? sizes[type] : -1;
}

static int64_t
integer_at (const unsigned char *bytes, unsigned char type)
{
  const int size = integer_size (type);
  uint64_t number = size > 0 && bytes[0] & 0x80 ? UINT64_MAX : 0;

  for (int i = 0; i < size; i++)
    number = number << 8 | bytes[i];
  return size == 0 ? type - 8 : (int64_t)number;
}

bool
litestream_parse (const unsigned char *page, uint32_t page_size,
                  int64_t *number)
{
  const uint32_t end = page_usable (page_size);
  const uint32_t start = big_endian_16 (page + PAGE_POINTERS);
  const unsigned char *cell = page + start;
  int size;

  if (page[PAGE_TYPE] != TYPE_LEAF || big_endian_16 (page + PAGE_FREE) != 0 ||
      big_endian_16 (page + PAGE_CELLS) != 1 ||
      big_endian_16 (page + PAGE_CONTENT) != start ||
      start < PAGE_POINTERS + 2 || start + CELL_HEAD + RECORD_HEAD > end)
    return false;
  size = integer_size (cell[CELL_HEAD + 2]);
  if (size == -1 || cell[0] != RECORD_HEAD + size || cell[1] != 1 ||
      cell[CELL_HEAD] != RECORD_HEAD || cell[CELL_HEAD + 1] != 0 ||
      start + CELL_HEAD + cell[0] != end)
    return false;
  *number = integer_at (cell + CELL_HEAD + RECORD_HEAD, cell[CELL_HEAD + 2]);
  return true;
}

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
  static const char seq_sql[] =
      "CREATE TABLE IF NOT EXISTS _litestream_seq"
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

/* Let Litestream go first, once for a state of the log: for one that has the same
 * COUNT bytes from PLACE on in the header of its index.  Where all of it has been
 * MOVED, that ends when it is otherwise.
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
