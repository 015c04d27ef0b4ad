/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a disk is exported to: a raw file, a block device, a pipe, the export
 * of an NBD server, or a file that becomes a qcow2 image (disk-image.h).
 *
 * A file appears when it is complete.  The others are written as it goes, and
 * what was there is lost also if that is interrupted.  Where something is
 * already, it is replaced only if the user wants that.
 *
 * Thread rules: one thread.
 */

#ifndef SQLBLOCK_DESTINATION_H
#define SQLBLOCK_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"
#include "stream.h"

struct destination;

/* What the user has said. */
struct destination_wish {
  const char *path;   /* of a file, "-" or the URI of an export */
  const char *format; /* one of destination_formats, or NULL: raw */
  bool compress;      /* the image */
  bool overwrite;
  bool dry_run;      /* only look: nothing is made, and nothing is written */
  unsigned patience; /* in seconds, for servers (nbd-export.h) */
};

/* The words that name formats, as in a usage. */
extern const char destination_formats[];

/* Open it for TOTAL bytes.  Returns NULL on failure: EEXIST where it must not
 * be overwritten, ENOSPC where it is too small.
 */
struct destination *destination_open (const struct destination_wish *wish,
                                      uint64_t total, struct status *status);

/* Write a piece to the destination OPAQUE; they come in order.  As a copy_taken
 * (copy.h).
 */
int destination_take (const struct stream_range *piece, void *opaque,
                      struct status *status);

/* Make all durable, and give a new file its name. */
int destination_finish (struct destination *destination, struct status *status);

/* Close it; a file that has no name yet is gone. */
void destination_close (struct destination *destination);

/* Its name for people. */
const char *destination_name (const struct destination *destination);

#endif /* SQLBLOCK_DESTINATION_H */
