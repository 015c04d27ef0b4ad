/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The page that Litestream writes: see litestream-page.h. */

#include <config.h>

#include "base/bytes.h"
#include "sqlite/litestream-page.h"
#include "sqlite/page.h"

/* Where things stand in the page of a table with one row, a leaf; and in its
 * cell, which is at the end: the length of the record, the number of the row,
 * the length of the record's header, and the types of its two columns, of which
 * the first is NULL as it is the number of the row.
 */
#define PAGE_TYPE     0
#define PAGE_FREE     1
#define PAGE_CELLS    3
#define PAGE_CONTENT  5
#define PAGE_POINTERS 8
#define TYPE_LEAF     13
#define CELL_HEAD     2 /* in front of the record */
#define RECORD_HEAD   3

/* The bytes of an integer of TYPE in a record; -1: it is none. */
static int
integer_size (unsigned char type)
{
  static const int sizes[] = { -1, 1, 2, 3, 4, 6, 8, -1, 0, 0 };

  return type < sizeof sizes / sizeof sizes[0] ? sizes[type] : -1;
}

static int64_t
integer_at (const unsigned char *bytes, unsigned char type)
{
  const int size = integer_size (type);
  uint64_t number = size > 0 && bytes[0] & 0x80 ? UINT64_MAX : 0;

  for (int i = 0; i < size; i++)
    number = number << 8 | bytes[i];
  return size == 0 ? type - 8 : (int64_t)number;
}

bool
litestream_parse (const unsigned char *page, uint32_t page_size,
                  int64_t *number)
{
  const uint32_t end = page_usable (page_size);
  const uint32_t start = big_endian_16 (page + PAGE_POINTERS);
  const unsigned char *cell = page + start;
  int size;

  if (page[PAGE_TYPE] != TYPE_LEAF || big_endian_16 (page + PAGE_FREE) != 0 ||
      big_endian_16 (page + PAGE_CELLS) != 1 ||
      big_endian_16 (page + PAGE_CONTENT) != start ||
      start < PAGE_POINTERS + 2 || start + CELL_HEAD + RECORD_HEAD > end)
    return false;
  size = integer_size (cell[CELL_HEAD + 2]);
  if (size == -1 || cell[0] != RECORD_HEAD + size || cell[1] != 1 ||
      cell[CELL_HEAD] != RECORD_HEAD || cell[CELL_HEAD + 1] != 0 ||
      start + CELL_HEAD + cell[0] != end)
    return false;
  *number = integer_at (cell + CELL_HEAD + RECORD_HEAD, cell[CELL_HEAD + 2]);
  return true;
}
