/* Mending what check.h finds, as far as nothing is lost by it.
 *
 *   indexes that disagree with their table      are made anew
 *   rows and layers that nobody sees            are freed
 *   rows of layers that do not exist            are deleted
 *   what lies behind the end of a disk          is cleared
 *   counters that do not fit                    are set
 *   what interrupted copies left                is removed
 *   pages without a checksum, if all is well    get one (sealing.h)
 *   a block of which one byte has changed       gets that byte back
 *
 * While rows of disks, snapshots or layers are damaged, or the file is, what
 * nobody seems to see may still be needed, and stays.
 */

#ifndef SQLBLOCK_REPAIR_H
#define SQLBLOCK_REPAIR_H

#include "check/check.h"

struct repair_options {
  /* In so many blocks at most a byte that has changed is looked for, which may
   * take seconds for each.
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

#endif /* SQLBLOCK_REPAIR_H */
