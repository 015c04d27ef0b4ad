/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* How many there are, in words: "1 block", "2 blocks". */

#ifndef SQLBLOCK_COUNT_H
#define SQLBLOCK_COUNT_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The longest: 20 digits, a blank and a word or some. */
#define COUNT_TEXT 64

/* Put COUNT and the word ONE into TEXT, with its plural where that is not one;
 * returns TEXT.
 */
static inline const char *
count_words (uint64_t count, const char *one, char text[COUNT_TEXT])
{
  const size_t length = strlen (one);
  const bool copies = count != 1 && length > 0 && one[length - 1] == 'y';

  snprintf (text, COUNT_TEXT, "%" PRIu64 " %.*s%s", count,
            (int)(length - copies), one,
            copies       ? "ies"
            : count == 1 ? ""
                         : "s");
  return text;
}

/* The same in a text that is there to the end of the block around it. */
#define COUNT(count, one) count_words (count, one, (char[COUNT_TEXT]){ "" })

#endif /* SQLBLOCK_COUNT_H */
