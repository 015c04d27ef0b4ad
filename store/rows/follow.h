/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Following rows: what else must change when a row of block does.
 *
 * While something in the database has to keep up with the rows of block,
 * the connection that writes them has temporary triggers, so that no place
 * that inserts, changes or deletes rows can forget it.  Without such a
 * need there are none, and nothing is slower.
 *
 *   need               trigger
 *   counted has rows   keeps counted.bytes exact, for the rows of block
 *                      whose number is below counted.number
 *   content has rows,  deletes a row of content with the last row of block
 *   or a disk may      that refers to it, and adds its length to
 *   make some          connection.content_freed
 *
 * The triggers stand in the connection's own temporary schema, never in the
 * file, whose triggers stay switched off.  They are made and dropped inside
 * write transactions, which undo that when they are rolled back.  What the
 * connection knows about them holds until the database is changed by
 * another one or in another way than by writing blocks.
 *
 * Counting where rows are changed would be no simpler: that is at some ten
 * places, which delete whole ranges, and each would have to read first what a
 * trigger is handed.
 */

#ifndef SQLBLOCK_FOLLOW_H
#define SQLBLOCK_FOLLOW_H

#include <stdbool.h>

#include "sqlite/connection.h"
#include "status.h"

struct follow {
  bool known;       /* `counting` holds, unless the database was changed */
  bool counting;    /* there are rows in counted */
  unsigned version; /* SQLite's, of the database's state */
};

/* A write transaction has begun: make the connection's triggers those that
 * the database needs.  *CHANGED says whether something else than the caller
 * may have changed the database since follow_end.  Returns 0, or -1.
 */
int follow_begin (struct follow *follow, struct connection *connection,
                  bool *changed, struct status *status);

/* The same in the middle of a transaction, after something that may have
 * changed the need.
 */
int follow_again (struct follow *follow, struct connection *connection,
                  struct status *status);

/* The transaction has ended; COMMITTED says how. */
void follow_end (struct follow *follow, struct connection *connection,
                 bool committed);

/* What the data of the row ROW (a table's name, NEW or OLD) counts for, in
 * bytes, as an SQL expression.
 */
#define FOLLOW_BYTES(row)                                                      \
  "CASE " row ".codec WHEN 4 THEN ifnull ((SELECT length (content.data)"       \
  " FROM content WHERE content.id = " row ".content), 0)"                      \
  " ELSE ifnull (length (" row ".data), 0) END"

#endif /* SQLBLOCK_FOLLOW_H */
