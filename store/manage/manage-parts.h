/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Managing in steps: what the threads of a server do of manage.h, between the
 * requests of clients.  Returns and thread rules are as there.
 */

#ifndef SQLBLOCK_MANAGE_PARTS_H
#define SQLBLOCK_MANAGE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/failed.h"
#include "engine/writer.h"
#include "manage.h"
#include "sqlite/shrink.h"

/* One step of manage_count, which passes by the layers in FAILED, and puts one
 * there that it cannot read; *DONE says whether nothing is left but those.
 */
int manage_count_step (struct store *store, struct failed_layers *failed,
                       bool *done, uint64_t *bytes, struct status *status);

/* One step of manage_reclaim; *DONE says whether nothing is left. */
int manage_reclaim_step (struct store *store, bool *done, uint64_t *freed,
                         struct status *status);

/* Giving free pages back to the file system; see shrink.h. */
struct shrinking {
  uint64_t many;        /* from this many free pages on they are many */
  uint64_t keep;        /* pages that stay free */
  uint64_t nanoseconds; /* that a step takes */
  uint64_t most;        /* pages that one transaction moves */
  uint64_t moves;       /* all go at once if at most this many move */
  uint64_t cut;         /* the list is in order for pages behind this one */
  uint64_t least;       /* since then at least this many were free */
  bool done;            /* all have gone at once */
  struct shrink_pages pages;
};

/* At most this many pages move at once, which takes a twentieth of a second;
 * more if nobody seems to wait; and most where there is no server.
 */
#define MANAGE_MOVES       2048
#define MANAGE_MOVES_IDLE  8192
#define MANAGE_MOVES_ALONE 65536

int manage_free_pages (struct store *store, struct shrink_pages *pages,
                       struct status *status);

/* Have many pages become free since the list of them was put in order? */
bool manage_free_grow (const struct shrinking *shrinking);

/* One step, for shrinking->pages that were looked at; looks at them again.
 * Where all go at once, none are kept.
 */
int manage_shrink_step (struct store *store, struct shrinking *shrinking,
                        struct status *status);

/* Inside the transaction that deletes SNAPSHOT of the database PATH: keep
 * others from opening it.  *GUARD is as that of guard_delete_snapshot, to be
 * released after the commit.  Returns 0, or -1: EBUSY, with the reader's name,
 * where somebody has it open.
 */
int manage_keep_readers_out (const char *path,
                             const struct snapshot_info *snapshot, int *guard,
                             struct status *status);

/* What a new disk is to be that comes in as INCOMING says; how it is stored is
 * not said.  And a check of that.  Returns 0, or -1: EINVAL.
 */
struct disk_options
manage_incoming_options (const struct manage_incoming *incoming);
int manage_check_incoming (const struct manage_incoming *incoming,
                           struct status *status);

struct request;

/* Make the change of REQUEST (request.h), or with ONLY_TRY fail as it would
 * fail; again where it deletes a snapshot that somebody reads.
 */
int manage_change (struct store *store, bool only_try, struct request *request,
                   struct status *status);

/* Delete the disk that REQUEST names, or only try, as manage_delete. */
int manage_delete_requested (struct store *store, bool only_try,
                             struct request *request, struct status *status);

/* Take the guard of the disk that the target of REQUEST names, which becomes
 * the only one that it may change.  With FORCE it goes on without the guard,
 * and *GUARD is -1.
 */
int manage_guard_target (struct store *store, struct request *request,
                         bool force, int *guard, struct status *status);

/* Changes that several of are made at once (group.c): what each is told is a
 * struct request.
 */
extern const writer_change manage_delete_change;
extern const writer_change manage_snapshot_change;
extern const writer_change manage_rollback_change;
extern const writer_change manage_clone_change;

/* Inside a transaction: hold the snapshot that REQUEST names, or RELEASE it. */
int manage_change_hold (struct connection *connection, struct request *request,
                        const char *tag, bool release, struct status *status);

#endif /* SQLBLOCK_MANAGE_PARTS_H */
