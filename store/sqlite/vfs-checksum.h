/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The part of the VFS (vfs.h) that gives each page of the database a checksum.
 *
 * Rows carry checksums of their own, but what leads to them does not: a
 * changed byte in an index or a free list can hide a block, which would then
 * be read as zeroes.  So each page keeps eight bytes free at its end (SQLite
 * calls them reserved), and in the file they hold the XXH3 of the rest of
 * the page, with the page's number as seed, little-endian.
 *
 *   in memory, in the log   page ............................ | 0 0 0 0 0 0 0 0
 *   in the database file    page ............................ | checksum
 *
 * - Writing a page to the database computes it; reading one from there
 *   checks it, and fails with SQLITE_IOERR_DATA where it does not fit.
 * - In memory the eight bytes are zero, and so they are in the log, whose
 *   frames have checksums of SQLite.  Where another program moves the log
 *   into the database, as the sqlite3 shell does when it is the last one to
 *   close it, pages get there with zeroes.  So zeroes mean "no checksum", and
 *   such a page is taken as it is until it is written again, or has been
 *   checked and is given one (sealing.h).
 * - SQLite 3.46 reads overflow pages in parts.  Any part of a page is taken
 *   from a whole one, which is checked.  The size of pages stands in the
 *   header, which SQLite reads first.  Only what is read within these 100
 *   bytes is not checked: SQLite does that before it has a lock, when a
 *   checkpoint may be writing the page, and before it is known whether the
 *   file is one of ours.  Before it uses what stands there it reads the page.
 * - In page 1 the checksum takes these bytes for zeroes: 18 and 19 (the kind
 *   of journal), 24 to 27 (the counter of changes), 40 to 43 (that of the
 *   schema), 92 to 99 (who wrote last).  SQLite's own copies of a database,
 *   and a change of its journal, write them and leave all else.  SQLite
 *   accepts no other journals than it has; a wrong counter makes it read
 *   again what it has in memory, and, where those of 24 and 92 differ, take
 *   the size of the database from its file, as integrity_check would tell;
 *   the last four are for people.
 * - A page can have a stamp of 24 bits (mark.h says what for).  Then there is
 *   less room for the checksum:
 *
 *     bits   0 ........................ 39 | 40 .......... 63
 *            those of the sum, inverted    | the stamp
 *
 *   Any page may be so, with any stamp: who reads it need not know.  Of 10^12
 *   pages that were changed one would pass.
 * - A program that changes pages without this VFS leaves the checksums of
 *   what was there before: such pages do not fit.
 * - Free pages are not read, so what stands there is harmless.
 * - A VACUUM that changes the size of pages does not work through this.
 * - Who holds a read transaction reads from the database only pages that
 *   nobody writes meanwhile, so a page half written is never seen.
 */

#ifndef SQLBLOCK_VFS_CHECKSUM_H
#define SQLBLOCK_VFS_CHECKSUM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sqlite/page.h"

struct vfs_file;

/* Pages that did not fit their checksums and were read all the same; more
 * than have room are not kept.
 */
#define DAMAGED_PAGES_MAX 4096

struct damaged_pages {
  pthread_mutex_t lock; /* of what follows; a leaf */
  size_t count;
  uint32_t numbers[DAMAGED_PAGES_MAX];
};

/* Have the pages of the database that DB is going to make keep room for
 * checksums: to be said before anything else.  Returns an SQLite result code.
 */
int vfs_checksum_reserve (sqlite3 *db);

/* SQLite reads from FILE, a database: take it from pages that fit.  Returns an
 * SQLite result code.
 */
int vfs_checksum_on_read (struct vfs_file *file, void *data, int count,
                          int64_t offset);

/* SQLite writes DATA to FILE: replace a page by a copy that has its checksum,
 * which holds until the next call.  Returns an SQLite result code.
 */
int vfs_checksum_on_write (struct vfs_file *file, const void **data, int count,
                           int64_t offset);

void vfs_checksum_close (struct vfs_file *file);

/* Give PAGE, the page NUMBER, of SIZE bytes, its checksum.  Thread rules: any
 * thread.
 */
void vfs_checksum_set (unsigned char *page, size_t size, uint32_t number);

/* The size of a stamp in bits. */
#define VFS_CHECKSUM_STAMP_BITS 24

/* Give page NUMBER of FILE, in which pages have their checksums, a STAMP.
 * Readers may be reading it; nobody else must write it.  One that does not fit
 * is as wrong as before, and one without a checksum that is not all zeroes
 * stays as it is.  The caller syncs.  Returns an SQLite result code.
 */
int vfs_checksum_stamp (sqlite3_file *file, uint32_t number, size_t size,
                        uint32_t stamp);

/* The stamp in SUM, which stands in the bytes at the end of a page.  Where a
 * page has none it is any number; 0 where nobody of us has written it.
 */
uint32_t vfs_checksum_stamp_of (const unsigned char sum[PAGE_CHECKSUM_SIZE]);

/* Is PAGE, of SIZE bytes, all zeroes? */
bool vfs_checksum_is_blank (const unsigned char *page, size_t size);

/* Does PAGE fit its checksum, or has it none?  Thread rules: any thread. */
bool vfs_checksum_fits (const unsigned char *page, size_t size,
                        uint32_t number);

/* Have a connection read pages that do not fit, and note
 * them in PAGES, which must outlive it.  Returns an SQLite result code.
 * Thread rules of this and the next: those of the connection.
 */
int vfs_checksum_tolerate (sqlite3 *db, struct damaged_pages *pages);

/* Read page NUMBER, of SIZE bytes, as it stands in the database file, into
 * PAGE.  RIGHT says whether it fits its checksum.  Returns an SQLite result
 * code.  Thread rules: those of the connection.
 */
int vfs_checksum_read (sqlite3 *db, uint32_t number, size_t size,
                       unsigned char *page, bool *right);

/* Does page NUMBER, of SIZE bytes, as it stands in the database file, fit its
 * checksum?  Puts the answer into RIGHT; returns an SQLite result code.
 */
int vfs_checksum_look (sqlite3 *db, uint32_t number, size_t size, bool *right);

/* Give it the checksum that fits, with the stamp that it has; the caller syncs.
 * Nobody must checkpoint meanwhile; readers may go on.  Returns an SQLite
 * result code.
 */
int vfs_checksum_accept (sqlite3 *db, uint32_t number, size_t size);

/* The same if it has none, or Litestream has written it; which SEALED then
 * says.
 */
int vfs_checksum_seal (sqlite3 *db, uint32_t number, size_t size, bool *sealed);

/* Have a connection set UNSEALED when it reads a page that has no checksum and
 * is not all zeroes, or one with that of an earlier time which Litestream has
 * written: the root of its table, which LITESTREAM says (litestream.h).  Both
 * must outlive it.  Returns an SQLite result code.
 */
int vfs_checksum_watch (sqlite3 *db, atomic_bool *unsealed,
                        const atomic_uint *litestream);

/* The file of the VFS below, in which pages have their checksums.  Returns an
 * SQLite result code.
 */
int vfs_checksum_below (sqlite3 *db, sqlite3_file **below);

#endif /* SQLBLOCK_VFS_CHECKSUM_H */
