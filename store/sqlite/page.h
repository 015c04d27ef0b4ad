/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The pages of a database, by numbers ("The Database File Format" in SQLite's
 * fileformat2.html).
 *
 *   a page         bytes that SQLite uses                | reserved, see
 *                                                        | vfs-checksum.h
 *   a long record  a part in a b-tree, the rest in overflow pages, each of
 *                  which begins with the number of the next
 *   page 2         the first of the pointer map: what the pages after it are
 *                  used for, up to the next page of the map
 */

#ifndef SQLBLOCK_PAGE_H
#define SQLBLOCK_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

#define PAGE_SIZE_MIN 512
#define PAGE_SIZE_MAX 65536

/* The header of the database, with which page 1 begins, and places in it. */
#define PAGE_HEADER_SIZE      100
#define PAGE_HEADER_PAGE_SIZE 16
#define PAGE_HEADER_RESERVED  20
#define PAGE_HEADER_PAGES     28 /* in the file */
#define PAGE_HEADER_TRUNK     32 /* the first page of the list of free ones */
#define PAGE_HEADER_SCHEMA    40 /* counts changes of the schema */
#define PAGE_HEADER_FORMAT    60 /* user_version, see schema.sql */

/* Bytes of an overflow page, and of one of that list, for the next one. */
#define PAGE_NEXT_SIZE 4

/* Bytes of an entry of the pointer map, one for each page. */
#define PAGE_MAP_ENTRY 5

/* Bytes at the end of each page that SQLite does not use, for a checksum. */
#define PAGE_CHECKSUM_SIZE 8

/* What the pointer map says that a page is, by the first byte of its entry; 0:
 * nothing that it can be.
 */
enum page_use {
  PAGE_ROOT = 1,
  PAGE_FREE = 2,
  PAGE_OVERFLOW = 3,
  PAGE_OVERFLOW_MORE = 4,
  PAGE_TREE = 5,
  PAGE_MAP = 6, /* it is one of the map itself */
};

/* Can a page have SIZE bytes? */
static inline bool
page_is_size (uint64_t size)
{
  return size >= PAGE_SIZE_MIN && size <= PAGE_SIZE_MAX &&
         (size & (size - 1)) == 0;
}

/* The size of the pages of the database with this HEADER; 0: it has none. */
static inline uint32_t
page_size_of (const unsigned char *header)
{
  const uint32_t size = big_endian_16 (header + PAGE_HEADER_PAGE_SIZE);

  return size == 1 ? PAGE_SIZE_MAX : page_is_size (size) ? size : 0;
}

/* Bytes that SQLite uses of a page of SIZE bytes. */
static inline size_t
page_usable (size_t size)
{
  return size - PAGE_CHECKSUM_SIZE;
}

/* How much of a long record is in the b-tree at least, in bytes. */
static inline size_t
page_least_local (size_t usable)
{
  return (usable - 12) * 32 / 255 - 23;
}

/* How much of a record of LENGTH bytes is: in a TABLE, or in an index. */
static inline size_t
page_local (size_t usable, bool table, size_t length)
{
  const size_t most = table ? usable - 35 : (usable - 12) * 64 / 255 - 23;
  const size_t least = page_least_local (usable);
  size_t local;

  if (length <= most)
    return length;
  local = least + (length - least) % (usable - PAGE_NEXT_SIZE);
  return local <= most ? local : least;
}

/* The page that SQLite never uses: it has the byte for locks. */
static inline uint64_t
page_unused (size_t size)
{
  return 0x40000000 / size + 1;
}

/* How many pages there are from one of the pointer map to the next. */
static inline uint64_t
page_map_distance (size_t size)
{
  return page_usable (size) / PAGE_MAP_ENTRY + 1;
}

/* The page of the pointer map that has the entry of page NUMBER, from 2 on, or
 * is that page.
 */
static inline uint64_t
page_map_of (size_t size, uint64_t number)
{
  const uint64_t distance = page_map_distance (size);
  const uint64_t map = (number - 2) / distance * distance + 2;

  return map == page_unused (size) ? map + 1 : map;
}

#endif /* SQLBLOCK_PAGE_H */
