/* Giving free pages back: see shrink.h. */

#include <config.h>

#include "clock.h"
#include "shrink.h"

int
shrink_look (struct connection *connection, struct shrink_pages *pages,
             struct status *status)
{
  static const char total_sql[] = "PRAGMA page_count";
  static const char free_sql[] = "PRAGMA freelist_count";
  int64_t size, total, free;

  if (connection_page_size (connection, &size, status) == -1 ||
      connection_integer (connection, total_sql, &total, status) == -1 ||
      connection_integer (connection, free_sql, &free, status) == -1)
    return -1;
  *pages = (struct shrink_pages){ size, total, free };
  return 0;
}

int
shrink_step (struct connection *connection, uint64_t keep, uint64_t nanoseconds,
             struct shrink_pages *pages, struct status *status)
{
  /* It takes one page off for each row that it returns. */
  static const char vacuum_sql[] = "PRAGMA incremental_vacuum";
  const uint64_t end = clock_now () + nanoseconds;
  CLEANUP_STATEMENT sqlite3_stmt *vacuum =
      connection_statement (connection, vacuum_sql, status);
  uint64_t left;
  int r = 1;

  if (vacuum == NULL || shrink_look (connection, pages, status) == -1)
    return -1;
  for (left = pages->free; r == 1 && left > keep; left--) {
    r = connection_step (connection, vacuum, status);
    if (clock_now () >= end)
      break;
  }
  statement_done (&vacuum);
  return r == -1 ? -1 : shrink_look (connection, pages, status);
}
