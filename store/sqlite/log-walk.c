/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A log that is read as a file: see log-walk.h. */

#include <config.h>

#include <string.h>

#include "base/bytes.h"
#include "sqlite/log-walk.h"
#include "sqlite/page.h"

static uint32_t
little_endian (const unsigned char *bytes)
{
  return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[1] << 8 | bytes[0];
}

void
log_checksum (uint32_t sums[2], const unsigned char *bytes, size_t count,
              bool is_big_endian)
{
  uint32_t (*const number) (const unsigned char *) =
      is_big_endian ? big_endian : little_endian;

  for (const unsigned char *end = bytes + count; bytes < end; bytes += 8) {
    sums[0] += number (bytes) + sums[1];
    sums[1] += number (bytes + 4) + sums[0];
  }
}

static bool
read_all (const struct raw *file, unsigned char *bytes, size_t count,
          uint64_t offset)
{
  return raw_read (file, bytes, count, offset) == (int64_t)count;
}

/* Are the sums so far those that stand at BYTES? */
static bool
are_sums (const struct log_walk *walk, const unsigned char *bytes)
{
  return walk->sums[0] == big_endian (bytes) &&
         walk->sums[1] == big_endian (bytes + 4);
}

bool
log_walk_begin (struct log_walk *walk, const struct raw *file)
{
  unsigned char header[LOG_HEADER_SIZE];

  *walk = (struct log_walk){ .file = file, .next = LOG_HEADER_SIZE };
  if (!read_all (file, header, sizeof header, 0))
    return false;
  walk->is_big_endian = header[3] & 1;
  walk->page_size = big_endian (header + LOG_HEADER_PAGE_SIZE);
  memcpy (walk->salts, header + LOG_HEADER_SALTS, LOG_SALTS_SIZE);
  log_checksum (walk->sums, header, LOG_HEADER_SUMS, walk->is_big_endian);
  return (big_endian (header) & ~UINT32_C (1)) == LOG_MAGIC &&
         big_endian (header + 4) == LOG_VERSION &&
         page_is_size (walk->page_size) &&
         are_sums (walk, header + LOG_HEADER_SUMS);
}

bool
log_walk_next (struct log_walk *walk, unsigned char *page)
{
  unsigned char header[FRAME_HEADER_SIZE];

  walk->offset = walk->next + sizeof header;
  if (!read_all (walk->file, header, sizeof header, walk->next) ||
      !read_all (walk->file, page, walk->page_size, walk->offset) ||
      memcmp (header + FRAME_HEADER_SALTS, walk->salts, LOG_SALTS_SIZE) != 0)
    return false;
  log_checksum (walk->sums, header, 8, walk->is_big_endian);
  log_checksum (walk->sums, page, walk->page_size, walk->is_big_endian);
  walk->page = big_endian (header);
  walk->commit = big_endian (header + FRAME_HEADER_COMMIT);
  walk->next = walk->offset + walk->page_size;
  walk->is_torn = !are_sums (walk, header + FRAME_HEADER_SUMS);
  return walk->page != 0 && !walk->is_torn;
}
