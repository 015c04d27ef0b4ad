/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Putting the list of free pages in order.
 *
 * SQLite keeps free pages in a chain of trunk pages, each of which has the
 * numbers of about a thousand others, in the order in which they became free.
 * It searches all of it for the last page of the file, and for a place before
 * the new end takes out what it finds until there is one.  Where the pages
 * that it will look for stand at the head, it looks at one trunk page each
 * time.
 *
 *   chain      trunk ----> trunk ----> trunk ----> trunk
 *              | | | |     | | | |     | | | |     | | | |
 *   before     . l . h     h . . .     . . l .     . h . l
 *   after      h l h l     l h . .     . . . .     . . . .
 *
 * Each trunk page that something is taken out of is written to the log, too.
 * Without an order, one commit that had to move a single page wrote 2 GiB of
 * log, for a disk of 2 GiB.  Putting it in order reads 4 bytes for each free
 * page.
 *
 * No interface of SQLite changes the list.  But its trunk pages are linked as
 * the pages of a long value are.  So for a moment a connection of its own is
 * shown, by what stands between it and its files, a page of a table which
 * has one row, whose value goes on at the first trunk page.  Through that
 * value SQLite itself reads and writes the trunk pages, in a transaction as
 * any other.  The page that is shown is never written, as only the value's
 * later parts change; and the connection is closed afterwards, with its cache.
 *
 * It is done in this way since nothing simpler gives a large file's space back
 * in seconds while it is served: an incremental vacuum alone searches the whole
 * chain for each page, and a copy takes the space and the time of all that is
 * left.
 */

#ifndef SQLBLOCK_FREELIST_H
#define SQLBLOCK_FREELIST_H

#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* The list of a database with TOTAL pages, FREE of which are free. */
struct freelist_order {
  uint64_t total, free;
  uint64_t new_end; /* the last page that will stay in the end */
  /* The pages behind this one will be taken off one by one, after this:
   * those of them that are free come first, with places for the others.  Or
   * 0: all will go at once.  Then those up to the new end come first, others
   * may not be in the list any more, and the transaction must forget it.
   */
  uint64_t cut;
  uint64_t places; /* how many of them will be used then */
};

/* Put the list in order, in a write transaction of CONNECTION in which
 * nothing was done yet, after which it is closed.  Returns 0, or -1.
 */
int freelist_arrange (struct connection *connection,
                      const struct freelist_order *order,
                      struct status *status);

#endif /* SQLBLOCK_FREELIST_H */
