/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Walking over the contents of a disk that does not change meanwhile.
 *
 * What leaves the database (export, send) is read in pieces of some MiB,
 * each in a transaction of its own: however slow the other end is, nothing
 * waits for it but this process.
 */

#ifndef SQLBLOCK_COPY_H
#define SQLBLOCK_COPY_H

#include "status.h"
#include "store.h"
#include "stream.h"

/* The most bytes of data in one piece; a multiple of all block sizes. */
#define COPY_PIECE 4194304

/* Told of a piece; returns 0, or -1 to stop. */
typedef int (*copy_taken) (const struct stream_range *piece, void *opaque,
                           struct status *status);

/* Give all of DISK to TAKE, in order: data in pieces of at most COPY_PIECE,
 * zeroes in as few as possible.  Returns 0, or -1.
 */
int copy_disk (struct disk *disk, copy_taken take, void *opaque,
               struct status *status);

/* The same from byte OFFSET on. */
int copy_rest (struct disk *disk, uint64_t offset, copy_taken take,
               void *opaque, struct status *status);

/* The same for COUNT bytes at OFFSET, all of it as data. */
int copy_data (struct disk *disk, uint64_t offset, uint64_t count,
               copy_taken take, void *opaque, struct status *status);

/* Free what an import or a reception has replaced, or has left if it failed;
 * but not while somebody makes a copy, or where the user wants it to end.
 */
void copy_free_space (struct store *store);

/* After a failure for lack of space: the same, and give back what pages have
 * become free besides the BEFORE bytes of them that there were.
 */
void copy_give_back (struct store *store, uint64_t before);

/* What has ended with R, 0 or -1 and STATUS, had BEFORE bytes in free pages
 * when it began: say why it has failed, and do one of these two.  Returns an
 * exit code.
 */
int copy_end (struct store *store, uint64_t before, int r,
              const struct status *status);

/* How many bytes are in free pages now; where that is not known, all. */
uint64_t copy_free_pages (struct store *store);

#endif /* SQLBLOCK_COPY_H */
