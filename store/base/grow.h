/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Arrays that grow by one element at a time. */

#ifndef SQLBLOCK_GROW_H
#define SQLBLOCK_GROW_H

#include <stddef.h>
#include <stdlib.h>

/* LIST, an array of COUNT elements of SIZE bytes that grew by this function,
 * with room for one more; it is doubled at powers of two.  Returns NULL where
 * there is no memory, and LIST is as it was.
 */
static inline void *
grow (void *list, size_t count, size_t size)
{
  return (count & (count - 1)) == 0 ? realloc (list, (2 * count + 1) * size)
                                    : list;
}

#endif /* SQLBLOCK_GROW_H */
