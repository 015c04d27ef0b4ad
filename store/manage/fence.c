/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Who has a database on a cluster open, for manage.h: without opening it. */

#include <config.h>

#include <errno.h>

#include "cluster/location.h"
#include "cluster/rados.h"
#include "manage.h"

/* How long the cluster may take, in seconds. */
#define TIMEOUT 30

static int
need_cluster (const char *path, struct status *status)
{
  return location_is_cluster (path)
             ? 0
             : status_fail (status, EINVAL,
                            "%s is a file: its locks end with the process "
                            "that has them",
                            path);
}

int
manage_find_holder (const char *path, struct lock_holder *holder,
                    struct status *status)
{
  struct rados_found found;

  if (need_cluster (path, status) == -1 ||
      rados_find (path, TIMEOUT, &found, status) == -1)
    return -1;
  if (!found.exists && !found.held)
    return status_fail (status, ENOENT, "there is no database %s", path);
  *holder = found.holder;
  return found.held;
}

int
manage_fence (const char *path, const struct lock_holder *holder,
              struct status *status)
{
  return need_cluster (path, status) == -1
             ? -1
             : rados_fence (path, TIMEOUT, holder, status);
}
