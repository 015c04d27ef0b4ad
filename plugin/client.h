/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A client of an export: a disk, a snapshot or an increment, whether it may
 * have that, and beside whom.
 *
 *   allow=      looked at before the disk is opened, so that nothing tells who
 *               is not let in that there is one; and again for what was opened,
 *               as names can change in between
 *   exclusive=  when it is open, since only then is it known who may write
 *
 * Older connections of the same attachment (fence.h) are fenced off last.
 */

#ifndef SQLBLOCK_CLIENT_H
#define SQLBLOCK_CLIENT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "access.h"
#include "fence.h"
#include "limits.h"
#include "manage.h"
#include "peer.h"
#include "status.h"
#include "store.h"

struct nbdkit_exports;
struct server_place;

/* What a server serves. */
struct served {
  struct store *store;
  const char *only; /* this disk, with what belongs to it; NULL: all */
  bool snapshots;   /* are listed, too */
  bool shared;      /* other servers may write the same disks */
  bool has_key;     /* for encrypted disks */
};

/* A client of the disk DISK, or of an increment that ends with it; or of what
 * is told of the disk TOLD, and then there is no DISK: the export DISK/lineage,
 * for who has attached that (base/lineage.h), which no list has.
 */
struct client {
  struct disk *disk;
  char *told;                     /* or NULL */
  struct lineage first;           /* what it was told when it came */
  atomic_uint_fast64_t next_turn; /* to be told, a time of clock_now */
  struct increment *increment;    /* or NULL */
  struct peer peer;
  struct attached attached; /* or none */
  struct place place;
  struct limits *limits;
  struct server_place *seen; /* where "sqlblock status" sees it, or NULL */
  bool counted;              /* as one that has a disk attached */
  bool alone;                /* more connections of it would be refused */
};

/* See on what this process listens already, when nbdkit has loaded the plugin.
 */
void client_begin (void);

/* The client whose callback this is opens the export NAME, "" for the default
 * one; for NULL a filter does, which is nobody.  Returns NULL on failure, as
 * disk_open; ENOENT where it is not let in.  Thread rules, here and below: the
 * callback's.
 */
struct client *client_open (const struct served *served, const char *name,
                            bool readonly, struct status *status);
void client_close (struct client *client);

/* Is it to follow a disk that grows, without connecting again?  Who attaches is
 * told the size by the export DISK/lineage, and asks for nothing behind it.
 */
bool client_may_grow (const struct client *client);

/* Write what is told now to TEXT, with zeroes behind it; this is no request of
 * the disk (limits.h), so that each client is told 100 times a second at most.
 * Returns 0, or -1: also ENOENT where the client is not let in any more.
 */
int client_tell (const struct served *served, struct client *client,
                 char text[LINEAGE_TEXT], struct status *status);

/* Find the oldest disk, the default export, for the client whose callback this
 * is.  Returns 0, or -1, as client_open.
 */
int client_find_default (const struct served *served, struct disk_info *info,
                         struct status *status);

/* Tell nbdkit's list which exports there are for the client whose callback this
 * is.  Returns 0, or -1.
 */
int client_list (const struct served *served, struct nbdkit_exports *exports,
                 struct status *status);

#endif /* SQLBLOCK_CLIENT_H */
