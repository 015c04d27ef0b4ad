/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Which contents are shown: see shown.h. */

#include <config.h>

#include <stdlib.h>

#include "base/grow.h"
#include "rows/shown.h"

int
shown_add (struct shown *shown, int64_t content, size_t first, size_t end,
           struct status *status)
{
  struct span *spans = grow (shown->spans, shown->count, sizeof *spans);

  if (spans == NULL)
    return status_no_memory (status);
  shown->spans = spans;
  spans[shown->count++] = (struct span){ content, first, end };
  return 0;
}

static int
compare_spans (const void *a, const void *b)
{
  const struct span *x = a, *y = b;

  if (x->content != y->content)
    return x->content < y->content ? -1 : 1;
  return (x->first > y->first) - (x->first < y->first);
}

int
shown_count (struct shown *shown, struct connection *connection,
             void (*add) (size_t first, size_t end, uint64_t bytes,
                          void *opaque),
             void *opaque, struct status *status)
{
  static const char bytes_sql[] =
      "SELECT length (data) FROM content WHERE id = ?1";
  const struct span *span = shown->spans, *end = span + shown->count;
  int64_t bytes;
  size_t last;

  if (shown->count > 0)
    qsort (shown->spans, shown->count, sizeof *shown->spans, compare_spans);
  while (span < end) {
    const int64_t content = span->content;

    if (connection_integer_for (connection, bytes_sql, content, &bytes,
                                status) == -1)
      return -1;
    for (last = 0; span < end && span->content == content; span++) {
      if (span->end > span->first && span->end > last)
        add (span->first > last ? span->first : last, span->end, bytes, opaque);
      if (span->end > last)
        last = span->end;
    }
  }
  shown->count = 0;
  return 0;
}

void
shown_free (struct shown *shown)
{
  free (shown->spans);
  *shown = (struct shown){ 0 };
}
