/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How much a disk may be used: see limits.h.
 *
 * A bucket is one number, the time until which it is paid for.  That lies at
 * most one second behind now, which is a full bucket; before now it has tokens,
 * behind it debts:
 *
 *      now - 1 s            now
 *   ──────┼──────────────────┼──────────────►
 *         full     paid ▲    empty     ▲ paid: wait until then
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/clock.h"
#include "base/values.h"
#include "limits.h"
#include "settings.h"

/* What a bucket holds at most, and how often the settings are looked at. */
#define BURST CLOCK_SECOND
#define LOOK  CLOCK_SECOND

/* The longest sleep: the settings may have changed. */
#define SLICE (100 * CLOCK_MILLISECOND)

struct bucket {
  atomic_uint_fast64_t rate; /* tokens a second; 0: no limit */
  uint64_t paid;
};

struct limits {
  struct limits *next;
  struct store *store;
  int64_t disk;
  unsigned users;
  atomic_uint_fast64_t look; /* when to look at the settings again */

  pthread_mutex_t lock; /* of both buckets; a leaf */
  struct bucket requests, bytes;
};

/* Those of all disks that are open; the lock is of them and their users. */
static struct limits *all;
static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;

/*--------------------------------------------------------------------
 * The settings.
 */

/* Read what NAME says. */
static int
read_rate (struct limits *limits, const char *name, uint64_t *rate,
           struct status *status)
{
  struct setting_value value;

  if (store_setting (limits->store, setting_find (name), limits->disk, &value,
                     status) == -1)
    return -1;
  return values_limit (value.text, rate, status);
}

/* Under another rate what was borrowed is forgotten. */
static void
set_rate (struct limits *limits, struct bucket *bucket, uint64_t rate)
{
  if (atomic_load (&bucket->rate) == rate)
    return;
  pthread_mutex_lock (&limits->lock);
  atomic_store (&bucket->rate, rate);
  bucket->paid = 0;
  pthread_mutex_unlock (&limits->lock);
}

static int
look (struct limits *limits, struct status *status)
{
  uint64_t requests, bytes;

  if (read_rate (limits, "limit-requests", &requests, status) == -1 ||
      read_rate (limits, "limit-bytes", &bytes, status) == -1)
    return -1;
  set_rate (limits, &limits->requests, requests);
  set_rate (limits, &limits->bytes, bytes);
  return 0;
}

/* Look again, if it is time; what cannot be read now stays as it was. */
static void
look_again (struct limits *limits, uint64_t now)
{
  uint_fast64_t due = atomic_load (&limits->look);
  struct status ignored;

  if (now >= due &&
      atomic_compare_exchange_strong (&limits->look, &due, now + LOOK))
    look (limits, &ignored);
}

/*--------------------------------------------------------------------
 * The limits of a disk.
 */

/* Forget whom nobody uses, when the buckets are full, or WHOLLY: who comes back
 * has the debts that he left.  With the lock of all.
 */
static void
forget_unused (uint64_t now, bool wholly)
{
  struct limits **link = &all, *limits;

  while ((limits = *link) != NULL)
    if (wholly || (limits->users == 0 && limits->requests.paid + BURST < now &&
                   limits->bytes.paid + BURST < now)) {
      *link = limits->next;
      pthread_mutex_destroy (&limits->lock);
      free (limits);
    }
    else
      link = &limits->next;
}

void
limits_end (void)
{
  forget_unused (0, true);
}

/* With the lock of all. */
static struct limits *
find_or_make (struct store *store, int64_t id)
{
  struct limits *limits = all;

  while (limits && limits->disk != id)
    limits = limits->next;
  if (limits)
    return limits;
  limits = calloc (1, sizeof *limits);
  if (limits == NULL)
    return NULL;
  limits->store = store;
  limits->disk = id;
  pthread_mutex_init (&limits->lock, NULL);
  limits->next = all;
  all = limits;
  return limits;
}

struct limits *
limits_open (struct store *store, int64_t id, struct status *status)
{
  struct status ignored;
  struct limits *limits;

  pthread_mutex_lock (&all_lock);
  forget_unused (clock_now (), false);
  limits = find_or_make (store, id);
  if (limits)
    limits->users++;
  pthread_mutex_unlock (&all_lock);
  if (limits == NULL) {
    status_no_memory (status);
    return NULL;
  }
  /* What is damaged limits nothing. */
  atomic_store (&limits->look, clock_now () + LOOK);
  look (limits, &ignored);
  return limits;
}

void
limits_close (struct limits *limits)
{
  pthread_mutex_lock (&all_lock);
  limits->users--;
  pthread_mutex_unlock (&all_lock);
}

/*--------------------------------------------------------------------
 * Waiting.
 */

/* Until when a bucket has debts; 0: it has none. */
static uint64_t
debts_until (const struct bucket *bucket, uint64_t now)
{
  return atomic_load (&bucket->rate) && bucket->paid > now ? bucket->paid : 0;
}

static void
take_tokens (struct bucket *bucket, uint64_t count, uint64_t now)
{
  const uint64_t rate = atomic_load (&bucket->rate);

  if (rate == 0)
    return;
  if (bucket->paid < now - BURST)
    bucket->paid = now - BURST;
  bucket->paid += count * CLOCK_SECOND / rate;
}

/* Take what a request needs.  Returns 0, or when to try again. */
static uint64_t
take (struct limits *limits, uint64_t bytes, uint64_t now)
{
  uint64_t wait, other;

  pthread_mutex_lock (&limits->lock);
  wait = debts_until (&limits->requests, now);
  other = debts_until (&limits->bytes, now);
  if (other > wait)
    wait = other;
  if (wait == 0) {
    take_tokens (&limits->requests, 1, now);
    take_tokens (&limits->bytes, bytes, now);
  }
  pthread_mutex_unlock (&limits->lock);
  return wait;
}

/* Is there no limit at all? */
static bool
is_free (const struct limits *limits)
{
  return atomic_load (&limits->requests.rate) == 0 &&
         atomic_load (&limits->bytes.rate) == 0;
}

bool
limits_try (struct limits *limits, uint64_t bytes)
{
  const uint64_t now = clock_now ();

  look_again (limits, now);
  return is_free (limits) || take (limits, bytes, now) == 0;
}

int
limits_wait (struct limits *limits, uint64_t bytes, const atomic_bool *over)
{
  uint64_t now = clock_now (), until;

  look_again (limits, now);
  if (is_free (limits))
    return 0;
  while ((until = take (limits, bytes, now)) != 0) {
    if (atomic_load (over) ||
        nbdkit_nanosleep (0, until - now < SLICE ? until - now : SLICE) == -1)
      return -1;
    now = clock_now ();
    look_again (limits, now);
  }
  return 0;
}
