/* A pool of read connections.
 *
 * A request takes a connection for as long as it reads, in one read
 * transaction in which it first looks up what the disk is now: so it never
 * mixes two states.  Connections are opened as they are needed, up to a
 * bound; then requests wait for one to come back.  The one used last goes
 * out first: its page cache is warm.
 */

#ifndef SQLBLOCK_READER_H
#define SQLBLOCK_READER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "connection.h"
#include "disks.h"
#include "layers.h"
#include "place.h"
#include "status.h"

/* nbdkit runs 16 threads for each client. */
#define READERS_MAX 16

struct reader {
  struct connection connection;
  struct view view;
  struct reader *next;
};

struct reader_pool {
  struct place *place;
  enum connection_mode mode;
  struct patience *patience;

  pthread_mutex_t lock; /* of what follows; a leaf */
  pthread_cond_t returned;
  struct reader *idle;
  size_t open; /* connections, idle or not */
};

/* Set up a pool for the database at PLACE, which must outlive it.  The first
 * connection is opened and checks the database (see database_open).
 * Returns 0, or -1 with nothing left open.
 */
int reader_pool_open (struct reader_pool *pool, struct place *place,
                      struct patience *patience, struct status *status);

/* Close all connections, none of which is in use. */
void reader_pool_close (struct reader_pool *pool);

/* Take a connection, in a read transaction, or NULL; give it back with
 * reader_return.  Thread rules: any thread; the reader is the caller's.
 */
struct reader *reader_take (struct reader_pool *pool, struct status *status);
void reader_return (struct reader_pool *pool, struct reader *reader);

/* As reader_take, with reader->view showing DISK. */
struct reader *reader_take_disk (struct reader_pool *pool,
                                 const struct disk_info *disk,
                                 struct status *status);

#endif /* SQLBLOCK_READER_H */
