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

/* Give each page of the database in BYTES the checksum that fits, if pages
 * have room for one.
 */
static inline void
seal_pages (unsigned char *bytes, size_t size)
{
  size_t page_size;

  if (size < PAGE_SIZE_MIN || bytes[PAGE_HEADER_RESERVED] != VFS_CHECKSUM_SIZE)
    return;
  page_size = page_size_of (bytes);
  if (page_size == 0)
    return;
  for (size_t at = 0; at + page_size <= size; at += page_size)
    vfs_checksum_set (bytes + at, page_size, at / page_size + 1);
}

#endif /* SQLBLOCK_TESTS_SEAL_H */
