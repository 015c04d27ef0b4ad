/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Pages that have no checksum get one again.
 *
 * Where another program moves the log into the database, the pages of the log
 * get there without checksums (vfs_checksum.h).  Whatever happens to them then
 * is not noticed when they are read, so they are given one, though not before
 * it is sure that they are well, as far as that can be known:
 *
 *   find   pages without one          the page's own eight bytes tell
 *   check  all of the database        rows by their checksums; the trees, the
 *                                     free list and the pointer map by SQLite's
 *                                     integrity_check; the index by the rows
 *   seal   if nothing was wrong, and all was looked at
 *
 * - A page proves nothing by itself: in an index a changed bit is as good a
 *   number as the right one, and only the row that it should lead to tells.  So
 *   nothing is sealed by looking at pages one by one, and one problem anywhere
 *   keeps all as they are: to seal a page that is damaged would hide when it
 *   was damaged, and that it may be where the problem comes from.
 *   (What is moved in between was written a moment ago.)
 * - A page that is in the log and was not moved yet is not counted: our next
 *   checkpoint writes it with its checksum.  Neither is a free one that is all
 *   zeroes: SQLite does not write what nobody reads.
 * - Only the eight bytes are written, while writers and checkpoints are kept
 *   out (log_hold), some pages at a time: so nobody writes the page meanwhile.
 *   Readers are not kept out.  One that sees some of the eight bytes and not
 *   yet the others reads the page again (vfs_checksum.c).
 * - It need not be durable: if the eight bytes are lost there is none again.
 *
 * In a server a thread looks for such pages
 *
 *   - when a page without one was read, by any connection of the server, and
 *   - once after the start, by some thousands spread evenly over the file,
 *
 * both of which cost nothing; to look at all pages, each time, would read the
 * whole file.  It does so only if one was found, at rest for most of the time,
 * and not before a client has opened a disk for writing.  It writes eight
 * bytes to each page that has none, once.
 *
 * Where SQLite's check would keep the log from starting over for too long,
 * since clients write much, or where there is a problem, it is tried again some
 * time later.
 */

#ifndef SQLBLOCK_SEALING_H
#define SQLBLOCK_SEALING_H

#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "sqlite/connection.h"
#include "status.h"
#include "store.h"

/* At most this many pages are looked at in one transaction. */
#define SEAL_PART 32768

/* The pages without a checksum of one part of the file. */
struct seal_part {
  uint32_t next; /* the page that comes next; 0: that was the last */
  size_t count;
  uint32_t numbers[SEAL_PART];
};

/* Find those from PART->next on, which is 1 for the first part.  Called in a
 * read transaction; OPAQUE is the part.  Returns 0, or -1.
 */
int seal_find (struct connection *connection, void *opaque,
               struct status *status);

/* Give all pages that have none a checksum; the caller has just checked that
 * all of the database is well.  Puts into SEALED how many there were.
 * PROGRESS may be NULL.  Returns 0, or -1.  Thread rules: any thread.
 */
int seal_all (struct store *store, progress_made progress, void *opaque,
              uint64_t *sealed, struct status *status);

/* The thread of a server.  WARN takes lines for its log.  Returns NULL on
 * failure.
 */
struct sealer;
struct sealer *sealer_start (struct store *store,
                             void (*warn) (const char *message),
                             struct status *status);

/* End it. */
void sealer_stop (struct sealer *sealer);

#endif /* SQLBLOCK_SEALING_H */
