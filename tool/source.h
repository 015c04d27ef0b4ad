/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a disk is imported from, of a format that the user names:
 *
 *   raw     a file, a block device, a pipe          read here
 *           the export of an NBD server             by libnbd
 *   qcow2   and other images: a file                by qemu-nbd (disk-image.h)
 *   gzip    and others: a raw disk, compressed      by that program, as a pipe
 *
 * Nothing is probed: a guest writes into its raw disk what it likes, also the
 * header of an image that names other files.  Where no format is named, and the
 * bytes look like another one than a raw disk, it is refused.
 *
 * Thread rules: one thread.
 */

#ifndef SQLBLOCK_SOURCE_H
#define SQLBLOCK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "status.h"

struct source;

/* What the user has said. */
struct source_wish {
  const char *name;            /* of a file, "-" or the URI of an export */
  const char *format;          /* one of source_formats, or NULL */
  unsigned patience;           /* in seconds, for servers (nbd-export.h) */
  const char *database, *disk; /* for advice */
};

/* The words that name formats, as in a usage: "raw|qcow2|...". */
extern const char source_formats[];

/* Open it.  Returns NULL on failure: EINVAL for what is not of its format. */
struct source *source_open (const struct source_wish *wish,
                            struct status *status);
void source_close (struct source *source);

/* Its name for people. */
const char *source_name (const struct source *source);

/* Has it a size, and can be read anywhere?  Else it is read once, to its end.
 */
bool source_is_sized (const struct source *source);

/* Its size in bytes, or how many have come so far. */
uint64_t source_size (const struct source *source);

/* Is it a file of the database PATH? */
bool source_is_of (const struct source *source, const char *path);

/* What has a size: the end of the data, or of the zeroes, in which byte OFFSET
 * is.  Zeroes may count as data.  OFFSET never goes back.
 */
int source_extent (struct source *source, uint64_t offset, uint64_t *end,
                   bool *zero, struct status *status);

/* Fill BUFFER with LENGTH bytes from byte OFFSET, or of what has no size with
 * the next ones.  Returns how many came, fewer only at the end, or -1.
 */
ssize_t source_read (struct source *source, char *buffer, uint64_t offset,
                     size_t length, struct status *status);

/* All was read: was it all there is, and is it what it is to be?  Returns 0 or
 * -1.
 */
int source_check_end (struct source *source, struct status *status);

#endif /* SQLBLOCK_SOURCE_H */
