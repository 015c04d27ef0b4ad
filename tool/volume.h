/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The file system of a disk that is to be mounted, and how.
 *
 * The disk's owner, a guest, writes into it what he likes.  libblkid tells what
 * is there; what it finds to be ambiguous is refused, and so is a file system
 * that is not in a short list.  So nothing is mounted by guessing in the
 * kernel.
 */

#ifndef SQLBLOCK_VOLUME_H
#define SQLBLOCK_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "status.h"

/* A row of the list. */
struct file_system {
  const char *type;      /* as libblkid says */
  const char *driver;    /* as mount says */
  const char *options;   /* always */
  const char *read_only; /* where nothing can be written, not even the journal:
                            what it needs beside "ro"; or NULL */
};

struct volume {
  int partition; /* 0: the whole disk */
  uint64_t offset, size;
  const struct file_system *file_system;
  bool has_journal_to_replay; /* is known of ext3 and ext4 only */
};

/* Find what to mount of the disk that FD has open: the partition WANTED, which
 * is a number, the name that a GPT gives it, or the label of its file system,
 * or "0" for the whole disk; with NULL the only partition that can be mounted,
 * or the whole disk where there is no partition.  Returns 0, or -1: ENOENT
 * where there is nothing of that kind, EINVAL where there are several, ENOTSUP
 * for what cannot be mounted.
 */
int volume_find (int fd, const char *wanted, struct volume *volume,
                 struct status *status);

#endif /* SQLBLOCK_VOLUME_H */
