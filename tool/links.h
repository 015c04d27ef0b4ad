/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The connections that the kernel has for a device.
 *
 * All of them are made at a time, and replaced at a time.  The server knows
 * them by a token and a generation, which is raised each time, and then does
 * nothing more of what comes over older ones (plugin/fence.h).  It refuses that
 * with an error, which must not reach the device: so the older ones are dead,
 * as far as the kernel knows, before newer ones are opened.
 *
 * Thread rules: one thread.
 */

#ifndef SQLBLOCK_LINKS_H
#define SQLBLOCK_LINKS_H

#include <stdbool.h>

#include "attachment.h"
#include "handshake.h"
#include "kernel.h"
#include "status.h"

/* The sockets that the kernel is given by this process; it may have others from
 * an earlier one.
 */
struct links {
  int sockets[ATTACHMENT_CONNECTIONS_MAX];
  unsigned count;
};

/* Have the server know the connections by a random token. */
int links_make_token (struct attachment *attachment, struct status *status);

/* Open as many connections to URI as the attachment has, of the next
 * generation, in place of those that LINKS has, and tell of one of them in
 * HANDSHAKE; for the FIRST time no more than the server wants, which the
 * attachment then has.  Returns 0, or -1.
 */
int links_open (struct links *links, struct attachment *attachment,
                const char *uri, bool first, struct handshake *handshake,
                struct status *status);

/* One of them is dead: end all, and wait until the kernel has noticed. */
void links_end (const struct links *links, struct kernel *kernel, int number);

void links_close (struct links *links);

/* Has the kernel a connection that an earlier process gave it?  For TCP the
 * sockets tell.  Else the device has minutes to answer, unless the kernel says
 * meanwhile that a connection is dead; where that cannot be found out, or there
 * is a signal, it has.
 */
bool links_live (const struct attachment *attachment, struct kernel *kernel);

#endif /* SQLBLOCK_LINKS_H */
