/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An export of an NBD server: see nbd-export.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "nbd-export.h"
#include "tool.h"

bool
nbd_export_is_uri (const char *text)
{
  static const char *const schemes[] = {
    "nbd://",       "nbds://",      "nbd+unix://",
    "nbds+unix://", "nbd+vsock://", "nbds+vsock://",
  };

  for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (strncmp (text, schemes[i], strlen (schemes[i])) == 0)
      return true;
  return false;
}

#ifdef HAVE_LIBNBD

#include "nbd-library.h"

/*--------------------------------------------------------------------
 * Waiting.
 */

/* How often to look whether the user wants an end, in milliseconds. */
#define LOOK_EVERY 200

/* Since when nothing has come or gone. */
struct waiting {
  const char *doing;
  uint64_t since;
};

/* Wait until something comes or goes, or a little. */
static int
wait_a_little (struct nbd_export *remote, struct waiting *waiting,
               struct status *status)
{
  const uint64_t longest =
      UINT64_C (1000) * remote->patience * CLOCK_MILLISECOND;
  const int r = nbd.poll (remote->handle, LOOK_EVERY);

  if (tool_interrupted ())
    return status_fail (status, ECANCELED, "%s: interrupted", waiting->doing);
  if (r == -1 && nbd.get_errno () != EINTR)
    return libnbd_fail (waiting->doing, status);
  if (r == 1)
    waiting->since = clock_now ();
  else if (clock_now () - waiting->since >= longest)
    return status_fail (status, ETIMEDOUT,
                        "%s: the server has not answered for %u s",
                        waiting->doing, remote->patience);
  return 0;
}

/* Wait for the end of the command COOKIE, -1 where it could not begin. */
static int
finish (struct nbd_export *remote, const char *doing, int64_t cookie,
        struct status *status)
{
  struct waiting waiting = { .doing = doing, .since = clock_now () };
  int r;

  if (cookie == -1)
    return libnbd_fail (doing, status);
  while ((r = nbd.aio_command_completed (remote->handle, cookie)) == 0)
    if (wait_a_little (remote, &waiting, status) == -1)
      return -1;
  return r == -1 ? libnbd_fail (doing, status) : 0;
}

/*--------------------------------------------------------------------
 * Connecting.
 */

/* Take over what the server has said. */
static int
look (struct nbd_export *remote, struct status *status)
{
  struct nbd_handle *handle = remote->handle;
  int64_t size = nbd.get_size (handle);

  if (size == -1)
    return libnbd_fail ("asking for the size", status);
  remote->size = size;
  size = nbd.get_block_size (handle, LIBNBD_SIZE_PREFERRED);
  remote->block_size = size > 0 && size <= UINT32_MAX ? size : 0;
  size = nbd.get_block_size (handle, LIBNBD_SIZE_MINIMUM);
  remote->minimum = size > 0 && size <= UINT32_MAX ? size : 1;
  size = nbd.get_block_size (handle, LIBNBD_SIZE_MAXIMUM);
  /* The protocol lets a server that says nothing have this. */
  remote->most = size > 0 ? size : 32 * 1024 * 1024;
  remote->tells_extents =
      nbd.can_meta_context (handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  remote->readonly = nbd.is_read_only (handle) != 0;
  remote->can_zero = nbd.can_zero (handle) == 1;
  remote->can_flush = nbd.can_flush (handle) == 1;
  remote->description = nbd.get_export_description (handle);
  if (remote->description == NULL)
    remote->description = tool_strdup ("");
  return 0;
}

/* Connect to URI, or where that is NULL over SOCKET. */
static int
connect_to (struct nbd_export *remote, const char *uri, int socket,
            struct status *status)
{
  static const char doing[] = "connecting";
  struct waiting waiting = { .doing = doing, .since = clock_now () };
  struct nbd_handle *handle = nbd.create ();

  if (handle == NULL)
    return libnbd_fail ("libnbd", status);
  remote->handle = handle;
  /* A disk may end inside a block of the server, who then knows what to do. */
  if (nbd.set_strict_mode (handle, LIBNBD_STRICT_MASK & ~LIBNBD_STRICT_ALIGN) ==
          -1 ||
      nbd.set_full_info (handle, true) == -1 ||
      nbd.set_uri_allow_local_file (handle, true) == -1 ||
      nbd.add_meta_context (handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      (uri ? nbd.aio_connect_uri (handle, uri)
           : nbd.aio_connect_socket (handle, socket)) == -1)
    return libnbd_fail (doing, status);
  while (nbd.aio_is_connecting (handle) == 1)
    if (wait_a_little (remote, &waiting, status) == -1)
      return -1;
  return nbd.aio_is_ready (handle) == 1 ? look (remote, status)
                                        : libnbd_fail (doing, status);
}

static struct nbd_export *
open_export (const char *uri, int socket, unsigned patience,
             struct status *status)
{
  struct nbd_export *remote;

  if (libnbd_load (status) == -1)
    return NULL;
  remote = tool_alloc (sizeof *remote);
  remote->patience = patience;
  if (connect_to (remote, uri, socket, status) == 0)
    return remote;
  nbd_export_close (remote);
  return NULL;
}

struct nbd_export *
nbd_export_open (const char *uri, unsigned patience, struct status *status)
{
  struct nbd_export *remote = open_export (uri, -1, patience, status);

  if (remote == NULL)
    status_prefix (status, "%s", uri);
  return remote;
}

struct nbd_export *
nbd_export_open_socket (int socket, unsigned patience, struct status *status)
{
  struct nbd_export *remote = open_export (NULL, socket, patience, status);

  if (remote == NULL && nbd.create == NULL)
    close (socket);
  return remote;
}

/* A server that is there is told, so that it does not complain. */
void
nbd_export_close (struct nbd_export *remote)
{
  if (remote->handle) {
    if (nbd.aio_is_ready (remote->handle) == 1)
      nbd.aio_disconnect (remote->handle, 0);
    nbd.close (remote->handle);
  }
  free (remote->description);
  free (remote);
}

/*--------------------------------------------------------------------
 * Requests.
 */

/* What an answer is told to; it may come in parts. */
struct answer {
  uint64_t next, end; /* bytes */
  nbd_export_found found;
  void *opaque;
};

static int
take_extents (void *opaque, const char *context, uint64_t offset,
              uint32_t *entries, size_t count, int *error)
{
  struct answer *answer = opaque;

  (void)error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      offset != answer->next)
    return 0;
  for (size_t i = 0; i + 1 < count && answer->next < answer->end; i += 2) {
    const uint64_t left = answer->end - answer->next;
    const uint64_t length = entries[i] < left ? entries[i] : left;

    if (length == 0)
      return 0;
    answer->found (answer->next, length, entries[i + 1], answer->opaque);
    answer->next += length;
  }
  return 0;
}

/* The most that is asked for at a time: NBD has 32 bits for it. */
#define ASKED_MOST (UINT64_C (1) << 30)

int
nbd_export_extents (struct nbd_export *remote, uint64_t offset, uint64_t count,
                    nbd_export_found found, void *opaque, struct status *status)
{
  static const char doing[] = "asking what is stored";
  const uint64_t asked = count < ASKED_MOST ? count : ASKED_MOST;
  struct answer answer = {
    .next = offset,
    .end = offset + asked,
    .found = found,
    .opaque = opaque,
  };
  const nbd_extent_callback callback = {
    .callback = take_extents,
    .user_data = &answer,
  };

  if (remote->tells_extents &&
      finish (remote, doing,
              nbd.aio_block_status (remote->handle, asked, offset, callback,
                                    NBD_NULL_COMPLETION, 0),
              status) == -1)
    return -1;
  if (!remote->tells_extents)
    return status_fail (status, ENOTSUP,
                        "the server does not tell what is stored");
  if (answer.next == offset)
    return status_fail (status, EIO, "the server does not tell what is stored");
  return 0;
}

/* Read whole blocks of the server. */
static int
read_blocks (struct nbd_export *remote, void *buffer, uint64_t offset,
             uint64_t count, struct status *status)
{
  char *next = buffer;
  uint64_t part;

  for (; count > 0; next += part, offset += part, count -= part) {
    part = count < remote->most ? count : remote->most;
    if (finish (remote, "reading",
                nbd.aio_pread (remote->handle, next, part, offset,
                               NBD_NULL_COMPLETION, 0),
                status) == -1)
      return -1;
  }
  return 0;
}

int
nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                 uint64_t count, struct status *status)
{
  const uint64_t before = offset % remote->minimum;
  const uint64_t after =
      (remote->minimum - (offset + count) % remote->minimum) % remote->minimum;
  char *blocks;
  int r;

  if (before == 0 && after == 0)
    return read_blocks (remote, buffer, offset, count, status);
  blocks = tool_alloc (before + count + after);
  r = read_blocks (remote, blocks, offset - before, before + count + after,
                   status);
  /* After a failure the library still has them. */
  if (r == -1)
    return -1;
  memcpy (buffer, blocks + before, count);
  free (blocks);
  return 0;
}

int
nbd_export_write (struct nbd_export *remote, const void *data, uint64_t offset,
                  uint64_t count, struct status *status)
{
  const char *next = data;
  uint64_t part;

  for (; count > 0; next += part, offset += part, count -= part) {
    part = count < remote->most ? count : remote->most;
    if (finish (remote, "writing",
                nbd.aio_pwrite (remote->handle, next, part, offset,
                                NBD_NULL_COMPLETION, 0),
                status) == -1)
      return -1;
  }
  return 0;
}

int
nbd_export_zero (struct nbd_export *remote, uint64_t offset, uint64_t count,
                 struct status *status)
{
  uint64_t part;

  for (; count > 0; offset += part, count -= part) {
    part = count < ASKED_MOST ? count : ASKED_MOST;
    if (finish (
            remote, "zeroing",
            nbd.aio_zero (remote->handle, part, offset, NBD_NULL_COMPLETION, 0),
            status) == -1)
      return -1;
  }
  return 0;
}

int
nbd_export_flush (struct nbd_export *remote, struct status *status)
{
  return remote->can_flush
             ? finish (remote, "flushing",
                       nbd.aio_flush (remote->handle, NBD_NULL_COMPLETION, 0),
                       status)
             : 0;
}

#else /* !HAVE_LIBNBD */

static int
fail_without (struct status *status)
{
  return status_fail (status, ENOTSUP,
                      "this program was built without libnbd, by which an NBD "
                      "server is read");
}

struct nbd_export *
nbd_export_open (const char *uri, unsigned patience, struct status *status)
{
  (void)patience;
  fail_without (status);
  status_prefix (status, "%s", uri);
  return NULL;
}

struct nbd_export *
nbd_export_open_socket (int socket, unsigned patience, struct status *status)
{
  (void)patience;
  close (socket);
  fail_without (status);
  return NULL;
}

/* Nobody has one. */
void
nbd_export_close (struct nbd_export *remote)
{
  (void)remote;
}

int
nbd_export_extents (struct nbd_export *remote, uint64_t offset, uint64_t count,
                    nbd_export_found found, void *opaque, struct status *status)
{
  (void)remote, (void)offset, (void)count, (void)found, (void)opaque;
  return fail_without (status);
}

int
nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                 uint64_t count, struct status *status)
{
  (void)remote, (void)buffer, (void)offset, (void)count;
  return fail_without (status);
}

int
nbd_export_write (struct nbd_export *remote, const void *data, uint64_t offset,
                  uint64_t count, struct status *status)
{
  (void)remote, (void)data, (void)offset, (void)count;
  return fail_without (status);
}

int
nbd_export_zero (struct nbd_export *remote, uint64_t offset, uint64_t count,
                 struct status *status)
{
  (void)remote, (void)offset, (void)count;
  return fail_without (status);
}

int
nbd_export_flush (struct nbd_export *remote, struct status *status)
{
  (void)remote;
  return fail_without (status);
}

#endif /* !HAVE_LIBNBD */
