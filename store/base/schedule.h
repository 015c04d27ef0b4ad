/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The schedule of automatic snapshots as people write it: how often one is
 * taken, and which of them are kept (server/history.h says what that means).
 */

#ifndef SQLBLOCK_SCHEDULE_H
#define SQLBLOCK_SCHEDULE_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* The most rules of a schedule. */
#define SCHEDULE_RULES_MAX 16

/* Keep the newest snapshot of each period, until it is too old. */
struct schedule_rule {
  int64_t every; /* the period, in seconds; 0: keep all */
  int64_t span;  /* how old, in seconds; INT64_MAX: for ever */
};

struct schedule_rules {
  struct schedule_rule rules[SCHEDULE_RULES_MAX];
  size_t count;
};

/* The rules where nobody said any. */
#define SCHEDULE_RULES_DEFAULT "all:1h,1h:1d,1d:30d"

/* Read how often there is a snapshot, a span of time such as 10m, in seconds;
 * "off" is 0.  Returns 0, or -1 and EINVAL.  Thread rules: any thread.
 */
int schedule_parse_interval (const char *text, int64_t *seconds,
                             struct status *status);

/* Read rules, EVERY:FOR,..., where EVERY may be "all" and FOR "ever".
 * Returns 0, or -1 and EINVAL.  Thread rules: any thread.
 */
int schedule_parse_rules (const char *text, struct schedule_rules *rules,
                          struct status *status);

#endif /* SQLBLOCK_SCHEDULE_H */
