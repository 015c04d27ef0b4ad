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
 *   a copy was put in its place    another file; or it was copied into the same
 *                                  one, and lacks what was told of it
 *   something of it was lost       it was repaired, salvaged or accepted, and
 *                                  what was told of it was forgotten
 *   the disk was rolled back       another epoch
 *   it was made smaller            another number of its shrinking, also where
 *                                  it was made larger again
 *
 * A copy is known by what the database says of those who were told of it.  Each
 * server has an entry in it, by a random number, and counts there, in the
 * transaction before it tells, if something was committed since it told last.
 * Who was told of the newest entry asks later for that one: a database without
 * it, or with a lower count, is of a time before.  Numbers are not used again,
 * so it stays so when that database counts on.  Where what is acknowledged is
 * synced, so is the count.
 *
 * That is only what was there when it told last: so what is synced, too, is
 * taken for all there only in the same file, which may be on another machine by
 * now.
 *
 * What a copy may lack unnoticed is what was acknowledged since the client was
 * told last, if the copy was made after that, and went into the same file, or
 * is one of the whole file system.
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
#define LINEAGE_TEXT 2048

/* So many servers can be there between two times that a client is told. */
#define TELLERS_MAX 32

/* The longest text of a list, with its NUL. */
#define TELLERS_TEXT (TELLERS_MAX * (5 + 16 + 1 + 20 + 1) + 1)

/* Who told of a database, and how often with something new; the latest first.
 */
struct tellers {
  size_t count;
  struct {
    uint64_t teller, times;
  } entries[TELLERS_MAX];
};

struct lineage {
  bool durable;      /* what is acknowledged is synced */
  char run[33];      /* of the server: another one each time that it starts */
  char boot[40];     /* the kernel's boot_id */
  char file[48];     /* device and inode; "" on a cluster */
  char born[64];     /* inode, and when it was made; "" where that is not known:
                        the same for all machines that have the file system */
  char database[33]; /* its id, in hexadecimal digits; copies have the same */
  int64_t disk, epoch; /* as in disk_info; of a snapshot the epoch is 0; disk 0:
                          what was told of before is not there any more */
  uint64_t snapshot;   /* the guid of one, or 0 */
  uint64_t shrunk;     /* another number each time that the disk gets smaller */
  uint64_t size;       /* bytes */
  struct tellers told;
};

/* Count that TELLER has told once more, in a list; TELLER, if it is not in
 * there, gets the number NEWCOMER.
 */
void tellers_count (struct tellers *told, uint64_t *teller, uint64_t newcomer);

/* Write a list as text, in lines "told TELLER TIMES", and read the lines of a
 * text that are such, from anybody.
 */
void tellers_print (const struct tellers *told, char text[TELLERS_TEXT]);
void tellers_parse (const char *text, struct tellers *told);

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
