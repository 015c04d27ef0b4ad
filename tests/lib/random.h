/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Random numbers that can be repeated: SplitMix64, by Sebastiano Vigna, which
 * is in the public domain.  The state begins with any number, the seed.
 */

#ifndef SQLBLOCK_TESTS_RANDOM_H
#define SQLBLOCK_TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The next number, one from 0 to BOUND - 1, and LENGTH bytes: half of the
 * times of some that repeat, so that they can be compressed.
 */
uint64_t random_next (uint64_t *state);
uint64_t random_below (uint64_t *state, uint64_t bound);
void random_fill (uint64_t *state, void *bytes, size_t length);

#endif /* SQLBLOCK_TESTS_RANDOM_H */
