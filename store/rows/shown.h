/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Shown: the contents that the viewers of a layer show.  Several rows may refer
 * to one; a viewer that shows it, by however many of them, shows it once.
 *
 *   viewers, by generation   0   1   2   3   4
 *   content 7                +---+   +-------+    one row from 0 to before 1,
 *                                                 another from 2 on
 */

#ifndef SQLBLOCK_SHOWN_H
#define SQLBLOCK_SHOWN_H

#include <stddef.h>
#include <stdint.h>

#include "sqlite/connection.h"
#include "status.h"

/* The viewers from the FIRST-th on before the END-th show CONTENT. */
struct span {
  int64_t content;
  uint32_t first, end;
};

/* All zeroes: none. */
struct shown {
  struct span *spans;
  size_t count;
};

/* Add a span.  Returns 0, or -1. */
int shown_add (struct shown *shown, int64_t content, size_t first, size_t end,
               struct status *status);

/* The last of those added that viewers from FIRST on see no more. */
static inline void
shown_cut (struct shown *shown, size_t span, size_t first)
{
  if (shown->spans[span].end > first)
    shown->spans[span].end = first;
}

/* Call ADD for spans that do not overlap where they are of the same content,
 * with the BYTES of that, and forget all.  Inside a transaction of the caller.
 * Returns 0, or -1.
 */
int shown_count (struct shown *shown, struct connection *connection,
                 void (*add) (size_t first, size_t end, uint64_t bytes,
                              void *opaque),
                 void *opaque, struct status *status);

/* Free what it holds. */
void shown_free (struct shown *shown);

#endif /* SQLBLOCK_SHOWN_H */
