/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The two ways to mount a disk:
 *
 *   kernel   attach ──► /dev/nbd0 or /dev/nbd0p1 ──► mount      root, and nbd
 *   fuse     server ──► nbdfuse, a file ──► fuse2fs: ext2 to 4  anybody who may
 *                                      └──► guestmount: others  open /dev/fuse
 *
 * guestmount has a kernel of its own, in a virtual machine: slow to start.
 *
 * All functions return an exit code, and say what went wrong.
 */

#ifndef SQLBLOCK_MOUNT_WAY_H
#define SQLBLOCK_MOUNT_WAY_H

#include <stdbool.h>

#include "mounting.h"
#include "volume.h"

/* How the user wants it. */
struct mount_wish {
  bool readonly;
  const char *options; /* or NULL */
};

struct mount_way {
  /* Have the disk as a device or a file, `source`, and say whether it can only
   * be read.
   */
  int (*begin) (struct mounting *mounting, struct mount_wish *wish);

  /* How VOLUME is mounted: `by`, `source`, `type`, `options`. */
  int (*plan) (struct mounting *mounting, const struct volume *volume,
               const struct mount_wish *wish);

  /* Mount it so. */
  int (*mount) (struct mounting *mounting, const struct volume *volume,
                const struct mount_wish *wish);

  /* Undo what mount did, where it is still so, and what begin did.  With FORCE
   * also where it is in use.
   */
  int (*unmount) (const struct mounting *mounting, bool force);
  int (*end) (struct mounting *mounting, bool force);

  /* When all has ended: say where something that was written was lost.  NULL
   * where unmount and end do.
   */
  int (*report) (const struct mounting *mounting);
};

extern const struct mount_way mount_by_kernel, mount_by_fuse;

/* A list of options with commas between them, of those that are not NULL; it
 * ends with one that is "".  A new string.
 */
char *mount_join (const char *option, ...);

/* Say that it cannot be unmounted; returns an exit code. */
int mount_fail_busy (const char *directory);

/* Unmount DIRECTORY by a system call; with FORCE also where it is in use. */
int mount_release (const char *directory, bool force);

#endif /* SQLBLOCK_MOUNT_WAY_H */
