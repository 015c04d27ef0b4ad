/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is mounted: a directory for each, so that "umount" undoes exactly what
 * "mount" did, also where either was killed, and where somebody has unmounted
 * the file system by other means.
 *
 *   BASE/0/        locked while something is made or undone here
 *       /json      what this is about, written before anything is begun
 *       /disk/     without the kernel's nbd: nbdfuse has the disk here, as a
 *                  file
 *       /log       what nbdfuse and the server say
 *
 * BASE is /run/sqlblock-mounted for root and in $XDG_RUNTIME_DIR for others;
 * for those who have none, it is in /tmp.  Only its owner can write it.
 */

#ifndef SQLBLOCK_MOUNTING_H
#define SQLBLOCK_MOUNTING_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

struct mounting {
  int number;
  int lock;                    /* a descriptor, -1: not locked */
  char *directory;             /* where, an absolute path */
  char *database, *disk, *uri; /* as those of an attachment */
  char *key;                   /* the same; it is not written down */
  char *source;                /* the device or file, as /proc/mounts has it */
  char *by;   /* "kernel", "fuse2fs" or "guestmount"; NULL: not yet chosen */
  char *type; /* of the file system, or NULL */
  char *options;
  int partition; /* 0: the whole disk */
  int64_t since; /* seconds since 1970 */
  int device;    /* attached as /dev/nbdDEVICE, or -1 */
  /* When that was attached by a mount, and this one is to detach it; 0 where it
   * is not.
   */
  int64_t attached;
};

/* The name of a file of it; a new string. */
char *mounting_file (const struct mounting *mounting, const char *name);

/* Is something mounted on DIRECTORY, and on top of it SOURCE, or with NULL
 * anything?
 */
bool mounting_is_on (const char *directory, const char *source);

/* Call FOUND for each directory on which SOURCE is mounted, or a partition of
 * it.
 */
void mounting_each_directory (const char *source,
                              void (*found) (const char *directory,
                                             void *opaque),
                              void *opaque);

/* Give a new one a place, and lock it.  Returns 0 or -1. */
int mounting_make (struct mounting *mounting, struct status *status);

int mounting_save (const struct mounting *mounting, struct status *status);

/* Lock it.  Returns 0, or -1: EBUSY where another command is at work on it,
 * ENOENT where that one has removed it.
 */
int mounting_lock (struct mounting *mounting, struct status *status);

/* Its directory and all in it goes; what is mounted in it does not. */
void mounting_remove (struct mounting *mounting);

void mounting_free (struct mounting *mounting);

/* Call FOUND with each that there is, until it returns non-zero; then it has
 * taken over what MOUNTING points to.
 */
void mounting_each (int (*found) (struct mounting *mounting, void *opaque),
                    void *opaque);

#endif /* SQLBLOCK_MOUNTING_H */
