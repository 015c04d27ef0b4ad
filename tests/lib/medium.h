/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The disk under the file system: what a power cut leaves of a database.
 *
 * A test records what is done to the database and its write-ahead log as
 * events, in their order, and replays them here.  The medium knows what is
 * on the disk for sure, since a sync came after it, and what may be:
 *
 *   event          sure to be there          may be there
 *   write A                                  A
 *   write B                                  A, B
 *   sync           A, B
 *   write C        A, B                      C
 *   (cut)
 *
 * A cut makes files as they may be found afterwards.  What was not synced
 * is there or not, each part by itself: so writes are lost, and kept out
 * of order; a torn one in parts of 512 bytes.  The same goes for changes of
 * a file's size, and for the creation and deletion of the log before its
 * directory is synced.
 *
 * A sync that fails leaves what it should have written in doubt for good,
 * as Linux does: no later sync covers it, only writing it again helps.
 */

#ifndef SQLBLOCK_TESTS_MEDIUM_H
#define SQLBLOCK_TESTS_MEDIUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim.h"

enum event_kind {
  EVENT_WRITE,
  EVENT_TRUNCATE,
  EVENT_SYNC,
  EVENT_FAILED_SYNC,
  EVENT_CREATE, /* this and the next: of the log */
  EVENT_DELETE,
  EVENT_DIRECTORY_SYNC,
};

struct event {
  enum event_kind kind;
  enum shim_file file; /* the database or the log */
  uint64_t offset;     /* in bytes; EVENT_TRUNCATE: the new size */
  size_t count;        /* of bytes written */
  char *data;          /* the bytes written */
  size_t begin;        /* of syncs: how many events there were before it
                        * began; it covers those */
};

/* A cut: how likely, in percent, a change that was not synced is there. */
struct cut {
  int keep[SHIM_FILES];
  bool torn;
};

/* All is there: what the death of a process leaves. */
extern const struct cut cut_nothing;

struct medium;

/* Begin with the files of the database PATH, all of it sure to be there. */
struct medium *medium_new (const char *path);
void medium_free (struct medium *medium);

/* Replay event NUMBER (they count on from one call to the next). */
void medium_replay (struct medium *medium, const struct event *event,
                    size_t number);

/* Make the files that a cut leaves at PATH, by RANDOM (see random_next);
 * what stands there is replaced.
 */
void medium_cut (const struct medium *medium, const struct cut *cut,
                 uint64_t *random, const char *path);

#endif /* SQLBLOCK_TESTS_MEDIUM_H */
