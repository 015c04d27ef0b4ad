/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Undoing the change of one byte.
 *
 * The checksums have 64 bits, so of all bytes that could have been different
 * only the true one makes the checksum right again: it can be found by
 * trying.
 *
 * All changes of one byte in 4 KiB are a million, which take a fifth of a
 * second.  In blocks of 16 KiB and more it gives up before it has tried all.
 */

#ifndef SQLBLOCK_CORRECT_H
#define SQLBLOCK_CORRECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Does the checksum of what IS_RIGHT looks at match? */
typedef bool (*correct_test) (void *opaque);

/* Change one of COUNT bytes so that IS_RIGHT says so: first by one bit, then
 * by any.  Each test takes as long as looking at COST bytes; it gives up
 * after some seconds.  Returns false, with the bytes as they were, where no
 * change did it.  Thread rules: any thread.
 */
bool correct_byte (unsigned char *bytes, size_t count, size_t cost,
                   correct_test is_right, void *opaque);

/* Are these two the same but for one byte? */
bool correct_differ_by_byte (int64_t a, int64_t b);

#endif /* SQLBLOCK_CORRECT_H */
