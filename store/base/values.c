/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Sizes and choices as people write them: see values.h. */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/types.h"
#include "base/values.h"

#define A_SIZE                                                                 \
  "a size is a number of bytes, or has a letter, such as 10G; k M G T P E "    \
  "are powers of 1024"

/* The factor that the letter of a unit stands for, 0 where it is none. */
static uint64_t
unit_factor (char letter)
{
  static const char units[] = "bkmgtpe";
  const char *unit = strchr (units, tolower ((unsigned char)letter));

  if (letter == '\0')
    return 1;
  if (letter == 's' || letter == 'S')
    return 512;
  return unit ? UINT64_C (1) << 10 * (unit - units) : 0;
}

bool
values_parse_size (const char *text, uint64_t *bytes)
{
  uint64_t whole = 0, factor;
  double part = 0, weight = 1;

  if (!isdigit ((unsigned char)*text))
    return false;
  for (; isdigit ((unsigned char)*text); text++)
    if (__builtin_mul_overflow (whole, 10, &whole) ||
        __builtin_add_overflow (whole, *text - '0', &whole))
      return false;
  if (*text == '.')
    for (text++; isdigit ((unsigned char)*text); text++)
      part += (*text - '0') * (weight /= 10);
  factor = unit_factor (*text);
  if (factor == 0 || (*text && text[1]) || (factor == 1 && part > 0))
    return false;
  return !__builtin_mul_overflow (whole, factor, bytes) &&
         !__builtin_add_overflow (*bytes, (uint64_t)(part * factor + 0.5),
                                  bytes) &&
         *bytes <= INT64_MAX;
}

/* TEXT is not WHAT; always returns -1. */
static int
fail_size (const char *what, const char *text, struct status *status)
{
  return status_fail (status, EINVAL, "'%.100s' is not %s: " A_SIZE, text,
                      what);
}

int
values_size (const char *what, const char *text, uint64_t *bytes,
             struct status *status)
{
  if (values_parse_size (text, bytes) && *bytes > 0)
    return 0;
  return fail_size (what, text, status);
}

int
values_disk_size (const char *text, uint64_t *bytes, struct status *status)
{
  return values_size ("a size of a disk", text, bytes, status);
}

int
values_block_size (const char *text, uint32_t *bytes, struct status *status)
{
  uint64_t size;

  if (!values_parse_size (text, &size) || size == 0 || size > UINT32_MAX)
    return fail_size ("a size of blocks", text, status);
  *bytes = size;
  return 0;
}

int
values_quota (const char *text, uint64_t *bytes, struct status *status)
{
  if (strcmp (text, "none") == 0)
    *bytes = QUOTA_NONE;
  else if (!values_parse_size (text, bytes) || *bytes == 0)
    return status_fail (
        status, EINVAL,
        "'%.100s' is not a quota: give a size, or none; " A_SIZE, text);
  return 0;
}

int
values_limit (const char *text, uint64_t *number, struct status *status)
{
  if (strcmp (text, "none") == 0) {
    *number = 0;
    return 0;
  }
  if (values_parse_size (text, number) && *number > 0)
    return 0;
  return status_fail (status, EINVAL,
                      "'%.100s' is not a limit: give how much there may be in "
                      "a second, such as 500 or 10M, or none",
                      text);
}

int
values_choice (const char *text, bool *on, struct status *status)
{
  static const char *const yes[] = { "on", "true", "t", "yes", "y", "1" };
  static const char *const no[] = { "off", "false", "f", "no", "n", "0" };

  for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
    if (strcasecmp (text, yes[i]) == 0 || strcasecmp (text, no[i]) == 0) {
      *on = strcasecmp (text, yes[i]) == 0;
      return 0;
    }
  return status_fail (status, EINVAL, "'%.100s' is neither on nor off", text);
}
