/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Checksums for the pages of a database that a test has changed without the
 * store, for what lies behind them to be reached.
 */

#ifndef SQLBLOCK_TESTS_SEAL_H
#define SQLBLOCK_TESTS_SEAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sqlite/page.h"
#include "sqlite/vfs_checksum.h"
#include <string.h>

/* Give PAGE the checksum that fits, with the stamp that it has (mark.h). */
static inline void
seal_page (unsigned char *page, size_t page_size, uint32_t number)
{
  unsigned char *end = page + page_size - PAGE_CHECKSUM_SIZE;
  unsigned char stamp[3];

  if (end[0] && vfs_checksum_fits (page, page_size, number))
    return;
  memcpy (stamp, end + 5, sizeof stamp);
  vfs_checksum_set (page, page_size, number);
  for (int i = 0; i < 5; i++)
    end[i] = ~end[i];
  memcpy (end + 5, stamp, sizeof stamp);
}

/* Give each page of the database in BYTES the checksum that fits, if pages
 * have room for one.
 */
static inline void
seal_pages (unsigned char *bytes, size_t size)
{
  size_t page_size;

  if (size < PAGE_SIZE_MIN || bytes[PAGE_HEADER_RESERVED] != PAGE_CHECKSUM_SIZE)
    return;
  page_size = page_size_of (bytes);
  if (page_size == 0)
    return;
  for (size_t at = 0; at + page_size <= size; at += page_size)
    seal_page (bytes + at, page_size, at / page_size + 1);
}

#endif /* SQLBLOCK_TESTS_SEAL_H */
