/* Is the database that is served still the file of its name?
 *
 * A file that was renamed, deleted or replaced while it is open stays what
 * it is for those who have it open, but SQLite finds its log by name, and
 * the next connection would open whatever has that name now:
 *
 *   disk.sqlite      another database, or none
 *   disk.sqlite-wal  the log of ours
 *
 * So while the file is not in its place, reading goes on, through the
 * connections that there are, and nothing is opened, written, flushed or
 * checkpointed.  All goes on when it is back.
 */

#ifndef SQLBLOCK_PLACE_H
#define SQLBLOCK_PLACE_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "status.h"

struct place {
  char *path; /* without symbolic links, as SQLite uses it */
  dev_t device;
  ino_t inode;
  void (*warn) (const char *message);
  atomic_bool gone;
  atomic_uint_fast64_t looked; /* when */
};

/* Find the file PATH.  WARN is called, by any thread, when it is no longer
 * there, and when it is back.  Returns 0, or -1.
 */
int place_find (struct place *place, const char *path,
                void (*warn) (const char *message), struct status *status);
void place_free (struct place *place);

/* Check that the file is in its place; where PLACE is NULL it is.  To open
 * it, check before and afterwards.  Returns 0, or -1 and EIO.  Thread rules
 * of this and the next: any thread.
 */
int place_check (struct place *place, struct status *status);

/* The same, but do not look more often than ten times a second. */
int place_check_at_times (struct place *place, struct status *status);

#endif /* SQLBLOCK_PLACE_H */
