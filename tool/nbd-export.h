/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An export of an NBD server, read and written by libnbd (nbd-library.h).
 *
 * A server that is stopped, or a network that is gone, says nothing.  So
 * whatever waits here gives up when nothing has come or gone for some time, and
 * at once when the user interrupts the command.  The export is of no use then.
 *
 * Thread rules: one thread.  All fail with -1, or NULL, and STATUS filled.
 */

#ifndef SQLBLOCK_NBD_EXPORT_H
#define SQLBLOCK_NBD_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* What is said of a range: base:allocation in the NBD protocol. */
#define NBD_EXPORT_HOLE UINT32_C (1)
#define NBD_EXPORT_ZERO UINT32_C (2)

/* How many seconds without progress are too long, where nobody says it. */
#define NBD_EXPORT_PATIENCE 60

struct nbd_export {
  uint64_t size;       /* bytes */
  uint32_t block_size; /* that the server prefers, in bytes; 0: none */
  uint32_t minimum;    /* requests are of multiples of that, in bytes */
  uint64_t most;       /* the most that a request may read or write */
  bool tells_extents;
  bool readonly, can_zero, can_flush;
  char *description; /* "" where there is none */
  unsigned patience; /* seconds */
  void *handle;
};

/* Does TEXT look like the URI of an export: nbd://..., nbd+unix:///...? */
bool nbd_export_is_uri (const char *text);

/* Connect to the export URI; PATIENCE is in seconds. */
struct nbd_export *nbd_export_open (const char *uri, unsigned patience,
                                    struct status *status);

/* The same over SOCKET, which is closed in any case, to the export "". */
struct nbd_export *nbd_export_open_socket (int socket, unsigned patience,
                                           struct status *status);

void nbd_export_close (struct nbd_export *remote);

/* Call FOUND for extents from byte OFFSET on, in order, of COUNT bytes or fewer
 * all together, but at least one, and none of no bytes.  FOUND returns 0.  For
 * an export that does not tell it fails with ENOTSUP.
 */
typedef int (*nbd_export_found) (uint64_t offset, uint64_t count,
                                 uint32_t flags, void *opaque);
int nbd_export_extents (struct nbd_export *remote, uint64_t offset,
                        uint64_t count, nbd_export_found found, void *opaque,
                        struct status *status);

/* Read or write COUNT bytes at byte OFFSET. */
int nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                     uint64_t count, struct status *status);
int nbd_export_write (struct nbd_export *remote, const void *data,
                      uint64_t offset, uint64_t count, struct status *status);

/* Make them zeroes, if can_zero; the server may give their space back. */
int nbd_export_zero (struct nbd_export *remote, uint64_t offset, uint64_t count,
                     struct status *status);

/* Have all that was written made durable, if the server can do that. */
int nbd_export_flush (struct nbd_export *remote, struct status *status);

#endif /* SQLBLOCK_NBD_EXPORT_H */
