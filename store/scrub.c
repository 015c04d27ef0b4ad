/* Scrubbing: see scrub.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "clock.h"
#include "scrub.h"

/* So many problems are told of in each pass; the others are counted. */
#define LINES 100

struct scrub {
  struct store *store;
  struct scrub_options options;
  pthread_t thread;
  uint64_t began; /* the pass, by clock_now */
  unsigned lines; /* that it has told */

  pthread_mutex_t lock; /* of what follows; a leaf */
  pthread_cond_t stopped;
  bool stopping;
};

/* Sleep until NANOSECONDS of the pass are over.  Returns false when the
 * thread is to end.
 */
static bool
sleep_until (struct scrub *scrub, uint64_t nanoseconds)
{
  const uint64_t until = scrub->began + nanoseconds;
  const struct timespec time = {
    .tv_sec = until / 1000000000,
    .tv_nsec = until % 1000000000,
  };
  bool stopping;

  pthread_mutex_lock (&scrub->lock);
  while (!scrub->stopping &&
         pthread_cond_timedwait (&scrub->stopped, &scrub->lock, &time) !=
             ETIMEDOUT)
    ;
  stopping = scrub->stopping;
  pthread_mutex_unlock (&scrub->lock);
  return !stopping;
}

static uint64_t
period_of (const struct scrub *scrub)
{
  return scrub->options.period * UINT64_C (1000000000);
}

/* DONE of TOTAL is done: rest until it is time for more. */
static int
rest (uint64_t done, uint64_t total, void *opaque)
{
  struct scrub *scrub = opaque;
  const double part = total ? (double)done / total : 1;

  return !sleep_until (scrub, part * period_of (scrub));
}

/* Tell of a problem: who shows the block, and where. */
static void
tell (const struct check_problem *problem, void *opaque)
{
  struct scrub *scrub = opaque;
  struct status line;

  if (problem->kind == CHECK_LEFTOVER || scrub->lines++ >= LINES)
    return;
  status_fail (&line, EIO, "%s", problem->message);
  if (problem->count)
    status_prefix (&line, "byte %" PRIu64, problem->offset);
  if (problem->shown_total > problem->shown_count)
    status_prefix (&line, "and %" PRIu64 " others",
                   problem->shown_total - problem->shown_count);
  for (size_t i = problem->shown_count; i > 0; i--)
    status_prefix (&line, "%s", problem->shown[i - 1]);
  status_prefix (&line, "scrub: %s", check_kind_name (problem->kind));
  scrub->options.warn (line.message);
}

static void
tell_end (struct scrub *scrub, const struct check_counts *counts)
{
  struct status line;

  if (counts->problems == 0)
    return;
  status_fail (&line, EIO,
               "scrub: %" PRIu64 " problems in %" PRIu64 " blocks; \"sqlblock "
               "check\" lists them",
               counts->problems, counts->blocks);
  scrub->options.warn (line.message);
}

static void *
run (void *opaque)
{
  struct scrub *scrub = opaque;
  const struct check_options options = {
    .rows_only = true,
    .found = tell,
    .progress = rest,
    .opaque = scrub,
  };
  struct check_counts counts;
  struct status status;
  bool failing = false;
  int r;

  do {
    scrub->began = clock_now ();
    scrub->lines = 0;
    r = check_database (scrub->store, &options, &counts, &status);
    if (r == 0)
      tell_end (scrub, &counts);
    /* A failure is said once, not each time. */
    else if (!failing && status.error != ECANCELED)
      scrub->options.warn (status.message);
    failing = r == -1;
  } while (sleep_until (scrub, period_of (scrub)));
  return NULL;
}

struct scrub *
scrub_start (struct store *store, const struct scrub_options *options,
             struct status *status)
{
  struct scrub *scrub = calloc (1, sizeof *scrub);
  pthread_condattr_t monotonic;

  if (scrub == NULL) {
    status_no_memory (status);
    return NULL;
  }
  scrub->store = store;
  scrub->options = *options;
  pthread_mutex_init (&scrub->lock, NULL);
  pthread_condattr_init (&monotonic);
  pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init (&scrub->stopped, &monotonic);
  pthread_condattr_destroy (&monotonic);
  if (pthread_create (&scrub->thread, NULL, run, scrub) == 0)
    return scrub;
  status_fail (status, EAGAIN, "cannot start a thread");
  pthread_mutex_destroy (&scrub->lock);
  pthread_cond_destroy (&scrub->stopped);
  free (scrub);
  return NULL;
}

void
scrub_stop (struct scrub *scrub)
{
  pthread_mutex_lock (&scrub->lock);
  scrub->stopping = true;
  pthread_cond_signal (&scrub->stopped);
  pthread_mutex_unlock (&scrub->lock);
  pthread_join (scrub->thread, NULL);
  pthread_mutex_destroy (&scrub->lock);
  pthread_cond_destroy (&scrub->stopped);
  free (scrub);
}
