/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Random numbers: see random.h. */

#include <config.h>

#include <stdbool.h>
#include <string.h>

#include "random.h"

uint64_t
random_next (uint64_t *state)
{
  uint64_t z = *state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C (0x94d049bb133111eb);
  return z ^ z >> 31;
}

uint64_t
random_below (uint64_t *state, uint64_t bound)
{
  return random_next (state) % bound;
}

void
random_fill (uint64_t *state, void *bytes, size_t length)
{
  const uint64_t first = random_next (state);
  const bool repeats = first & 1;
  char *p = bytes;
  uint64_t word = first;

  for (size_t part; length > 0; length -= part, p += part) {
    part = length < sizeof word ? length : sizeof word;
    memcpy (p, &word, part);
    if (!repeats)
      word = random_next (state);
  }
}
