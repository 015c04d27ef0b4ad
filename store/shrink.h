/* Giving free pages back to the file system, in steps of bounded time.
 *
 * SQLite takes the last page off the file, and if it is in use first moves it
 * to a free place further down.  That costs some 20 us a page, but where
 * pages were freed in random order, SQLite searches the list of free ones
 * for each, which costs a microsecond or two more for each thousand that are
 * free.  So a step counts time, not pages.
 *
 * The file itself gets shorter with the next complete checkpoint.
 */

#ifndef SQLBLOCK_SHRINK_H
#define SQLBLOCK_SHRINK_H

#include <stdint.h>

#include "connection.h"
#include "status.h"

/* The pages of the database. */
struct shrink_pages {
  uint64_t size;  /* of one, in bytes */
  uint64_t total; /* how many, ... */
  uint64_t free;  /* ... and free ones */
};

/* Look at them, inside a transaction.  Returns 0, or -1. */
int shrink_look (struct connection *connection, struct shrink_pages *pages,
                 struct status *status);

/* Take free pages off the file until KEEP are left or NANOSECONDS have
 * passed, but at least one; then look at what there is.  Inside a write
 * transaction of the caller.  Returns 0, or -1.
 */
int shrink_step (struct connection *connection, uint64_t keep,
                 uint64_t nanoseconds, struct shrink_pages *pages,
                 struct status *status);

#endif /* SQLBLOCK_SHRINK_H */
