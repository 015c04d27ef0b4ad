/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Connections to an export for the kernel: see handshake.h. */

#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "handshake.h"
#include "nbd-library.h"
#include "tool.h"

/* What linux/nbd.h lacks, of the NBD protocol. */
#define FLAG_ROTATIONAL (1 << 4)

/* A machine that is gone is noticed after this many seconds without a sign of
 * it, and then once more for each question that it does not answer.
 */
#define KEEPALIVE_SECONDS   10
#define KEEPALIVE_QUESTIONS 3

/* The most that a kernel takes as a block: a page, on most machines. */
#define BLOCK_MOST 4096

/* What tells of the export NAME is the export NAME/lineage. */
#define TELLER_SUFFIX "/lineage"

/* Let HANDLE go on until it has connected, or the server has answered. */
static int
await (struct nbd_handle *handle, struct status *status)
{
  const uint64_t end = clock_now () + UINT64_C (1000000000) * HANDSHAKE_SECONDS;

  while (nbd.aio_is_connecting (handle) == 1) {
    const uint64_t now = clock_now ();

    if (now >= end)
      return status_fail (status, ETIMEDOUT,
                          "connecting: the server has not answered for %d "
                          "seconds",
                          HANDSHAKE_SECONDS);
    if (nbd.poll (handle, (end - now) / 1000000 + 1) == -1)
      return libnbd_fail ("connecting", status);
  }
  return 0;
}

/* The server has answered: what the error is goes to OPAQUE. */
static int
take_answer (void *opaque, int *error)
{
  int *answer = opaque;

  *answer = *error;
  return 0;
}

/* Have HANDLE open its export.  ENOENT where there is none. */
static int
open_export (struct nbd_handle *handle, struct status *status)
{
  int answer = EIO;
  const nbd_completion_callback callback = {
    .callback = take_answer,
    .user_data = &answer,
  };

  if (nbd.aio_opt_go (handle, callback) == -1)
    return libnbd_fail ("connecting", status);
  if (await (handle, status) == -1)
    return -1;
  if (nbd.aio_is_ready (handle) == 1)
    return 0;
  if (answer == ENOENT)
    return status_fail (status, ENOENT,
                        "the server has no such export, or not for this "
                        "client; its log says more");
  return status_fail (status, answer ? answer : EIO,
                      "the server refuses the export: %s; its log says more",
                      strerror (answer ? answer : EIO));
}

/* Connect HANDLE to the server of URI.  Returns 0 or -1. */
static int
reach (struct nbd_handle *handle, const char *uri, struct status *status)
{
  int r = 0;

  /* The kernel knows neither structured replies nor TLS. */
  if (nbd.set_opt_mode (handle, true) == -1 ||
      nbd.set_request_structured_replies (handle, false) == -1 ||
      nbd.aio_connect_uri (handle, uri) == -1)
    r = libnbd_fail ("connecting", status);
  else
    r = await (handle, status);
  if (r == 0 && nbd.aio_is_negotiating (handle) != 1)
    r = libnbd_fail ("connecting", status);
  /* It is the socket that is not there, as while a server is started anew, and
   * no export that is gone.
   */
  if (r == -1 && status->error == ENOENT)
    status->error = ECONNREFUSED;
  return r;
}

/* Name the export of URI, or with SUFFIX the one whose name has that behind it.
 * Returns 0 or -1.
 */
static int
name_export (struct nbd_handle *handle, const char *suffix,
             struct status *status)
{
  char *name = nbd.get_export_name (handle);
  char *whole = tool_format ("%s%s", name ? name : "", suffix);
  const int r = nbd.set_export_name (handle, whole);

  free (name);
  free (whole);
  return r == -1 ? libnbd_fail ("connecting", status) : 0;
}

/* Connect to it. */
static struct nbd_handle *
connect_to (const char *uri, const char *suffix, struct status *status)
{
  struct nbd_handle *handle = nbd.create ();

  if (handle == NULL) {
    libnbd_fail ("libnbd", status);
    return NULL;
  }
  if (reach (handle, uri, status) == 0 &&
      name_export (handle, suffix, status) == 0 &&
      open_export (handle, status) == 0)
    return handle;
  nbd.close (handle);
  return NULL;
}

static uint16_t
flags_of (struct nbd_handle *handle)
{
  const struct {
    int (*has) (struct nbd_handle *);
    uint16_t flag;
  } each[] = {
    { nbd.is_read_only, NBD_FLAG_READ_ONLY },
    { nbd.can_flush, NBD_FLAG_SEND_FLUSH },
    { nbd.can_fua, NBD_FLAG_SEND_FUA },
    { nbd.is_rotational, FLAG_ROTATIONAL },
    { nbd.can_trim, NBD_FLAG_SEND_TRIM },
    { nbd.can_zero, HANDSHAKE_WRITE_ZEROES },
    { nbd.can_multi_conn, NBD_FLAG_CAN_MULTI_CONN },
  };
  uint16_t flags = NBD_FLAG_HAS_FLAGS;

  for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
    if (each[i].has (handle) == 1)
      flags |= each[i].flag;
  return flags;
}

/* The sectors of the device: as small as the server takes them, since what is
 * on a disk was made for that.  A larger size keeps partitions, and file
 * systems of small blocks, from being found.
 */
static uint64_t
block_size_of (struct nbd_handle *handle)
{
  const int64_t least = nbd.get_block_size (handle, LIBNBD_SIZE_MINIMUM);
  uint64_t block = 512;

  while (block < BLOCK_MOST && (int64_t)block < least)
    block *= 2;
  return block;
}

/* Have a connection to a machine that is gone break. */
static void
keep_alive (int fd)
{
  const struct {
    int option, value;
  } each[] = {
    { TCP_KEEPIDLE, KEEPALIVE_SECONDS },
    { TCP_KEEPINTVL, KEEPALIVE_SECONDS },
    { TCP_KEEPCNT, KEEPALIVE_QUESTIONS },
    { TCP_USER_TIMEOUT, 1000 * KEEPALIVE_SECONDS * (KEEPALIVE_QUESTIONS + 1) },
  };
  const int on = 1;

  if (setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == -1)
    return;
  /* These fail for what is not TCP. */
  for (size_t i = 0; i < sizeof each / sizeof each[0]; i++)
    setsockopt (fd, IPPROTO_TCP, each[i].option, &each[i].value,
                sizeof each[i].value);
}

int
handshake_make (const char *uri, const char *suffix,
                struct handshake *handshake, struct status *status)
{
  struct nbd_handle *handle;
  int64_t size;
  int r = -1;

  if (libnbd_load (status) == -1)
    return -1;
  handle = connect_to (uri, suffix, status);
  if (handle == NULL)
    return status_prefix (status, "%s", uri);
  size = nbd.get_size (handle);
  if (nbd.get_tls_negotiated (handle) == 1)
    status_fail (status, ENOTSUP,
                 "the kernel cannot do TLS; have a local nbdkit do that, with "
                 "its plugin nbd, and attach that one");
  else {
    handshake->size = size;
    handshake->block_size = block_size_of (handle);
    handshake->flags = flags_of (handle);
    /* Closing the handle only closes its descriptor: nothing is said to the
     * server.
     */
    handshake->socket = fcntl (nbd.aio_get_fd (handle), F_DUPFD_CLOEXEC, 3);
    r = handshake->socket == -1
            ? status_fail (status, errno, "%s", strerror (errno))
            : 0;
  }
  nbd.close (handle);
  if (r == -1)
    return status_prefix (status, "%s", uri);
  keep_alive (handshake->socket);
  return 0;
}

struct teller {
  struct nbd_handle *handle;
};

struct teller *
teller_open (const char *uri, struct status *status)
{
  struct nbd_handle *handle;
  struct teller *teller;

  if (libnbd_load (status) == -1)
    return NULL;
  handle = connect_to (uri, TELLER_SUFFIX, status);
  if (handle == NULL) {
    status_prefix (status, "%s", uri);
    return NULL;
  }
  teller = tool_alloc (sizeof *teller);
  teller->handle = handle;
  return teller;
}

/* Read SIZE bytes, unless that takes too long. */
static int
read_text (struct teller *teller, char *text, size_t size,
           struct status *status)
{
  const uint64_t end = clock_now () + UINT64_C (1000000000) * HANDSHAKE_SECONDS;
  const int64_t cookie =
      nbd.aio_pread (teller->handle, text, size, 0, NBD_NULL_COMPLETION, 0);
  int r = cookie == -1 ? -1 : 0;

  while (r == 0) {
    const uint64_t now = clock_now ();

    if (now >= end)
      return status_fail (status, ETIMEDOUT,
                          "the server has not answered for %d seconds",
                          HANDSHAKE_SECONDS);
    if (nbd.poll (teller->handle, (end - now) / 1000000 + 1) == -1)
      break;
    r = nbd.aio_command_completed (teller->handle, cookie);
  }
  return r == 1 ? 0 : libnbd_fail ("asking what the server has", status);
}

int
teller_read (struct teller *teller, struct lineage *lineage,
             struct status *status)
{
  char text[LINEAGE_TEXT + 1] = "";
  const int64_t size = nbd.get_size (teller->handle);

  if (size < 1 || size > LINEAGE_TEXT)
    return status_fail (status, EIO, "this is no server of disks by sqlblock");
  if (read_text (teller, text, size, status) == -1)
    return -1;
  if (!lineage_parse (text, lineage))
    return status_fail (status, EIO, "the server does not tell what it has");
  return 0;
}

void
teller_close (struct teller *teller)
{
  nbd.close (teller->handle);
  free (teller);
}
