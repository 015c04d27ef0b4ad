/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The page that Litestream writes: the root of its table _litestream_seq, with
 * one row (litestream.h).
 */

#ifndef SQLBLOCK_LITESTREAM_PAGE_H
#define SQLBLOCK_LITESTREAM_PAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Is PAGE the root of such a table, with nothing on it but the one row?  Then
 * NUMBER becomes the number in it.  Thread rules: any thread.
 */
bool litestream_parse (const unsigned char *page, uint32_t page_size,
                       int64_t *number);

#endif /* SQLBLOCK_LITESTREAM_PAGE_H */
