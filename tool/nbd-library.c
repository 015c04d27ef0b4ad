/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* libnbd, loaded when a command needs it: see nbd-library.h. */

#include <config.h>

#ifdef HAVE_LIBNBD

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>

#include "nbd-library.h"

#define LIBRARY "libnbd.so.0"

struct libnbd nbd;

int
libnbd_load (struct status *status)
{
  void *library = dlopen (LIBRARY, RTLD_NOW | RTLD_LOCAL);

  if (library == NULL)
    return status_fail (status, ENOTSUP,
                        "NBD servers are reached by libnbd, which cannot be "
                        "loaded (%s); install the package libnbd0, or libnbd",
                        dlerror ());
#define LOOK_UP(name)                                                          \
  *(void **)&nbd.name = dlsym (library, "nbd_" #name);                         \
  if (nbd.name == NULL)                                                        \
    return status_fail (status, ENOTSUP,                                       \
                        LIBRARY " has no nbd_" #name "; it is too old");
  EACH_LIBNBD_FUNCTION (LOOK_UP)
  return 0;
}

int
libnbd_fail (const char *doing, struct status *status)
{
  const int error = nbd.get_errno ();
  const char *text = nbd.get_error ();

  return status_fail (status, error ? error : EIO, "%s: %s", doing,
                      text ? text : "unknown error");
}

#endif /* HAVE_LIBNBD */
