/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Schedules as people write them: see schedule.h. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/schedule.h"
#include "base/times.h"

int
schedule_parse_interval (const char *text, int64_t *seconds,
                         struct status *status)
{
  *seconds = 0;
  if (strcmp (text, "off") == 0 || times_parse_span (text, seconds))
    return 0;
  return status_fail (status, EINVAL,
                      "'%.100s' is neither off nor a span of time such as 10m "
                      "or 1h",
                      text);
}

/* Read one rule, up to END. */
static bool
parse_rule (const char *text, const char *end, struct schedule_rule *rule)
{
  char every[20], span[20];
  const char *colon = memchr (text, ':', end - text);
  int length;

  if (colon == NULL || colon - text >= (int)sizeof every ||
      end - colon > (int)sizeof span)
    return false;
  length = colon - text;
  snprintf (every, sizeof every, "%.*s", length, text);
  length = end - colon - 1;
  snprintf (span, sizeof span, "%.*s", length, colon + 1);
  rule->every = 0;
  rule->span = INT64_MAX;
  return (strcmp (every, "all") == 0 ||
          times_parse_span (every, &rule->every)) &&
         (strcmp (span, "ever") == 0 || times_parse_span (span, &rule->span));
}

int
schedule_parse_rules (const char *text, struct schedule_rules *rules,
                      struct status *status)
{
  const char *rule = text, *end;

  rules->count = 0;
  do {
    end = rule + strcspn (rule, ",");
    if (rules->count == SCHEDULE_RULES_MAX ||
        !parse_rule (rule, end, &rules->rules[rules->count]))
      return status_fail (status, EINVAL, "'%s' is not a list of rules like %s",
                          text, SCHEDULE_RULES_DEFAULT);
    rules->count++;
    rule = end + 1;
  } while (*end != '\0');
  return 0;
}
