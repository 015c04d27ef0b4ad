/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Has a server still its lock on a cluster: see lease.h. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/background.h"
#include "base/clock.h"
#include "cluster/lease.h"
#include "cluster/rados.h"

/* How often to look, and how long an answer holds: less than the lock, which
 * ends 30 s after it was renewed.
 */
#define LOOK_EVERY (2 * CLOCK_SECOND)
#define HOLDS      (6 * CLOCK_SECOND)

/* How long to wait for an answer, in seconds: as long as the lock lasts. */
#define ANSWER 30

struct lease {
  const char *path;
  const char *client; /* this process */
  struct rados_session *session;
  void (*fenced) (const char *message);
  struct background background;

  pthread_mutex_t lock; /* held while one thread looks; of what follows */
  uint64_t failed;      /* when there was no answer, by time_now */
  char why[300];        /* why there was none, or how it was lost */
  atomic_bool lost;
  atomic_uint_fast64_t confirmed; /* when it was asked for what was right */
};

/* As clock_now, but it goes on while the machine is suspended, too. */
static uint64_t
time_now (void)
{
  struct timespec time;

  clock_gettime (CLOCK_BOOTTIME, &time);
  return time.tv_sec * CLOCK_SECOND + time.tv_nsec;
}

static bool
is_ours (const struct lease *lease, const struct rados_found *found)
{
  return found->held && strcmp (found->holder.client, lease->client) == 0;
}

/* Note that it is lost, to whom FOUND says; NULL: it is not known. */
static void
lose (struct lease *lease, const struct rados_found *found)
{
  if (found && found->held)
    snprintf (lease->why, sizeof lease->why, "%s has taken over %s",
              found->holder.address, lease->path);
  else
    snprintf (lease->why, sizeof lease->why,
              "this server's lock of %s was broken or has ended", lease->path);
  atomic_store (&lease->lost, true);
}

/* Look whose the lock is.  Called with the lock. */
static void
look (struct lease *lease)
{
  const uint64_t asked = time_now ();
  struct rados_found found;
  struct status status;

  if (atomic_load (&lease->lost))
    return;
  if (rados_look (lease->session, &found, &status) == 0) {
    if (is_ours (lease, &found))
      atomic_store (&lease->confirmed, asked);
    else
      lose (lease, &found);
  }
  else if (status.error == ESHUTDOWN)
    lose (lease, NULL);
  else {
    snprintf (lease->why, sizeof lease->why, "%.290s", status.message);
    lease->failed = time_now ();
  }
}

static void *
run (void *opaque)
{
  struct lease *lease = opaque;

  do {
    pthread_mutex_lock (&lease->lock);
    look (lease);
    pthread_mutex_unlock (&lease->lock);
    if (atomic_load (&lease->lost)) {
      lease->fenced (lease->why);
      break;
    }
  } while (background_sleep (&lease->background, LOOK_EVERY));
  return NULL;
}

static int
fail_lost (const struct lease *lease, struct status *status)
{
  status_fail (status, ESHUTDOWN, "%s: all requests fail", lease->why);
  status->known = true;
  return -1;
}

/* Was it right at NOW, or since; another thread may have asked meanwhile. */
static bool
is_fresh (struct lease *lease, uint64_t now)
{
  const uint64_t confirmed = atomic_load (&lease->confirmed);

  return confirmed >= now || now - confirmed < HOLDS;
}

/* Look now, unless another thread has done so meanwhile. */
static int
look_again (struct lease *lease, uint64_t now, struct status *status)
{
  int r = 0;

  pthread_mutex_lock (&lease->lock);
  if (!is_fresh (lease, now) && lease->failed < now)
    look (lease);
  if (!is_fresh (lease, now) && !atomic_load (&lease->lost))
    r = status_fail (status, EIO,
                     "it is not known whether this server still has its lock: "
                     "%s",
                     lease->why);
  pthread_mutex_unlock (&lease->lock);
  return r;
}

int
lease_check (struct lease *lease, struct status *status)
{
  const uint64_t now = time_now ();

  if (!atomic_load (&lease->lost) && !is_fresh (lease, now) &&
      look_again (lease, now, status) == -1)
    return -1;
  return atomic_load (&lease->lost) ? fail_lost (lease, status) : 0;
}

/* Connect, and see that this process has the lock now. */
static int
begin (struct lease *lease, struct status *status)
{
  struct rados_found found;
  int r;

  lease->session = rados_open (lease->path, ANSWER, status);
  if (lease->session == NULL)
    return -1;
  atomic_store (&lease->confirmed, time_now ());
  r = rados_look (lease->session, &found, status);
  if (r == 0 && !is_ours (lease, &found)) {
    lose (lease, &found);
    r = status_fail (status, ESHUTDOWN, "%s", lease->why);
  }
  if (r == -1)
    rados_close (lease->session);
  return r;
}

struct lease *
lease_start (const char *path, const char *client,
             void (*fenced) (const char *message), struct status *status)
{
  struct lease *lease = calloc (1, sizeof *lease);

  if (lease == NULL) {
    status_no_memory (status);
    return NULL;
  }
  lease->path = path;
  lease->client = client;
  lease->fenced = fenced;
  if (begin (lease, status) == 0) {
    pthread_mutex_init (&lease->lock, NULL);
    if (background_start (&lease->background, run, lease, status) == 0)
      return lease;
    pthread_mutex_destroy (&lease->lock);
    rados_close (lease->session);
  }
  free (lease);
  return NULL;
}

void
lease_stop (struct lease *lease)
{
  background_stop (&lease->background);
  pthread_mutex_destroy (&lease->lock);
  rados_close (lease->session);
  free (lease);
}
