/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What store.c, write-side.c, work.c and disk.c share: a store, and who
 * writes to its disks. Returns and thread rules are those of engine.h.
 */

#ifndef SQLBLOCK_STORE_PARTS_H
#define SQLBLOCK_STORE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/checkpointer.h"
#include "engine/connections.h"
#include "engine/flusher.h"
#include "engine/keyring.h"
#include "engine/reader.h"
#include "engine/writer.h"
#include "store.h"

struct held;
struct remote;

struct store {
  struct remote *remote; /* not NULL: a server's, and nothing else is open */

  struct connections connections;
  struct store_options options;
  struct reader_pool readers;
  struct statistics *statistics; /* or NULL */

  struct keyring keyring;

  pthread_mutex_t lock; /* of `held`, and of opening the write side */
  struct held *held;

  int tells; /* guard_tell_bound, or -1 */

  /* The write side; once `writable` is true it stays. */
  bool writable;
  int serving; /* a guard */
  bool served; /* others did when this began */
  struct writer writer;
  struct flusher flusher;
  struct checkpointer checkpointer;

  uint64_t teller; /* its number among those who told (lineage.h), or 0; the
                      leader's */
  atomic_uint_fast64_t told_commits; /* how many there were when it told */
};

/* Is this how a file or medium that may only be read answers? */
bool store_may_only_read (const struct status *status);

/* Have the write side open.  Where only the place of the database is not right,
 * it fails with EROFS.
 */
int store_need_write_side (struct store *store, struct status *status);

/* Close it, with the checkpointer stopped and no reader left. */
void store_close_write_side (struct store *store);

/* Find the disk whose id is in INFO; ENOENT where it is gone. */
int store_find_id (struct store *store, struct disk_info *info,
                   struct status *status);

#endif /* SQLBLOCK_STORE_PARTS_H */
