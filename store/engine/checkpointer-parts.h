/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What checkpointer.c, which knows when, and checkpointer-rounds.c, which knows
 * how, share.
 */

#ifndef SQLBLOCK_CHECKPOINTER_PARTS_H
#define SQLBLOCK_CHECKPOINTER_PARTS_H

#include <stdbool.h>

#include "engine/checkpointer.h"

/* How long a checkpoint may wait for a reader that does not end, in
 * milliseconds: longer than one of ours keeps a transaction, in whatever
 * process.
 */
#define PAUSE_PATIENCE (READER_KEEP * 3 / 2 + 30)

/* How long it may wait for a checkpoint of another process, and a writer for
 * the log to get shorter than its bound, in milliseconds.
 */
#define OTHERS_PATIENCE 1000

/* Have checkpoints failed for so long that waiting does not help? */
bool checkpointer_is_pinned (const struct checkpointer *checkpointer);

/* The log as Litestream leaves it, for a thread that is not woken: wait, and
 * say which checkpoint is to be made, or 0 for none.  Called with the lock
 * held.
 */
int checkpointer_watch_litestream (struct checkpointer *checkpointer);

/* The leader of the writer gives way to Litestream. */
void checkpointer_pace (struct checkpointer *checkpointer);

/* Empty the log.  MODE says whether its file is also truncated.  Returns
 * whether that was possible.
 */
bool checkpointer_empty_log (struct checkpointer *checkpointer, int mode);

#endif /* SQLBLOCK_CHECKPOINTER_PARTS_H */
