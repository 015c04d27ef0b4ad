/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Connections to an export for the kernel, which cannot do the handshake: it
 * is done here, by libnbd, and then the kernel gets the socket.
 *
 * And what the server tells of the disk beside it, in the export DISK/lineage
 * (base/lineage.h), read again and again over one more connection.
 *
 * Thread rules: one thread.  Nothing here waits longer than HANDSHAKE_SECONDS
 * for a server.
 */

#ifndef SQLBLOCK_HANDSHAKE_H
#define SQLBLOCK_HANDSHAKE_H

#include <stdint.h>

#include "base/lineage.h"
#include "status.h"

#define HANDSHAKE_SECONDS 10

/* What linux/nbd.h lacks of the flags. */
#define HANDSHAKE_WRITE_ZEROES (1 << 6)

/* A connection whose handshake is over. */
struct handshake {
  int socket;          /* to be closed by the caller */
  uint64_t size;       /* bytes */
  uint64_t block_size; /* the largest that it likes and a kernel takes */
  uint16_t flags;      /* NBD_FLAG_... as a kernel has them (linux/nbd.h) */
};

/* Connect to the export URI with SUFFIX behind its name.  Returns 0, or -1:
 * ENOTSUP for one with TLS, ENOENT where there is no such export.
 */
int handshake_make (const char *uri, const char *suffix,
                    struct handshake *handshake, struct status *status);

/* Connect to what tells of the export URI, and read it.  NULL where it cannot
 * be opened: ENOENT where the server has nothing of the kind.
 */
struct teller;
struct teller *teller_open (const char *uri, struct status *status);
int teller_read (struct teller *teller, struct lineage *lineage,
                 struct status *status);
void teller_close (struct teller *teller);

#endif /* SQLBLOCK_HANDSHAKE_H */
