/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A disk in an image of QEMU's formats, read and written by qemu-nbd.
 *
 *   source.c, output.c ──► nbd-export ──► a socket without a name ──► qemu-nbd
 *                                                                        │
 *                                             /proc/self/fd/4, our file ◄┘
 *
 * An image may name other files: what it is based on, or where its data is.
 * Whoever made it, perhaps in a virtual machine, has chosen these names, and
 * would get whatever we may read.  So such images are refused here, from their
 * headers, before qemu-nbd sees them; it is told to open nothing else all the
 * same, gets the file as an open descriptor and never by a name, and the kernel
 * keeps it from all others (confine.h).  Which format it is the user says:
 * nothing is probed.
 *
 * Thread rules: one thread.
 */

#ifndef SQLBLOCK_DISK_IMAGE_H
#define SQLBLOCK_DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "nbd-export.h"
#include "program.h"
#include "status.h"

struct disk_image {
  struct program program;
  struct nbd_export *remote;
  int fd;        /* of a new one, that of its owner */
  uint64_t size; /* and what it is to have at the end, in bytes; 0: it has */
};

/* Open the image FD, which people know as NAME, of FORMAT ("qcow2", "vmdk",
 * "vdi", "vhdx"), to be read.  PATIENCE is in seconds, as for nbd-export.h.
 * Returns 0, or -1 with nothing left open.
 */
int disk_image_open (struct disk_image *image, const char *format, int fd,
                     const char *name, unsigned patience,
                     struct status *status);

/* What blocks of a new image are; those that are written should be whole. */
#define DISK_IMAGE_CLUSTER 65536

/* Make a qcow2 image of SIZE bytes, or a little more, in the empty file FD, and
 * open it to be written.
 */
int disk_image_create (struct disk_image *image, int fd, uint64_t size,
                       bool compress, unsigned patience, struct status *status);

/* All was written: close it, and see that it went well. */
int disk_image_finish (struct disk_image *image, struct status *status);

/* Say of a failure of image->remote what qemu-nbd says; returns -1. */
int disk_image_fail (struct disk_image *image, struct status *status);

/* Close it.  An IMAGE of zeroes is left alone. */
void disk_image_close (struct disk_image *image);

#endif /* SQLBLOCK_DISK_IMAGE_H */
