/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A store that a server has open: its disks are managed through the server's
 * control socket (server/control.h), and the file is not opened here.
 *
 *   tool ──► manage_rename ──► remote_call ──socket──► server/control.c
 *                                                          │
 *              the same function, with the server's store ◄┘
 *
 * So commands are the same with a server's socket and without, and what they
 * ask for is done in one place.  A function that is not made for this fails
 * with ENOTSUP, since it finds no connection (remote_refuse).
 *
 * Contents of disks go over the socket, too, a piece at a time, with the lines
 * that ask for them.  The command alone reads and writes the files, pipes and
 * terminals of its user: no descriptor is passed, so the server can never wait
 * for one, needs no rights for it, and keeps none by mistake.
 *
 * Thread rules: one thread at a time; what a call calls back may make calls.
 */

#ifndef SQLBLOCK_REMOTE_H
#define SQLBLOCK_REMOTE_H

#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "base/types.h"
#include "engine/message.h"
#include "status.h"

struct remote;

/* Connect to the server whose control socket is SOCKET, which must serve the
 * database PATH.  Returns NULL on failure: ENOENT or ECONNREFUSED where there
 * is no server, EINVAL where it serves another database.
 */
struct remote *remote_open (const char *socket, const char *path,
                            struct status *status);
void remote_close (struct remote *remote);

/* What a call does besides. */
struct remote_more {
  /* While it runs; may be NULL.  Non-zero stops it, as progress_made says. */
  progress_made progress;
  void *opaque;

  /* Told of what it finds meanwhile, in JSON; may be NULL.  Non-zero stops it.
   */
  int (*found) (const json_t *json, void *found_opaque);
  void *found_opaque;

  /* Bytes that go with it, and that come with its reply. */
  const void *data;
  size_t data_length;
  void *buffer;
  size_t buffer_length;
  size_t *got; /* how many came, at most that many; NULL: all */
};

/* Have the server make the call TYPE with what is in VALUES, where its results
 * are put, also where it fails but has some.  What they point to is there until
 * the next call.  MORE may be NULL.  Returns what the function there has.
 */
int remote_call (struct remote *remote, const struct call_type *type,
                 void *values, const struct remote_more *more,
                 struct status *status);

/* Fail, for what does not work through a server. */
int remote_refuse (struct status *status);

/*--------------------------------------------------------------------
 * The calls of store.h.
 */

struct store_call {
  const char *name, *database, *version;
  struct disk_info info;
  uint32_t disk; /* the number of one that is open */
  bool readonly, one, anew;
  uint64_t offset, count, length; /* bytes */
  const struct disk_info *disks;
  size_t disk_count;
  const struct snapshot_info *snapshots;
  size_t snapshot_count;
  const struct message_range *extents;
  size_t extent_count;
};
extern const struct field store_fields[];

#define EACH_STORE_CALL(X)                                                     \
  X (store_open, "database version", "database")                               \
  X (store_list, "", "disks")                                                  \
  X (store_list_snapshots, "", "snapshots")                                    \
  X (store_find, "name?", "info")                                              \
  X (disk_open, "name", "disk info readonly")                                  \
  X (disk_close, "disk", "")                                                   \
  X (disk_read, "disk offset count", "")                                       \
  X (disk_fill, "disk offset count", "")                                       \
  X (disk_zero, "disk offset count", "")                                       \
  X (disk_read_packed, "disk offset count", "")                                \
  X (disk_measure_packed, "disk offset count", "length")                       \
  X (disk_fill_packed, "disk offset count anew", "")                           \
  X (disk_extents, "disk offset count one", "extents")

#define CALL_DECLARED(name, arguments, results)                                \
  extern const struct call_type call_##name;

EACH_STORE_CALL (CALL_DECLARED)

#endif /* SQLBLOCK_REMOTE_H */
