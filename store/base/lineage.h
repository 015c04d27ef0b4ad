/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* May a client that was cut off go on, as if it had not been?
 *
 * A kernel that has a disk keeps what was acknowledged, and will never send it
 * again: not after a flush that failed, and not after it has come back to a
 * server that has forgotten it.  So who connects a kernel again must know that
 * the disk has all that was acknowledged, flushed or not.  Servers tell for
 * that what they have, and this compares what was told before with what is told
 * now:
 *
 *   the server was killed          the same boot, the same file: all is there
 *   its machine lost its power     another boot: what was not synced may be
 *                                  gone, unless nothing was acknowledged before
 *   another machine has taken over the same as that
 *   a copy was put in its place    another file, unless it was copied into it
 *   the disk was rolled back       another epoch
 *
 * Where what is acknowledged is synced, an older copy that is put back is not
 * told from the file that went on, since that may be on another machine by
 * then.
 *
 * As text it is a line for each, with a name in front; lines with other names
 * are passed over.
 */

#ifndef SQLBLOCK_LINEAGE_H
#define SQLBLOCK_LINEAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest text, with its NUL. */
#define LINEAGE_TEXT 512

struct lineage {
  bool durable;      /* what is acknowledged is synced */
  char run[33];      /* of the server: another one each time that it starts */
  char boot[40];     /* the kernel's boot_id */
  char file[48];     /* device and inode; "" on a cluster */
  char database[33]; /* its id, in hexadecimal digits; copies have the same */
  int64_t disk, snapshot, epoch; /* as in disk_info */
  uint64_t size;                 /* bytes */
};

/* Write it; TEXT has room for LINEAGE_TEXT.  Thread rules, here and below: any
 * thread.
 */
void lineage_print (const struct lineage *lineage, char *text);

/* Read that, from anybody.  Returns false where it is something else. */
bool lineage_parse (const char *text, struct lineage *lineage);

/* Does NOW have all that was acknowledged under BEFORE?  Returns NULL, or why
 * not, in words.
 */
const char *lineage_broken (const struct lineage *before,
                            const struct lineage *now);

#endif /* SQLBLOCK_LINEAGE_H */
