/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a database on a cluster is: see location.h. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cluster/location.h"

/* What is behind the names of other files of a database. */
static const char *const endings[] = { "-wal", "-journal", "-shm", "-lock" };

bool
location_is_cluster (const char *path)
{
  return strncmp (path, LOCATION_PREFIX, strlen (LOCATION_PREFIX)) == 0;
}

static int
fail (const char *path, const char *why, struct status *status)
{
  return status_fail (status, EINVAL,
                      "%s: %s; a database on a cluster is "
                      "rados:POOL/NAME or rados:POOL:NAMESPACE/NAME, and a "
                      "file of such a name ./rados:...",
                      path, why);
}

/* Copy one part of a location, of COUNT bytes.  Returns NULL, or what is wrong
 * with it.
 */
static const char *
take (char part[LOCATION_NAME + 1], const char *from, size_t count)
{
  static const char characters[] = "abcdefghijklmnopqrstuvwxyz"
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_.";

  if (count == 0)
    return "a name is missing";
  if (count > LOCATION_NAME)
    return "a name is longer than 200 bytes";
  memcpy (part, from, count);
  part[count] = '\0';
  if (strspn (part, characters) != count)
    return "Ceph's SQLite takes only letters, digits, '-', '_' and '.' in "
           "names";
  if (strcmp (part, ".") == 0 || strcmp (part, "..") == 0)
    return "'.' and '..' are no names";
  return NULL;
}

/* Is it the name of a file that may be that of another database? */
static bool
is_beside (const char *name)
{
  const size_t length = strlen (name);

  for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
    if (length > strlen (endings[i]) &&
        strcmp (name + length - strlen (endings[i]), endings[i]) == 0)
      return true;
  return false;
}

int
location_parse (const char *path, struct location *location,
                struct status *status)
{
  const char *pool = path + strlen (LOCATION_PREFIX);
  const char *slash = strchr (pool, '/');
  const char *colon = strchr (pool, ':');
  const char *wrong;

  *location = (struct location){ .name_space = "" };
  if (slash == NULL)
    return fail (path, "there is no '/'", status);
  if (colon > slash)
    colon = NULL;
  wrong = take (location->pool, pool, (colon ? colon : slash) - pool);
  if (wrong == NULL && colon)
    wrong = take (location->name_space, colon + 1, slash - colon - 1);
  if (wrong == NULL)
    wrong = take (location->name, slash + 1, strlen (slash + 1));
  if (wrong == NULL && is_beside (location->name))
    wrong = "the name ends like that of a log or lock of another database";
  return wrong ? fail (path, wrong, status) : 0;
}

void
location_uri_path (const struct location *location,
                   char path[LOCATION_URI_PATH])
{
  snprintf (path, LOCATION_URI_PATH, "/%s:%s/%s", location->pool,
            location->name_space, location->name);
}
