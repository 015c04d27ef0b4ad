/* History: snapshots that a server takes by itself, and thins out with age.
 *
 *   every 10 minutes, if the disk has changed, a snapshot;
 *   keep=all:1h,1h:1d,1d:30d keeps
 *
 *     now        1 hour        1 day                      30 days
 *      |||||||||||  |   |   |   |        |         |         |   (none)
 *        all of it   the newest of      the newest of
 *                    each hour          each day
 *
 * So the disk as it was at some time is there without anyone having
 * planned for it: DISK@2026-11-22T10:42 is the newest snapshot not after
 * that.  Only snapshots that a schedule has made are thinned out.
 *
 * A thread does this, for all disks or one.  What becomes free is reclaimed
 * by it, in steps (reclaim.h).
 */

#ifndef SQLBLOCK_HISTORY_H
#define SQLBLOCK_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "store.h"

/* The most rules of a schedule. */
#define HISTORY_RULES_MAX 16

/* Keep the newest snapshot of each so many seconds, for so many seconds. */
struct history_rule {
  int64_t every; /* 0: all */
  int64_t span;  /* INT64_MAX: for ever */
};

struct history_options {
  int64_t interval; /* seconds between snapshots */
  struct history_rule rules[HISTORY_RULES_MAX];
  size_t rules_count;
  const char *disk; /* NULL: all */
  /* Takes lines for the server's log; called from the thread. */
  void (*warn) (const char *message);
};

/* Read rules, EVERY:FOR,..., where EVERY may be "all" and FOR "ever".
 * Returns 0, or -1 and EINVAL.
 */
int history_parse_rules (struct history_options *options, const char *text,
                         struct status *status);

/* The rules where nobody said any. */
#define HISTORY_RULES_DEFAULT "all:1h,1h:1d,1d:30d"

struct history;

/* Start the thread; STORE and what OPTIONS points to outlive it.  Returns
 * NULL on failure.
 */
struct history *history_start (struct store *store,
                               const struct history_options *options,
                               struct status *status);

/* End the thread. */
void history_stop (struct history *history);

/* For tests: what the thread does once, as if it were NOW. */
int history_run (struct store *store, const struct history_options *options,
                 int64_t now, struct status *status);

#endif /* SQLBLOCK_HISTORY_H */
