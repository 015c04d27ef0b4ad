/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Fencing off the old connections of an attachment.
 *
 * When a connection breaks, the kernel sends what was not answered again over a
 * new one, and goes on.  But a request can still be on its way over the old
 * one: in the network, in the server's socket, in front of a limit.  If it came
 * to the disk after all, it would overwrite what is newer.  So who attaches
 * opens the export
 *
 *   DISK/attach/TOKEN/GENERATION
 *
 * where TOKEN is a random number of his, 32 hexadecimal digits, and GENERATION
 * one that he raises each time that he connects again:
 *
 *   generation 1   ── write A ──► inside ──► ends as it began
 *                  ── write B ─────────────────► refused: it never happens
 *   generation 2         open ── waits for A ──► is open; sends B again, C, ...
 *
 * Who knows the TOKEN of another user (peer_is_same_user), or opens another
 * disk or snapshot with it, has another attachment.
 *
 * Once an open has returned, nothing of an older generation is done any more.
 * One that comes late is refused.  When all connections of a token have gone,
 * it is forgotten: whoever opens one of them then has sent nothing before, and
 * is the older one as soon as there is a newer one again.
 *
 * Only connections to this process are fenced.  Two servers write one disk only
 * with shared=true.
 */

#ifndef SQLBLOCK_FENCE_H
#define SQLBLOCK_FENCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "peer.h"
#include "status.h"

#define FENCE_TOKEN 32

/* A connection of an attachment; all zeroes: it is one of none. */
struct attached {
  struct attached *next;
  char token[FENCE_TOKEN + 1]; /* "": of none */
  uint64_t generation;         /* from 1 */
  int64_t disk, snapshot;      /* what it has open, once it has */
  const struct peer *peer;     /* and who */
  uint64_t newest;             /* that it has seen */
  atomic_uint inside;          /* requests */
  atomic_bool over;            /* it is fenced off */
};

/* Does who opens the export NAME belong to an attachment?  Then ATTACHED, which
 * is all zeroes, says so.  Returns the length of the name without that.  Thread
 * rules, here and below: any thread of a client.
 */
size_t fence_parse (const char *name, struct attached *attached);

/* Fence off the older connections of the same attachment, if it is one, and
 * wait until none of their requests is inside.  Returns 0, or -1: ESHUTDOWN
 * where this is itself one of the older, or has left meanwhile.
 */
int fence_enter (struct attached *attached, struct status *status);
void fence_leave (struct attached *attached);

/* A request begins; false: it must not, and then does not end. */
bool fence_begin (struct attached *attached);
void fence_end (struct attached *attached);

/* Are both connections of one attachment? */
bool fence_is_same (const struct attached *a, const struct attached *b);

#endif /* SQLBLOCK_FENCE_H */
