/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a database on a cluster is: rados:POOL[:NAMESPACE]/NAME.
 *
 * Wherever a path to a database is expected it can be given; a file of such a
 * name is ./rados:...  Its three parts are names of Ceph's.  libcephsqlite
 * takes them as /POOL:NAMESPACE/NAME, of letters, digits and "-_." only; what
 * it would not take is refused here, with words.
 *
 * The name is that of a file of libcephsqlite, which is made of objects:
 *
 *   NAME.0000000000000000      the first 4 MiB, and what is known of the file:
 *                              its size, and the lock of who has it open
 *   NAME.0000000000000001 ...  those that follow
 *   NAME-wal.000...            the log
 *   NAME-turn                  no file: whose turn it is to open it (rados.h)
 */

#ifndef SQLBLOCK_LOCATION_H
#define SQLBLOCK_LOCATION_H

#include <stdbool.h>

#include "status.h"

#define LOCATION_PREFIX "rados:"

/* The longest of each part, in bytes: with what is put behind it, an object's
 * name is one that all kinds of OSD take.
 */
#define LOCATION_NAME 200

struct location {
  char pool[LOCATION_NAME + 1];
  char name_space[LOCATION_NAME + 1]; /* "": the pool's own */
  char name[LOCATION_NAME + 1];
};

/* Is PATH a location on a cluster, right or wrong?  Thread rules, here and
 * below: any thread.
 */
bool location_is_cluster (const char *path);

/* Take PATH, of which that is so, apart.  Returns 0, or -1 with EINVAL. */
int location_parse (const char *path, struct location *location,
                    struct status *status);

/* Its name for libcephsqlite, which in a URI needs no escapes. */
#define LOCATION_URI_PATH (3 * LOCATION_NAME + 4)
void location_uri_path (const struct location *location,
                        char path[LOCATION_URI_PATH]);

#endif /* SQLBLOCK_LOCATION_H */
