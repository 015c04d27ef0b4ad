/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A request to manage.h: what is asked for, and what its target was found to
 * name.
 *
 * A change is a function that runs inside a transaction and is told in this
 * struct what to do.  The target is found inside of it, so it is the one that
 * is changed.
 */

#ifndef SQLBLOCK_REQUEST_H
#define SQLBLOCK_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/writer.h"
#include "manage.h"
#include "sqlite/connection.h"
#include "status.h"

struct request {
  const char *path;
  const char *target;
  struct disk_info disk;         /* that TARGET names */
  struct snapshot_info snapshot; /* that TARGET names, or one of id 0 */

  int64_t trashed; /* instead of a target: the id of a disk in the trash */
  const struct trashed_disk *listed; /* NULL, or as what it must be there yet */
  int64_t only; /* the id of the disk that may be changed, or 0: any */
  const struct disk_options *options;
  const char *name;
  const char *const *targets;
  size_t count;
  bool snapshots, force;
  int guard;   /* keeps others from reading what is deleted, or -1 */
  int64_t pin; /* the snapshot that pins what the target shows */

  /* A disk that is deleted may go there, and then this tells; or NULL. */
  struct trashed_disk *to_trash;

  /* For a change that is only tried. */
  writer_change change;
  bool would;
};

/* Find what the target names.  Returns 0, or -1, as those below. */
int request_find_target (struct connection *connection, struct request *request,
                         struct status *status);

/* The target must be a disk. */
int request_find_disk (struct connection *connection, struct request *request,
                       struct status *status);

/* The target must be a snapshot, under its name or, with TIMES, a time. */
int request_find_snapshot (struct connection *connection,
                           struct request *request, bool times,
                           struct status *status);

#endif /* SQLBLOCK_REQUEST_H */
