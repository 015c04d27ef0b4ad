/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An export of an NBD server, read by libnbd.
 *
 * The library brings a dozen others (TLS, URIs), which take longer to load than
 * most commands run.  So it is loaded when a command needs it, and whoever
 * needs none of this can do without it.
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

struct nbd_export {
  uint64_t size;       /* bytes */
  uint32_t block_size; /* that the server prefers, in bytes; 0: none */
  char *description;   /* "" where there is none */
  void *handle;
};

/* Does TEXT look like the URI of an export: nbd://..., nbd+unix:///...? */
bool nbd_export_is_uri (const char *text);

/* Connect to the export URI, which must tell of its extents. */
struct nbd_export *nbd_export_open (const char *uri, struct status *status);
void nbd_export_close (struct nbd_export *remote);

/* Call FOUND for extents from byte OFFSET on, in order, of COUNT bytes or fewer
 * all together, but at least one, and none of no bytes.  FOUND returns 0.
 */
typedef int (*nbd_export_found) (uint64_t offset, uint64_t count,
                                 uint32_t flags, void *opaque);
int nbd_export_extents (struct nbd_export *remote, uint64_t offset,
                        uint64_t count, nbd_export_found found, void *opaque,
                        struct status *status);

/* Read COUNT bytes at byte OFFSET; not more than COPY_PIECE (copy.h). */
int nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                     uint64_t count, struct status *status);

#endif /* SQLBLOCK_NBD_EXPORT_H */
