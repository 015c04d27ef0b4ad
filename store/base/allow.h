/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who may use a disk, as allow= says it: a list, of which one item is enough.
 *
 *   all, none             everybody, nobody
 *   unix                  who comes over a unix socket
 *   uid:USER, gid:GROUP   a process of this user, or that runs with this group,
 *                         over a unix socket; a number, or a name of the
 *                         machine that serves
 *   10.0.0.0/8, fe80::1   IPv4 and IPv6; ranges have no bits behind their own
 *   vsock, vsock:CID      a virtual machine, over vsock
 *   tls:NAME              the certificate of the client is for this common
 *   tls-issuer:NAME       name, or from this issuer.  A NAME with a '=' is the
 *                         whole distinguished name (RFC 4514).
 *
 * Items are separated by commas; in an item '\' stands before a comma, or
 * another '\', that belongs to it.  What cannot be understood lets nobody in.
 */

#ifndef SQLBLOCK_ALLOW_H
#define SQLBLOCK_ALLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* The longest list, in bytes. */
#define ALLOW_MAX 4000

/* How a client has come. */
enum peer_kind {
  PEER_UNKNOWN = 0, /* over a pipe, or nobody tells */
  PEER_UNIX,
  PEER_INET, /* also IPv4 in an address of IPv6 */
  PEER_INET6,
  PEER_VSOCK
};

/* Who a client is, as far as it is known. */
struct peer {
  enum peer_kind kind;
  int64_t pid, uid, gid;     /* over a unix socket; -1: not known */
  unsigned char address[16]; /* IPv4 has 4 bytes */
  unsigned port;
  uint32_t cid; /* vsock */
  /* Distinguished names in its certificate and of its issuer, or NULL. */
  char *tls_name, *tls_issuer;
};

/* Check that TEXT is such a list.  Returns 0, or -1 and EINVAL.  Thread rules:
 * any thread, here and below.
 */
int allow_check (const char *text, struct status *status);

/* Does the list TEXT let PEER in?  Returns 1; 0, and STATUS says which names in
 * it nobody has, or is empty; or -1 and EINVAL where it is no such list.
 */
int allow_admits (const char *text, const struct peer *peer,
                  struct status *status);

/* Does one of its items ask for what a certificate says? */
bool allow_asks_for_tls (const char *text);

#endif /* SQLBLOCK_ALLOW_H */
