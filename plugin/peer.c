/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who a client is: see peer.h. */

#include <config.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/vm_sockets.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "newer.h"
#include "peer.h"

/* What a socket may say of its other end. */
union address {
  struct sockaddr any;
  struct sockaddr_in inet;
  struct sockaddr_in6 inet6;
  struct sockaddr_vm vsock;
  struct sockaddr_storage storage;
};

/* Do clients come over sockets? */
static bool has_peers;

void
peer_begin (void)
{
  has_peers = nbdkit_stdio_safe ();
}

static void
read_inet6 (struct peer *peer, const struct sockaddr_in6 *address)
{
  const struct in6_addr *bytes = &address->sin6_addr;

  peer->port = ntohs (address->sin6_port);
  if (IN6_IS_ADDR_V4MAPPED (bytes)) {
    peer->kind = PEER_INET;
    memcpy (peer->address, bytes->s6_addr + 12, 4);
  }
  else {
    peer->kind = PEER_INET6;
    memcpy (peer->address, bytes->s6_addr, 16);
  }
}

/* nbdkit logs an error for what the other end is not: ask only what it is. */
static void
read_address (struct peer *peer, const union address *address)
{
  switch (address->any.sa_family) {
  case AF_UNIX:
    peer->kind = PEER_UNIX;
    peer->pid = nbdkit_peer_pid ();
    peer->uid = nbdkit_peer_uid ();
    peer->gid = nbdkit_peer_gid ();
    break;
  case AF_INET:
    peer->kind = PEER_INET;
    peer->port = ntohs (address->inet.sin_port);
    memcpy (peer->address, &address->inet.sin_addr, 4);
    break;
  case AF_INET6:
    read_inet6 (peer, &address->inet6);
    break;
  case AF_VSOCK:
    peer->kind = PEER_VSOCK;
    peer->cid = address->vsock.svm_cid;
    peer->port = address->vsock.svm_port;
    break;
  default:
    break;
  }
}

void
peer_ask (struct peer *peer)
{
  union address address;
  socklen_t length = sizeof address;

  *peer = (struct peer){ .pid = -1, .uid = -1, .gid = -1 };
  memset (&address, 0, sizeof address);
  if (has_peers && nbdkit_peer_name (&address.any, &length) == 0)
    read_address (peer, &address);
  if (peer_has_certificates ()) {
    peer->tls_name = nbdkit_peer_tls_dn ();
    peer->tls_issuer = nbdkit_peer_tls_issuer_dn ();
  }
}

void
peer_forget (struct peer *peer)
{
  free (peer->tls_name);
  free (peer->tls_issuer);
}

bool
peer_has_certificates (void)
{
  return nbdkit_peer_tls_dn && nbdkit_peer_tls_issuer_dn;
}

static bool
has_name (const struct peer *peer)
{
  return peer->tls_name && peer->tls_name[0] && peer->tls_issuer;
}

static bool
has_same_name (const struct peer *a, const struct peer *b)
{
  return strcmp (a->tls_name, b->tls_name) == 0 &&
         strcmp (a->tls_issuer, b->tls_issuer) == 0;
}

bool
peer_is_same_user (const struct peer *a, const struct peer *b)
{
  if (has_name (a) != has_name (b) || (has_name (a) && !has_same_name (a, b)))
    return false;
  return (a->kind == PEER_UNIX) == (b->kind == PEER_UNIX) && a->uid == b->uid;
}

/* A process of another namespace has no id here: 0. */
bool
peer_is_same (const struct peer *a, const struct peer *b)
{
  if (has_name (a) && has_name (b))
    return has_same_name (a, b);
  return !has_name (a) && !has_name (b) && a->kind == PEER_UNIX &&
         b->kind == PEER_UNIX && a->pid > 0 && a->pid == b->pid &&
         a->uid != -1 && a->uid == b->uid;
}

void
peer_describe (const struct peer *peer, char text[PEER_TEXT])
{
  char address[INET6_ADDRSTRLEN] = "?";
  int length = 0;

  switch (peer->kind) {
  case PEER_UNIX:
    length = snprintf (text, PEER_TEXT,
                       "process %" PRId64 " of uid %" PRId64 ", gid %" PRId64,
                       peer->pid, peer->uid, peer->gid);
    break;
  case PEER_INET:
    inet_ntop (AF_INET, peer->address, address, sizeof address);
    length = snprintf (text, PEER_TEXT, "%s:%u", address, peer->port);
    break;
  case PEER_INET6:
    inet_ntop (AF_INET6, peer->address, address, sizeof address);
    length = snprintf (text, PEER_TEXT, "[%s]:%u", address, peer->port);
    break;
  case PEER_VSOCK:
    length = snprintf (text, PEER_TEXT, "vsock %" PRIu32 ":%u", peer->cid,
                       peer->port);
    break;
  case PEER_UNKNOWN:
    length = snprintf (text, PEER_TEXT, "a client of whom nothing is known");
    break;
  }
  if (has_name (peer))
    snprintf (text + length, PEER_TEXT - length, " with the certificate '%s'",
              peer->tls_name);
}
