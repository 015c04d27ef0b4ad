/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Undoing the change of one byte: see correct.h. */

#include <config.h>

#include "block/correct.h"

/* It looks at at most this many bytes, then it gives up. */
#define BUDGET (UINT64_C (20) << 30)

/* Try all changes of one byte by XOR with CHANGE. */
static bool
try_change (unsigned char *bytes, size_t count, unsigned char change,
            uint64_t *tests, correct_test is_right, void *opaque)
{
  for (size_t i = 0; i<count && * tests> 0; i++, --*tests) {
    bytes[i] ^= change;
    if (is_right (opaque))
      return true;
    bytes[i] ^= change;
  }
  return false;
}

bool
correct_byte (unsigned char *bytes, size_t count, size_t cost,
              correct_test is_right, void *opaque)
{
  uint64_t tests = BUDGET / (cost + 1);

  for (int bit = 0; bit < 8; bit++)
    if (try_change (bytes, count, 1 << bit, &tests, is_right, opaque))
      return true;
  for (int change = 1; change < 256; change++)
    if ((change & (change - 1)) != 0 &&
        try_change (bytes, count, change, &tests, is_right, opaque))
      return true;
  return false;
}

bool
correct_differ_by_byte (int64_t a, int64_t b)
{
  uint64_t difference = (uint64_t)a ^ (uint64_t)b;

  while (difference > 0xff && (difference & 0xff) == 0)
    difference >>= 8;
  return difference <= 0xff;
}
