/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Files that are no raw disks: images of other formats, archives, and files
 * of this program, which have their disk inside.
 *
 * They are told by the bytes at their beginning, or for some at their end.
 * A raw disk begins with a boot sector, a file system or zeroes, so this is
 * no guess about anything that a disk may well have.
 */

#ifndef SQLBLOCK_IMAGE_H
#define SQLBLOCK_IMAGE_H

#include <stddef.h>

/* How many bytes at the beginning and at the end tell. */
#define IMAGE_HEAD 512
#define IMAGE_TAIL 512

/* What to do with a file. */
enum image_remedy {
  IMAGE_CONVERT, /* qemu-img convert does it */
  IMAGE_UNPACK,  /* a program that writes it to standard output does */
  IMAGE_RECEIVE, /* sqlblock receive does */
  IMAGE_EXPORT,  /* sqlblock export does, of the database that it is */
};

struct image_format {
  const char *name; /* with its article */
  enum image_remedy remedy;
  const char *program; /* IMAGE_UNPACK: what unpacks it; IMAGE_CONVERT: its name
                          in QEMU */
  const char *word;    /* the --format of sqlblock import that is it, or NULL */
};

/* The format of a file of which the first COUNT bytes are HEAD, all that there
 * are or IMAGE_HEAD; NULL where it may be a raw disk.
 */
const struct image_format *image_of_head (const void *head, size_t count);

/* The same for the last COUNT bytes, all that there are or IMAGE_TAIL. */
const struct image_format *image_of_tail (const void *tail, size_t count);

#endif /* SQLBLOCK_IMAGE_H */
