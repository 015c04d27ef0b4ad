/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Locks in memory: see process-locks.h. */

#include <config.h>

#include <stdlib.h>

#include "base/grow.h"
#include "sqlite/process-locks.h"

void
process_locks_init (struct process_locks *locks)
{
  *locks = (struct process_locks){ .readers = 0 };
  pthread_mutex_init (&locks->lock, NULL);
}

static void
free_index (struct process_locks *locks)
{
  for (int i = 0; i < locks->region_count; i++)
    free (locks->regions[i]);
  free (locks->regions);
  locks->regions = NULL;
  locks->region_count = 0;
}

void
process_locks_destroy (struct process_locks *locks)
{
  free_index (locks);
  pthread_mutex_destroy (&locks->lock);
}

/*--------------------------------------------------------------------
 * The database.
 */

/* May HOLDER have LEVEL?  Called with the lock held. */
static bool
may_have (const struct process_locks *locks,
          const struct process_holder *holder, int level)
{
  if (locks->exclusive && locks->exclusive != holder)
    return false;
  if (level >= SQLITE_LOCK_RESERVED && locks->reserved &&
      locks->reserved != holder)
    return false;
  return level < SQLITE_LOCK_EXCLUSIVE ||
         locks->readers == (holder->level >= SQLITE_LOCK_SHARED);
}

int
process_locks_raise (struct process_locks *locks, struct process_holder *holder,
                     int level)
{
  int rc = SQLITE_BUSY;

  if (holder->level >= level)
    return SQLITE_OK;
  pthread_mutex_lock (&locks->lock);
  if (may_have (locks, holder, level)) {
    if (holder->level == SQLITE_LOCK_NONE)
      locks->readers++;
    if (level >= SQLITE_LOCK_RESERVED)
      locks->reserved = holder;
    if (level == SQLITE_LOCK_EXCLUSIVE)
      locks->exclusive = holder;
    holder->level = level;
    rc = SQLITE_OK;
  }
  pthread_mutex_unlock (&locks->lock);
  return rc;
}

int
process_locks_lower (struct process_locks *locks, struct process_holder *holder,
                     int level)
{
  if (holder->level <= level)
    return SQLITE_OK;
  pthread_mutex_lock (&locks->lock);
  if (locks->exclusive == holder)
    locks->exclusive = NULL;
  if (locks->reserved == holder)
    locks->reserved = NULL;
  if (level == SQLITE_LOCK_NONE)
    locks->readers--;
  holder->level = level;
  pthread_mutex_unlock (&locks->lock);
  return SQLITE_OK;
}

bool
process_locks_reserved (struct process_locks *locks)
{
  bool reserved;

  pthread_mutex_lock (&locks->lock);
  reserved = locks->reserved != NULL;
  pthread_mutex_unlock (&locks->lock);
  return reserved;
}

/*--------------------------------------------------------------------
 * The index of the log.
 */

int
process_locks_map (struct process_locks *locks, struct process_holder *holder,
                   int region, int size, int extend, void volatile **memory)
{
  int rc = SQLITE_OK;
  void **regions, *added;

  *memory = NULL;
  pthread_mutex_lock (&locks->lock);
  if (!holder->maps)
    locks->maps++;
  holder->maps = true;
  while (rc == SQLITE_OK && extend && region >= locks->region_count) {
    regions = grow (locks->regions, locks->region_count, sizeof *regions);
    if (regions)
      locks->regions = regions;
    added = regions ? calloc (1, size) : NULL;
    if (added)
      regions[locks->region_count++] = added;
    else
      rc = SQLITE_IOERR_NOMEM;
  }
  if (region < locks->region_count)
    *memory = locks->regions[region];
  pthread_mutex_unlock (&locks->lock);
  return rc;
}

static void
release_index (struct process_locks *locks, struct process_holder *holder,
               unsigned mask)
{
  for (int i = 0; i < SQLITE_SHM_NLOCK; i++) {
    if (holder->alone & mask & 1U << i)
      locks->index[i] = 0;
    if (holder->shared & mask & 1U << i)
      locks->index[i]--;
  }
  holder->alone &= ~mask;
  holder->shared &= ~mask;
}

/* Take the locks of MASK, which HOLDER does not have.  Returns a result. */
static int
take_index (struct process_locks *locks, struct process_holder *holder,
            unsigned mask, bool shared)
{
  for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
    if (mask & 1U << i &&
        (shared ? locks->index[i] == -1 : locks->index[i] != 0))
      return SQLITE_BUSY;
  for (int i = 0; i < SQLITE_SHM_NLOCK; i++)
    if (mask & 1U << i)
      locks->index[i] = shared ? locks->index[i] + 1 : -1;
  *(shared ? &holder->shared : &holder->alone) |= mask;
  return SQLITE_OK;
}

int
process_locks_index (struct process_locks *locks, struct process_holder *holder,
                     int offset, int count, int flags)
{
  const unsigned mask = (1U << (offset + count)) - (1U << offset);
  const unsigned missing = mask & ~(holder->shared | holder->alone);
  int rc = SQLITE_OK;

  pthread_mutex_lock (&locks->lock);
  if (flags & SQLITE_SHM_UNLOCK)
    release_index (locks, holder, mask);
  else if (!(flags & SQLITE_SHM_SHARED) && mask & holder->shared)
    rc = SQLITE_BUSY; /* SQLite never does that */
  else
    rc = take_index (locks, holder, missing, flags & SQLITE_SHM_SHARED);
  pthread_mutex_unlock (&locks->lock);
  return rc;
}

void
process_locks_unmap (struct process_locks *locks, struct process_holder *holder)
{
  pthread_mutex_lock (&locks->lock);
  release_index (locks, holder, ~0U);
  if (holder->maps && --locks->maps == 0)
    free_index (locks);
  holder->maps = false;
  pthread_mutex_unlock (&locks->lock);
}
