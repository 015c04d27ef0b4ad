/* Is the database still the file of its name: see place.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "sqlite/filesystem.h"
#include "sqlite/place.h"

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

void
place_allow_links (struct place *place)
{
  place->links_allowed = true;
}

/* Other errors than that there is no such file say nothing. */
static enum place_state
find_state (const struct place *place)
{
  struct stat st;

  if (stat (place->path, &st) == -1)
    return errno == ENOENT || errno == ENOTDIR ? PLACE_GONE : PLACE_RIGHT;
  if (st.st_dev != place->device || st.st_ino != place->inode)
    return PLACE_GONE;
  return st.st_nlink > 1 && !place->links_allowed &&
                 filesystem_has_links (place->path)
             ? PLACE_LINKED
             : PLACE_RIGHT;
}

/* Fail unless STATE is right. */
static int
check_state (enum place_state state, struct status *status)
{
  switch (state) {
  case PLACE_GONE:
    return status_fail (status, EIO,
                        "the database was renamed, deleted or replaced under "
                        "the server: nothing is written until it is back in "
                        "its place, with its log; reading goes on");
  case PLACE_LINKED:
    return status_fail (status, EIO,
                        "the database has got a second name (a hard link), "
                        "by which it would have another write-ahead log: "
                        "nothing is written until that name is removed; "
                        "reading goes on; for a backup use \"sqlblock "
                        "backup\"");
  default:
    return 0;
  }
}

int
place_check (struct place *place, struct status *status)
{
  enum place_state state;
  int r;

  if (place == NULL)
    return 0;
  state = find_state (place);
  atomic_store (&place->looked, clock_now ());
  r = check_state (state, status);
  if (atomic_exchange (&place->state, state) != (int)state)
    place->warn (r == -1 ? status->message
                         : "the database is back in its place, and only there");
  return r;
}

int
place_check_at_times (struct place *place, struct status *status)
{
  if (place == NULL)
    return 0;
  if (clock_now () - atomic_load (&place->looked) >= HOLDS * CLOCK_MILLISECOND)
    return place_check (place, status);
  return check_state (atomic_load (&place->state), status);
}
