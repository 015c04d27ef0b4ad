/* Storing what a disk has anew, under its present compression. */

#ifndef SQLBLOCK_RECOMPRESS_H
#define SQLBLOCK_RECOMPRESS_H

#include <stdint.h>

#include "manage/manage.h"
#include "status.h"
#include "engine/store.h"

/* What was done, in blocks and in bytes of their data. */
struct recompressed {
  uint64_t blocks;  /* stored anew */
  uint64_t before;  /* what all took before ... */
  uint64_t after;   /* ... and take now */
  uint64_t damaged; /* blocks that could not be read, and are as they were */
};

/* Encode all blocks of DISK and of its snapshots again as new ones would be,
 * and store those that change.  Their bytes stay the same, so it can be done
 * while clients read and write, and be stopped at any time.  What the disk
 * shares with one that it was cloned from is that one's.  Returns and thread
 * rules as manage.h says.
 */
int recompress_disk (struct store *store, const char *disk,
                     progress_made progress, void *opaque,
                     struct recompressed *done, struct status *status);

#endif /* SQLBLOCK_RECOMPRESS_H */
