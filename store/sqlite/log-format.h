/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The log and its index, by places, in bytes ("The WAL File Format" and "The
 * WAL-Index File Format" in SQLite's walformat.html).
 *
 *   the log          header | frame header, page | frame header, page | ...
 *   the first part   header | the same again | how many frames count as moved,
 *   of the index     and the read marks | locks | where which page is
 *
 * In the log numbers are big-endian.  The index lies in memory that processes
 * share, with numbers in the machine's own order.
 */

#ifndef SQLBLOCK_LOG_FORMAT_H
#define SQLBLOCK_LOG_FORMAT_H

/* The header, and places in it. */
#define LOG_HEADER_SIZE      32
#define LOG_HEADER_PAGE_SIZE 8
#define LOG_HEADER_SALTS     16
#define LOG_HEADER_SUMS      24

/* What it begins with. */
#define LOG_MAGIC   0x377f0682 /* the lowest bit: checksums are big-endian */
#define LOG_VERSION 3007000

/* The header of a frame, and places in it. */
#define FRAME_HEADER_SIZE   24
#define FRAME_HEADER_COMMIT 4 /* pages of the database, or 0: no commit */
#define FRAME_HEADER_SALTS  8
#define FRAME_HEADER_SUMS   16

/* The salts of a log, which are in the headers of all its frames. */
#define LOG_SALTS_SIZE 8

/* A part of the index, as it is mapped; the header with which the first one
 * begins, and places in that part.
 */
#define LOG_INDEX_PART      32768
#define LOG_INDEX_HEADER    48
#define LOG_INDEX_PAGE_SIZE 14 /* 65536 is 1 */
#define LOG_INDEX_FRAMES    16 /* that are committed */
#define LOG_INDEX_PAGES     20 /* of the database */
#define LOG_INDEX_SUMS      24 /* of the last frame */
#define LOG_INDEX_SALTS     32
#define LOG_INDEX_MOVED     96 /* how many frames count as moved */

/* Its locks, by numbers: of writers, of checkpoints, and of the read marks.  A
 * log that starts over ignores mark 0.
 */
#define LOG_LOCK_WRITE      0
#define LOG_LOCK_CHECKPOINT 1
#define LOG_LOCK_READ_MARK  3
#define LOG_READ_MARKS      5

#endif /* SQLBLOCK_LOG_FORMAT_H */
