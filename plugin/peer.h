/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who the client of a connection is, as nbdkit tells it:
 *
 *   over a unix socket   process, user and group, of the moment at which it
 *                        connected (SO_PEERCRED)
 *   TCP, vsock           the address
 *   TLS                  the names in its certificate (newer.h), where nbdkit
 *                        was told to verify that (--tls-verify-peer)
 *
 * Nothing is known of who comes through a pipe (nbdkit -s), and of a filter
 * that opens a disk for itself.
 */

#ifndef SQLBLOCK_PEER_H
#define SQLBLOCK_PEER_H

#include <stdbool.h>

#include "base/allow.h"

/* Room for a peer in words. */
#define PEER_TEXT 300

/* See whether clients come through a pipe, which nbdkit says only when it loads
 * the plugin.
 */
void peer_begin (void);

/* Ask who the client is in whose callback this thread is; without one (nbdkit
 * names no export then) it is unknown.  Freed by peer_forget.
 */
void peer_ask (struct peer *peer);
void peer_forget (struct peer *peer);

/* Is it known that both are one client: one process, or one certificate? */
bool peer_is_same (const struct peer *a, const struct peer *b);

/* Are both the same user, as far as that is known: by the user over unix
 * sockets, and by the certificate?
 */
bool peer_is_same_user (const struct peer *a, const struct peer *b);

/* The peer in words, for the log. */
void peer_describe (const struct peer *peer, char text[PEER_TEXT]);

/* Does this nbdkit tell what certificates say? */
bool peer_has_certificates (void);

#endif /* SQLBLOCK_PEER_H */
