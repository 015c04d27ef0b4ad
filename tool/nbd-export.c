/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An export of an NBD server: see nbd-export.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

#include <dlfcn.h>

#include <libnbd.h>

#define LIBRARY "libnbd.so.0"

#define EACH_FUNCTION(F)                                                       \
  F (add_meta_context)                                                         \
  F (block_status)                                                             \
  F (can_meta_context)                                                         \
  F (close)                                                                    \
  F (connect_uri)                                                              \
  F (create)                                                                   \
  F (get_block_size)                                                           \
  F (get_errno)                                                                \
  F (get_error)                                                                \
  F (get_export_description)                                                   \
  F (get_size)                                                                 \
  F (pread)                                                                    \
  F (set_full_info)                                                            \
  F (set_uri_allow_local_file)

/* The functions of the library, once it is loaded. */
static struct {
#define DECLARE(name) __typeof__ (nbd_##name) *name;
  EACH_FUNCTION (DECLARE)
} nbd;

static int
load (struct status *status)
{
  void *library = dlopen (LIBRARY, RTLD_NOW | RTLD_LOCAL);

  if (library == NULL)
    return status_fail (status, ENOTSUP,
                        "an NBD server is read by libnbd, which cannot be "
                        "loaded (%s); install the package libnbd0, or libnbd",
                        dlerror ());
#define LOOK_UP(name)                                                          \
  *(void **)&nbd.name = dlsym (library, "nbd_" #name);                         \
  if (nbd.name == NULL)                                                        \
    return status_fail (status, ENOTSUP,                                       \
                        LIBRARY " has no nbd_" #name "; it is too old");
  EACH_FUNCTION (LOOK_UP)
  return 0;
}

/* Say what the library says. */
static int
fail (const char *doing, struct status *status)
{
  const int error = nbd.get_errno ();
  const char *text = nbd.get_error ();

  return status_fail (status, error ? error : EIO, "%s: %s", doing,
                      text ? text : "unknown error");
}

static int
connect_to (struct nbd_export *remote, const char *uri, struct status *status)
{
  struct nbd_handle *handle = nbd.create ();
  int64_t size;

  if (handle == NULL)
    return fail ("libnbd", status);
  remote->handle = handle;
  if (nbd.set_full_info (handle, true) == -1 ||
      nbd.set_uri_allow_local_file (handle, true) == -1 ||
      nbd.add_meta_context (handle, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd.connect_uri (handle, uri) == -1)
    return fail ("connecting", status);
  size = nbd.get_size (handle);
  if (size == -1)
    return fail ("asking for the size", status);
  if (nbd.can_meta_context (handle, LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    return status_fail (status, ENOTSUP,
                        "the server does not tell what is stored");
  remote->size = size;
  size = nbd.get_block_size (handle, LIBNBD_SIZE_PREFERRED);
  remote->block_size = size > 0 && size <= UINT32_MAX ? size : 0;
  remote->description = nbd.get_export_description (handle);
  if (remote->description == NULL)
    remote->description = tool_strdup ("");
  return 0;
}

struct nbd_export *
nbd_export_open (const char *uri, struct status *status)
{
  struct nbd_export *remote;

  if (load (status) == -1)
    return NULL;
  remote = tool_alloc (sizeof *remote);
  if (connect_to (remote, uri, status) == 0)
    return remote;
  status_prefix (status, "%s", uri);
  nbd_export_close (remote);
  return NULL;
}

void
nbd_export_close (struct nbd_export *remote)
{
  if (remote->handle)
    nbd.close (remote->handle);
  free (remote->description);
  free (remote);
}

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

  if (nbd.block_status (remote->handle, asked, offset, callback, 0) == -1)
    return fail ("asking what is stored", status);
  if (answer.next == offset)
    return status_fail (status, EIO, "the server does not tell what is stored");
  return 0;
}

int
nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                 uint64_t count, struct status *status)
{
  if (nbd.pread (remote->handle, buffer, count, offset, 0) == -1)
    return fail ("reading", status);
  return 0;
}

#else /* !HAVE_LIBNBD */

struct nbd_export *
nbd_export_open (const char *uri, struct status *status)
{
  status_fail (status, ENOTSUP,
               "%s: this program was built without libnbd, by which an NBD "
               "server is read",
               uri);
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
  return status_fail (status, ENOTSUP, "built without libnbd");
}

int
nbd_export_read (struct nbd_export *remote, void *buffer, uint64_t offset,
                 uint64_t count, struct status *status)
{
  (void)remote, (void)buffer, (void)offset, (void)count;
  return status_fail (status, ENOTSUP, "built without libnbd");
}

#endif /* !HAVE_LIBNBD */
