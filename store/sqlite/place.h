/* Is the database that is served still the file of its name?
 *
 * A file that was renamed, deleted or replaced while it is open stays what
 * it is for those who have it open, but SQLite finds its log by name, and
 * the next connection would open whatever has that name now:
 *
 *   disk.sqlite      another database, or none
 *   disk.sqlite-wal  the log of ours
 *
 * A file that gets a second name, a hard link, has a second log by that, which
 * programs may use that know nothing of claim.h; nor could it be written by us
 * if it were opened now.
 *
 * So while the file is not in its place, or not only there, reading goes on,
 * through the connections that there are, and nothing is opened, written,
 * flushed or checkpointed.  All goes on when it is back, or has one name again.
 * Who only reads without the log (watch.h) may come by one name of several.
 */

#ifndef SQLBLOCK_PLACE_H
#define SQLBLOCK_PLACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "status.h"

enum place_state { PLACE_RIGHT, PLACE_GONE, PLACE_LINKED };

struct place {
  char *path; /* without symbolic links, as SQLite uses it */
  dev_t device;
  ino_t inode;
  void (*warn) (const char *message);
  bool links_allowed;
  atomic_int state;            /* enum place_state, as last seen */
  atomic_uint_fast64_t looked; /* when */
};

/* Find the file PATH.  WARN is called, by any thread, when it is no longer
 * there, and when it is back.  Returns 0, or -1.
 */
int place_find (struct place *place, const char *path,
                void (*warn) (const char *message), struct status *status);
void place_free (struct place *place);

/* Have several names count as right.  Thread rules: before others use PLACE. */
void place_allow_links (struct place *place);

/* Check that the file is in its place; where PLACE is NULL it is.  To open
 * it, check before and afterwards.  Returns 0, or -1 and EIO.  Thread rules
 * of this and the next: any thread.
 */
int place_check (struct place *place, struct status *status);

/* The same, but do not look more often than ten times a second. */
int place_check_at_times (struct place *place, struct status *status);

#endif /* SQLBLOCK_PLACE_H */
