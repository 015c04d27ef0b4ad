/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The connections of a store: nobody else opens one.
 *
 *   reader.c                       CONNECTION_READ    as many as are needed
 *   writer.c                       CONNECTION_GATHER  one
 *   flusher.c, checkpointer.c      CONNECTION_LOG     one each
 *   who works beside requests      CONNECTION_WRITE   one for a while
 *
 * Here is what they share: the file and where it is, how long they wait for
 * locks, what they do about damaged pages, and whether the database is read
 * with its log.  The first connection of a store finds that out.
 *
 * SQLite opens what has the name of the file at that moment.  So the file is to
 * be in its place before a connection is opened and when it is open (place.h).
 */

#ifndef SQLBLOCK_CONNECTIONS_H
#define SQLBLOCK_CONNECTIONS_H

#include <stdint.h>

#include "sqlite/connection.h"
#include "sqlite/place.h"
#include "status.h"
#include "store.h"

struct connections {
  struct place place;
  struct patience patience;
  struct damaged_pages damaged;
  enum connection_mode reading; /* CONNECTION_READ or CONNECTION_IMMUTABLE */
};

/* Find the database PATH, of which none is opened yet.  Of OPTIONS counts what
 * store_open needs for that.  Returns 0, or -1.
 */
int connections_find (struct connections *connections, const char *path,
                      const struct store_options *options,
                      struct status *status);

/* All of them are closed. */
void connections_free (struct connections *connections);

/* Open CONNECTION, the first one for MODE, and check that the database is one
 * of ours that can be used so (database_open); the very first one is for
 * CONNECTION_READ.  Returns 0, or -1 with nothing left open.  Thread rules,
 * here and below: any thread.
 */
int connections_open (struct connections *connections,
                      struct connection *connection, enum connection_mode mode,
                      struct status *status);

/* The same beside others that are open, so that what is in the database need
 * not be checked again; for work that was asked for at a time of clock_now, or
 * at 0: now.
 */
int connections_open_another (struct connections *connections,
                              struct connection *connection,
                              enum connection_mode mode, uint64_t asked,
                              struct status *status);

/* The same to read.  Where that is without the log, it may be another database
 * by now, and is checked.
 */
int connections_open_reader (struct connections *connections,
                             struct connection *connection, uint64_t asked,
                             struct status *status);

/* A connection that only reads leaves the log's files behind, empty, which
 * people may take for something that is still to be kept: have them go, unless
 * others have them open.  For who has not written; all are closed.
 */
void connections_remove_empty_log (struct connections *connections);

#endif /* SQLBLOCK_CONNECTIONS_H */
