/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Opening the connections of a store: see connections.h. */

#include <config.h>

#include <pthread.h>

#include "engine/connections.h"
#include "rows/database.h"
#include "rows/formats.h"
#include "sqlite/files.h"
#include "sqlite/mark.h"
#include "sqlite/marking.h"

/* How long to wait for a lock to remove a log, in milliseconds. */
#define REMOVE_WAIT 100

int
connections_find (struct connections *connections, const char *path,
                  const struct store_options *options, struct status *status)
{
  if (place_find (&connections->place, path, options->warn, status) == -1)
    return -1;
  if (options->fenced &&
      place_watch_lock (&connections->place, options->fenced, status) == -1) {
    place_free (&connections->place);
    return -1;
  }
  connections->reading = CONNECTION_READ;
  pthread_mutex_init (&connections->damaged.lock, NULL);
  connections->damaged.count = 0;
  patience_init (&connections->patience);
  if (options->tolerant)
    connections->patience.damaged = &connections->damaged;
  connections->patience.without_log = options->without_log;
  return 0;
}

void
connections_free (struct connections *connections)
{
  patience_destroy (&connections->patience);
  pthread_mutex_destroy (&connections->damaged.lock);
  place_free (&connections->place);
}

/* Is it the right file that was opened? */
static int
check_opened (struct connections *connections, struct connection *connection,
              struct status *status)
{
  if (place_check (&connections->place, status) == 0)
    return 0;
  connection_close (connection);
  return -1;
}

int
connections_open (struct connections *connections,
                  struct connection *connection, enum connection_mode mode,
                  struct status *status)
{
  struct place *place = &connections->place;

  /* The first one finds out whether the file may have several names. */
  if (mode != CONNECTION_READ && place_check (place, status) == -1)
    return -1;
  if (database_open (connection, place->path, mode, &connections->patience,
                     status) == -1)
    return -1;
  if (mode == CONNECTION_READ) {
    connections->reading = connection->mode;
    if (connections->reading == CONNECTION_IMMUTABLE)
      place_allow_links (place);
  }
  return check_opened (connections, connection, status);
}

int
connections_open_another (struct connections *connections,
                          struct connection *connection,
                          enum connection_mode mode, uint64_t asked,
                          struct status *status)
{
  struct place *place = &connections->place;

  if (place_check (place, status) == -1 ||
      connection_open_asked (connection, place->path, mode,
                             &connections->patience, asked, status) == -1)
    return -1;
  if (mode == CONNECTION_READ &&
      formats_show_older (connection, status) == -1) {
    connection_close (connection);
    return -1;
  }
  return check_opened (connections, connection, status);
}

int
connections_open_reader (struct connections *connections,
                         struct connection *connection, uint64_t asked,
                         struct status *status)
{
  return connections->reading == CONNECTION_IMMUTABLE
             ? connections_open (connections, connection, CONNECTION_IMMUTABLE,
                                 status)
             : connections_open_another (connections, connection,
                                         CONNECTION_READ, asked, status);
}

/* Is the file complete without a log?  Returns 1 and notes that in END.  One of
 * format 4 without a mark is, when its log is empty.
 */
static int
is_closed (struct connection *connection, const char *path,
           struct marking_end *end, struct status *status)
{
  struct mark_look look;

  if (mark_look (path, &look, status) == -1)
    return -1;
  if (!look.unmarked)
    return marking_is_closed (connection, end, status);
  return connection_touch (connection, status) == 0 &&
         marking_note (connection, end, status) == 0 &&
         files_size (path, "-wal") == 0;
}

/* Nobody wrote, so nobody has to be waited for but who does the same, and what
 * cannot be read is left as it is: without patience.
 */
void
connections_remove_empty_log (struct connections *connections)
{
  const char *path = connections->place.path;
  struct connection connection;
  struct marking_end end;
  struct status ignored;

  if (connections->reading != CONNECTION_READ ||
      files_size (path, "-wal") != 0 ||
      place_check (&connections->place, &ignored) == -1 ||
      connection_open (&connection, path, CONNECTION_WRITE, NULL, &ignored) ==
          -1)
    return;
  connection.longest_wait = REMOVE_WAIT;
  if (is_closed (&connection, path, &end, &ignored) == 1)
    marking_permit_close (&connection, &end, &ignored);
  connection_close (&connection);
}
