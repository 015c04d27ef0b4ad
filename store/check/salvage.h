/* Saving what can be read of a damaged database into a new one.
 *
 * Each row of disks, snapshots, layers, blocks and contents has a checksum,
 * so the truth can be told from damage wherever it lies.  The pages of the
 * file are read one by one, without SQLite:
 *
 *   1. rows of the pages that both the b-trees and the pointer map say are
 *      in use; where one byte of a row has changed, it is set right
 *   2. the entries of the index: those without a row are lost blocks
 *   3. lost blocks are looked for in pages that are damaged themselves, or
 *      to which damage has cut the way
 *   4. where the b-trees are damaged so that no index tells what is missing,
 *      all rows that are true and have no other in their place
 *
 * So what was deleted once, and still stands in free pages, does not come
 * back.  A block that stays lost gets a row whose checksum is wrong: reading
 * it is an error, not wrong data.  The same holds for a lost layer.  Where
 * the index is lost together with rows, nothing tells which blocks there were,
 * and such a row stands wherever one may have been, or a newer one:
 *
 *   index, by layer and number     1:1  1:2  ....lost....  1:9  2:4
 *   found in the table             1:1  1:2  1:5      2:4
 *   not to be read                      1:3  1:4  1:6  1:7  1:8  1:9
 */

#ifndef SQLBLOCK_SALVAGE_H
#define SQLBLOCK_SALVAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "manage/manage.h"
#include "status.h"

struct salvage_options {
  bool zero_lost; /* salvage_zero_lost is to follow */
  /* In so many rows at most a byte that has changed is looked for, which may
   * take seconds for each.
   */
  unsigned corrections;
  /* Called with a line for everything else than a lost block: what is lost or
   * may be, and what is good to know.  May be NULL.
   */
  void (*lose) (const char *message, void *opaque);
  void (*say) (const char *message, void *opaque);
  progress_made progress;
  void *opaque;
};

struct salvage_counts {
  uint64_t disks, snapshots, layers;
  uint64_t blocks, bytes;
  uint64_t corrected;  /* rows of which one byte was set right */
  uint64_t lost;       /* blocks */
  uint64_t unknown;    /* places where a block may have been lost */
  uint64_t losses;     /* lines that were told of others */
  uint64_t unreadable; /* pages that the medium could not read */
};

/* Make the new file OUT from the database PATH, which is only read.  Lost
 * blocks are found by check_database in OUT.  Returns 0, or -1 with no OUT:
 * EEXIST where there is one, EBUSY while others have the database open,
 * EINVAL where nothing of a database was found.  Thread rules: only while
 * this process has no connection to the file.
 */
int salvage_database (const char *path, const char *out,
                      const struct salvage_options *options,
                      struct salvage_counts *counts, struct status *status);

/* Have blocks that were lost read as zeroes in the database of STORE, which
 * salvage_database has made, and what is not known as it was found: an older
 * version, or zeroes.  Returns 0, or -1.
 */
int salvage_zero_lost (struct store *store, struct status *status);

#endif /* SQLBLOCK_SALVAGE_H */
