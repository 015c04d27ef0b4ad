/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Is a database right, and what can be done if not: checking, mending, saving.
 *
 * Checking says what is wrong, and where:
 *
 *   the file       SQLite's own integrity_check: pages, b-trees, indexes;
 *                  and the pages' checksums
 *   rules          layers, disks, snapshots and what is kept about them
 *   blocks         each row against its checksum, and decoded
 *   shared blocks  the same for the rows of content, and their references
 *   the index      in order, and of nothing but what somebody shows
 *
 * A server may run meanwhile.  All but the first is read in transactions of
 * some milliseconds, each of which judges only what it has read itself: so
 * what is being written is no false alarm, and the log can start over.  The
 * first is one transaction; where the log grows past its bound meanwhile it is
 * given up and tried again a few times, and then the counts say so.
 *
 * A problem is told with the disks and snapshots that show the block.  What
 * repair_database can mend says so.
 *
 * What nothing that is read tells: a page that was written and never got to the
 * medium, so that an older one with a right checksum stands in its place; and
 * one that another program has moved from the log into the database, until it
 * gets a checksum (sealing.h).  A check compares rows and indexes, and finds
 * most of that.
 */

#ifndef SQLBLOCK_CHECK_H
#define SQLBLOCK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/progress.h"
#include "base/types.h"
#include "status.h"
#include "store.h"

/*--------------------------------------------------------------------
 * Checking (check.c).
 */

/* What is wrong. */
enum check_kind {
  CHECK_FILE,     /* SQLite's structures */
  CHECK_BLOCK,    /* a row of a block, or of contents that blocks share */
  CHECK_LAYER,    /* a row of a layer */
  CHECK_DISK,     /* a row of a disk */
  CHECK_SNAPSHOT, /* a row of a snapshot */
  CHECK_FEATURE,  /* a row of a feature */
  CHECK_PROPERTY, /* a row of a property */
  CHECK_COUNTERS, /* what is counted of disks, snapshots and layers */
  CHECK_ORPHAN,   /* nobody shows it, and it does not wait to be freed */
  CHECK_PAST_END, /* it lies behind the end of its disk */
  CHECK_LEFTOVER, /* an interrupted copy left it: no fault */
};

/* The word for a kind: "block". */
const char *check_kind_name (enum check_kind kind);

/* What mends it. */
enum check_mend {
  MEND_NOT,
  MEND_REINDEX,   /* make the indexes anew */
  MEND_BLOCK,     /* try to find the byte of the block that has changed */
  MEND_RECLAIM,   /* free what nobody sees of the layer */
  MEND_DELETE,    /* delete the rows of the layer, which does not exist */
  MEND_CONTENT,   /* delete the content, to which nothing refers */
  MEND_CLEAR_END, /* clear what lies behind the end of the disk */
  MEND_FORGET,    /* delete what is kept about the layer, which is gone */
  MEND_FEATURE,   /* give the feature, which is known, its checksum */
  MEND_DISOWNED,  /* delete the feature of a disk that is gone */
  MEND_PROPERTY,  /* delete the property of what is gone */
  MEND_COUNT,     /* count the layer anew */
  MEND_SEQUENCE,  /* have ids go on after the highest */
  MEND_CLEAN,     /* remove what was interrupted */
  MEND_ACCEPT,    /* give the page a checksum, as all that is on it is right */
};

#define CHECK_SHOWN_MAX 16

struct check_problem {
  enum check_kind kind;
  enum check_mend mend;
  int64_t subject; /* what MEND tells of: the id of a layer, disk, content */
  const char *message;

  /* The block; a layer of 0: it is none. */
  int64_t layer, number, generation;
  /* Its place on the disks and snapshots that show it, in bytes; a count of
   * 0: unknown.
   */
  uint64_t offset, count;
  /* The disks, and snapshots as DISK@SNAPSHOT, that show it, or that the
   * problem is about; more than are named here where the total says so.
   */
  char shown[CHECK_SHOWN_MAX][DISK_TARGET_MAX + 1];
  size_t shown_count;
  uint64_t shown_total;
};

/* SQLite's own check is given up when the log is longer than its bound, which
 * the server tells, or than this, in bytes: the check keeps it from starting
 * over.
 */
#define CHECK_LOG_MOST (INT64_C (256) << 20)

struct check_options {
  /* Without SQLite's own check and the index, and beginning at any row. */
  bool rows_only;
  /* The same when the log grows by more than this many bytes; 0: only then. */
  int64_t log_growth;
  /* Called for each problem, perhaps in another thread than PROGRESS is, but
   * never while that is called; may be NULL.
   */
  void (*found) (const struct check_problem *problem, void *opaque);
  /* Told how far it is, in bytes of the file; may be NULL. */
  progress_made progress;
  void *opaque;
};

struct check_counts {
  uint64_t disks, snapshots, layers;
  uint64_t blocks, bytes; /* rows, and bytes of their data */
  uint64_t problems;      /* without the leftovers */
  uint64_t leftovers;
  /* Rows of blocks and contents with a codec that this program does not know,
   * and a right checksum: no problem.
   */
  uint64_t unknown;
  uint64_t without_checksum; /* pages; no problem, see check/sealing.h */
  /* SQLite's own check was given up, since others write so much. */
  bool file_not_checked;
};

/* Check the database of STORE; a tolerant one is looked at as a whole, else a
 * page that does not fit its checksum hides what lies behind it.  Returns 0
 * when it was looked at as a whole, whatever was found, or -1: ECANCELED,
 * ENOMEM, EBUSY and so on.  COUNTS is filled in any case.  Memory: for each
 * layer, not for rows.  Thread rules: any thread.
 */
int check_database (struct store *store, const struct check_options *options,
                    struct check_counts *counts, struct status *status);

/*--------------------------------------------------------------------
 * Mending what was found, as far as nothing is lost by it (repair.c).
 *
 *   indexes that disagree with their table      are made anew
 *   rows and layers that nobody sees            are freed
 *   rows of layers that do not exist            are deleted
 *   what lies behind the end of a disk          is cleared
 *   counters that do not fit                    are set
 *   what interrupted copies left                is removed
 *   pages without a checksum, if all is well    get one (sealing.c)
 *   pages that do not fit theirs, if all rows   get another one; until then
 *   and the file are well otherwise             what is on them is not read
 *   a block of which one byte has changed       gets that byte back
 *
 * While rows of disks, snapshots, layers or features are damaged, or the file
 * is, what nobody seems to see may still be needed, and stays.  So it does
 * while a disk is missing that had a feature which this program does not have.
 */

/* Enough rows, or blocks, to look into for a byte that has changed: some take
 * seconds.
 */
#define CORRECT_ROWS 200

struct repair_options {
  /* A byte that has changed is looked for in at most this many blocks, which
   * may take seconds for each.
   */
  unsigned corrections;
  /* Called for each thing that was mended, and with an error for each that
   * could have been but was not, with what to say about it; may be NULL.
   */
  void (*mended) (const char *message, int error, void *opaque);
  progress_made progress;
  void *opaque;
};

/* Check the database of STORE and mend what can be mended.  COUNTS is what
 * the check has found.  Other programs may use it; but where one serves it,
 * indexes are not made anew.  Returns 0, or -1.  Thread rules: any thread.
 */
int repair_database (struct store *store, const struct repair_options *options,
                     struct check_counts *counts, struct status *status);

/*--------------------------------------------------------------------
 * Saving what can be read of a damaged database into a new one (salvage.c).
 */

struct salvage_options {
  bool zero_lost; /* salvage_zero_lost is to follow */
  /* A byte that has changed is looked for in at most this many rows, which may
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

#endif /* SQLBLOCK_CHECK_H */
