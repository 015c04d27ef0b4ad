/* Is the database still the file of its name: see place.h. */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "clock.h"
#include "place.h"

/* How long an answer holds, in milliseconds: a look costs 1 us, or a lot
 * more on a network file system.
 */
#define HOLDS 100

int
place_find (struct place *place, const char *path,
            void (*warn) (const char *message), struct status *status)
{
  struct stat st;

  *place = (struct place){
    .path = realpath (path, NULL),
    .warn = warn,
  };
  if (place->path == NULL || stat (place->path, &st) == -1) {
    status_fail (status, errno, "%s: %s", path, strerror (errno));
    free (place->path);
    return -1;
  }
  place->device = st.st_dev;
  place->inode = st.st_ino;
  return 0;
}

void
place_free (struct place *place)
{
  free (place->path);
}

/* Other errors than that there is no such file say nothing. */
static bool
is_gone (const struct place *place)
{
  struct stat st;

  if (stat (place->path, &st) == -1)
    return errno == ENOENT || errno == ENOTDIR;
  return st.st_dev != place->device || st.st_ino != place->inode;
}

static int
fail_gone (struct status *status)
{
  return status_fail (status, EIO,
                      "the database was renamed, deleted or replaced under "
                      "the server: nothing is written until it is back in its "
                      "place, with its log; reading goes on");
}

int
place_check (struct place *place, struct status *status)
{
  bool gone;

  if (place == NULL)
    return 0;
  gone = is_gone (place);
  atomic_store (&place->looked, clock_now ());
  if (gone)
    fail_gone (status);
  if (atomic_exchange (&place->gone, gone) != gone)
    place->warn (gone ? status->message : "the database is back in its place");
  return gone ? -1 : 0;
}

int
place_check_at_times (struct place *place, struct status *status)
{
  if (place == NULL)
    return 0;
  if (clock_now () - atomic_load (&place->looked) >= HOLDS * CLOCK_MILLISECOND)
    return place_check (place, status);
  return atomic_load (&place->gone) ? fail_gone (status) : 0;
}
