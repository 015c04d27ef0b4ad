/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What nbdkit offers since a version newer than 1.32, the oldest that loads
 * the plugin.
 *
 * Each is a weak symbol: where the nbdkit that runs has none of this name, it
 * is NULL, and the plugin loads all the same.  So look before each call, and
 * go on in another way.  What nbdkit's own headers declare makes no
 * difference: built beside any nbdkit, the plugin uses what the one has that
 * loads it.
 */

#ifndef SQLBLOCK_NEWER_H
#define SQLBLOCK_NEWER_H

/* 1.34: disconnect the client whose callback this thread is in; with FORCE at
 * once, so that it gets no reply to this request.  Without, what it has asked
 * for is answered, and what it asks for after that refused, until it goes.
 */
extern void nbdkit_disconnect (int force) __attribute__ ((weak));

/* 1.42: the distinguished name in the certificate of the client whose callback
 * this thread is in, and of its issuer, as RFC 4514 writes them; "" where there
 * is none, or nbdkit was not told to verify it (--tls-verify-peer); NULL on
 * failure.  Freed by the caller.
 */
extern char *nbdkit_peer_tls_dn (void) __attribute__ ((weak));
extern char *nbdkit_peer_tls_issuer_dn (void) __attribute__ ((weak));

/* 1.48: the value of nbdkit's option --name, or NULL. */
extern const char *nbdkit_name (void) __attribute__ ((weak));

#endif /* SQLBLOCK_NEWER_H */
