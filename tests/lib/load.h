/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A random load on a store, watched from below and from above.
 *
 * Below the store the shim records what reaches the files.  Above it a
 * model knows what the disk must contain.  And in between: whenever a
 * write transaction gives up its lock, while no other can begin, the whole
 * disk is read.  So the states of the disk are known in the order of the
 * commits:
 *
 *   requests   ──A──┐    ┌─B─┐
 *                ┌──C──┐ └───┼─D──┐
 *   states    0      1  2         3         2: all of C, B and D not yet
 *   events    .........................     what reached the files
 *   promises              FLUSH: from here on, at least 2
 *
 * Each state must follow from the one before by whole requests; this is
 * checked at once.  Requests in flight do not overlap, but share blocks.
 *
 * A manager (manager.h) may take snapshots, clone, roll back and so on
 * meanwhile.  Then a state is that of all disks and snapshots, and it must
 * follow from the one before by whole requests and operations.
 */

#ifndef SQLBLOCK_TESTS_LOAD_H
#define SQLBLOCK_TESTS_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "medium.h"
#include "things.h"

/* The disk: small, so that requests meet, and not of whole blocks. */
#define LOAD_DISK   "d"
#define LOAD_BLOCKS 96

/* What the store contained at one time. */
struct state {
  size_t event;  /* how many events there were when it was seen */
  uint64_t hash; /* of all: */
  uint64_t disk;
  uint64_t others;              /* disks and snapshots */
  uint64_t blocks[LOAD_BLOCKS]; /* hashes of the disk's blocks */
};

/* From EVENT on, what is found after a cut is STATE or later. */
struct promise {
  size_t event;
  size_t state;
};

struct history {
  uint32_t block_size;
  uint64_t size; /* of the disk */
  char *model;   /* what it contains now */
  struct things others;

  struct event *events;
  size_t events_count, events_capacity;
  struct state *states;
  size_t states_count, states_capacity;
  struct promise *promises;
  size_t promises_count, promises_capacity;

  struct {
    uint64_t requests, operations, flushes, reads;
    uint64_t syncs, failed_syncs, failed_writes, rewrites;
  } total;
};

/* How the store is broken on purpose, to see that it is noticed. */
enum broken {
  BROKEN_NOTHING,
  BROKEN_FLUSH,      /* the log is not synced */
  BROKEN_CHECKPOINT, /* the database is not synced */
  BROKEN_DATABASE,   /* writes to the database wait for its next sync */
  BROKEN_HEADERS,    /* rewrites of frame headers wait for the log's */
  BROKEN_COMMIT,     /* writes to the log wait for the next one */
  BROKEN_FORGET,     /* what was gathered is not dropped by a rollback */
  BROKEN_CHANGE,     /* what manages disks does not flush */
  BROKEN_RECLAIM,    /* a step of reclaiming deletes one row too many */
  BROKEN_SNAPSHOT,   /* snapshots of two disks: two transactions */
};

struct load_options {
  bool managed;       /* there is a manager */
  bool commands;      /* a manager uses commands only; only their syncs fail */
  bool shared;        /* two servers write the disk */
  bool durable;       /* what is acknowledged is promised */
  bool pinned;        /* another program keeps read transactions open */
  int failing_syncs;  /* percent of the syncs that fail */
  int failing_writes; /* percent of the writes that do, half of the time */
  int failing_reads;  /* percent of the reads, when something is changed */
  int requests;       /* of each client between two starts of the store */
  enum broken broken;
  const struct secret *secrets; /* of encrypted disks */
};

/* A history that begins with an empty disk. */
void history_init (struct history *history, uint32_t block_size);
void history_free (struct history *history);

/* The state in which the disk has these CONTENTS. */
void state_of (const struct history *history, const char *contents,
               const struct things *others, struct state *state);

/* Let the shim call the load's hooks.  Once, before any connection. */
void load_install (void);

/* Run a load on the database PATH, and go on with its HISTORY.  The store
 * is started several times.
 */
void load_run (struct history *history, const char *path,
               const struct load_options *options, uint64_t *random);

/* Record in HISTORY what WORK does to the database PATH, which nobody else
 * has, and nothing but that: no states.  Returns what it returns.
 */
int load_record (struct history *history, const char *path,
                 const struct load_options *options, uint64_t *random,
                 int (*work) (const char *path, struct status *status),
                 struct status *status);

#endif /* SQLBLOCK_TESTS_LOAD_H */
