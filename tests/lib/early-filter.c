/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A filter that opens the disk below it as soon as nbdkit has forked, as some
 * of nbdkit 1.44 and newer do: the plugin is to open a disk for nobody, and
 * nbdkit tells it no name.  It writes a word to that disk, which shows which
 * one it was.  Clients go past it.
 */

#include <config.h>

#include <stddef.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

static nbdkit_next *disk;

static int
early_after_fork (nbdkit_backend *backend)
{
  int error;

  disk = nbdkit_next_context_open (backend, 0, "", 1);
  if (disk == NULL || disk->prepare (disk) == -1 || disk->get_size (disk) < 5 ||
      disk->can_write (disk) != 1)
    return -1;
  return disk->pwrite (disk, "early", 5, 0, 0, &error);
}

static void
early_cleanup (nbdkit_backend *backend)
{
  (void)backend;
  if (disk == NULL)
    return;
  disk->finalize (disk);
  nbdkit_next_context_close (disk);
}

static struct nbdkit_filter filter = {
  .name = "early",
  .after_fork = early_after_fork,
  .cleanup = early_cleanup,
};

NBDKIT_REGISTER_FILTER (filter)
