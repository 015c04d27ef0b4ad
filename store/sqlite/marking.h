/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Writing marks, and when the log may start over (mark.h says what a mark is).
 *
 *   every write transaction     finds the mark open, or opens it
 *   closing or ending a log     the mark is the last transaction in it
 *   vfs-restart.h               lets the log start over, or go, only then
 *
 * Opening, at the beginning of a write transaction:
 *
 *   open    nothing to do
 *   ended   open(new id) is the first statement of the transaction; its log
 *           begins with it, or, where a reader keeps the log from starting
 *           over, goes on with it.  The file says "ended", or what was
 *           before that, and so does not pass as complete; where this process
 *           has not seen that, it is as if it were closed: who opened it may
 *           have been killed before he wrote.
 *   closed  a transaction of its own, and before anything else is committed
 *           it must be in the file, too, which says that it is complete:
 *
 *             commit open(new id) ─► sync the log ─► write the mark into the
 *             page of the file ─► sync the file ─► go on
 *
 *           It is written past SQLite, under its lock of checkpoints, and
 *           only over the mark before it: a log that started over would have
 *           put a newer one there.  Nobody looks without the lock: a
 *           checkpoint may be about to write closed(X).  Whoever reads page 3
 *           by SQL sees one of both, which nobody does but a check.  The two
 *           syncs are needed once after a second without writes, at most.
 *
 * What a connection knows about the mark holds until another one has
 * committed, so nothing of this costs a transaction anything.
 *
 * - A connection that finds an open mark which this process has not seen in
 *   the file looks there: who opened it may have been killed before it wrote.
 * - Another program may have let the log start over by itself.  Then the mark
 *   is open, and not in the log; that is treated as if it were closed.  So
 *   whoever sees that others have committed, or the log for the first time,
 *   looks for it there: it stands among the first pages.  Until our next
 *   transaction the log has no mark, or is empty; who is killed just then
 * leaves a file that is refused.
 *
 * Ending: in a transaction of its own, without a sync; a checkpoint syncs.
 * Then the header of the log's index is noted, under SQLite's lock of writers
 * and only where the mark still says so.  While it is the same the log may
 * start over.  So no log is cut off in which something was committed after its
 * end; and every log begins with a mark.
 *
 * Both may use the reserve of space (reserve.h): what frees space begins and
 * ends with them.
 *
 * Locks: SQLite's lock of writers, then that of checkpoints, never waiting for
 * the second with the first.
 */

#ifndef SQLBLOCK_MARKING_H
#define SQLBLOCK_MARKING_H

#include <stdbool.h>

#include "sqlite/connection.h"
#include "sqlite/log-format.h"
#include "sqlite/mark.h"
#include "status.h"

/* Begin a write transaction with the mark open; a file that is being made has
 * no log, and none.  Waits for locks.  Returns 0, or -1 with no transaction.
 * Thread rules, here and below: those of the connection.
 */
int marking_begin (struct connection *connection, struct status *status);

/* The log as it was ended. */
struct marking_end {
  unsigned char header[LOG_INDEX_HEADER];

  /* Where that was said in the file alone, what stood there before. */
  bool closed;
  struct mark before;
};

/* Have the last transaction in the log be a mark of STATE, MARK_ENDED or
 * MARK_CLOSED, and note that in END.  Closed is ended, too.  Returns 0, or -1:
 * EBUSY where others go on committing.
 */
int marking_end_log (struct connection *connection, enum mark_state state,
                     struct marking_end *end, struct status *status);

/* Is it one that is closed already?  Returns 1 and notes that in END, 0, or
 * -1.
 */
int marking_is_closed (struct connection *connection, struct marking_end *end,
                       struct status *status);

/* Note in END the log as it is. */
int marking_note (struct connection *connection, struct marking_end *end,
                  struct status *status);

/* Where there is no room in the log for a mark that closes it, have the file
 * say that it is closed, and note in END the log of which it has everything:
 * fails where it has not.  Then the log must go at once.  Who commits meanwhile
 * does not look into the file again; so if the log has not gone it must be
 * opened in the file again, which the second does.  In between a kill leaves a
 * log that fits; only if that is lost as well, nobody notices what was
 * committed then.
 */
int marking_close_in_file (struct connection *connection,
                           struct marking_end *end, struct status *status);
int marking_reopen_in_file (struct connection *connection,
                            struct marking_end *end, struct status *status);

/* The log may start over on this connection, as long as it is as END says; or
 * it goes when the connection is closed, if that is the last one.
 */
int marking_permit_restart (struct connection *connection,
                            const struct marking_end *end,
                            struct status *status);
int marking_permit_close (struct connection *connection,
                          const struct marking_end *end, struct status *status);

/* Give the database, which is complete without a log, a new mark that is
 * closed, and a counter of its schema by which no copy is known (mark.h).
 */
int marking_renew (struct connection *connection, struct status *status);

/* The same for a copy by SQLite's backup API, unless somebody else has done it.
 * The log then begins with that.
 */
int marking_adopt (struct connection *connection, struct status *status);

#endif /* SQLBLOCK_MARKING_H */
