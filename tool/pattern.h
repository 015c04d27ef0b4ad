/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Groups of disks and snapshots: what a pattern or a range means.
 *
 *   web*             *  any characters    ?  one    [a-z] [!x]  one of these
 *   web*@auto-*      of each such disk its snapshots that are called so
 *   web@a..c         those from a to c, in the order in which they were made;
 *   web@a%c          the same.  web@a.. and web@..c go to an end
 *
 * What exists by exactly that name is that, whatever is in its name, so no
 * script that names what it has gets more; where a name can be a range as well,
 * it is refused.  In a pattern a backslash makes the next character one that
 * means itself.  What a pattern means is found once, before the change, which
 * then names each.
 */

#ifndef SQLBLOCK_PATTERN_H
#define SQLBLOCK_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "store.h"
#include "tool.h"

/* Names that were found, each once, in the order of what was asked for. */
struct names {
  const char **names;
  size_t count, capacity;
};

/* Add NAME, which is allocated, and then NAMES'. */
void names_add (struct names *names, char *name);

/* Leave each only once, where it is first. */
void names_once (struct names *names);

/* Has TEXT a character that a pattern has? */
bool pattern_is_one (const char *text);

/* Does NAME fit PATTERN?  Bytes that are no UTF-8 count as characters. */
bool pattern_fits (const char *pattern, const char *name);

/* Add the disks that the COUNT TEXTS mean: each one, or for a pattern any
 * number but none. Returns an exit code, TOOL_NOT_FOUND for a pattern that fits
 * nothing; a name that is not there is added all the same.
 */
int pattern_disks (struct store *store, int count, char *texts[],
                   struct names *names);

/* The same for snapshots, each of the texts is DISK@SNAPSHOT.  With EACH, every
 * disk that fits has to have the snapshot, which may then be a time, and have
 * one; else what a disk has not, of several, is passed by.
 */
int pattern_snapshots (struct store *store, int count, char *texts[], bool each,
                       struct names *names);

#endif /* SQLBLOCK_PATTERN_H */
