/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Finding what a request names: see request.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "manage/request.h"
#include "rows/snapshots.h"
#include "rows/trash.h"

int
request_find_target (struct connection *connection, struct request *request,
                     struct status *status)
{
  struct trashed_disk found;

  if (request->trashed == 0)
    return snapshots_find_target (connection, request->target, &request->disk,
                                  &request->snapshot, status);
  request->snapshot.id = 0;
  if (trash_find (connection, request->trashed, &found, status) == -1)
    return -1;
  /* Each move to the trash raises it. */
  if (request->listed && request->listed->disk.epoch != found.disk.epoch)
    return trash_fail_unknown (request->trashed, status);
  request->disk = found.disk;
  return 0;
}

/* The name may have come to mean another disk since its guard was taken. */
static int
check_only (const struct request *request, struct status *status)
{
  if (request->only == 0 || request->only == request->disk.id)
    return 0;
  return status_fail (status, EBUSY,
                      "disk '%s' has just been renamed or replaced; look at "
                      "it, and try again",
                      request->disk.name);
}

int
request_find_disk (struct connection *connection, struct request *request,
                   struct status *status)
{
  const int r = request->trashed
                    ? request_find_target (connection, request, status)
                    : snapshots_find_disk (connection, request->target,
                                           &request->disk, status);

  if (r == -1)
    return -1;
  return check_only (request, status);
}

int
request_find_snapshot (struct connection *connection, struct request *request,
                       bool times, struct status *status)
{
  if (request_find_target (connection, request, status) == -1 ||
      check_only (request, status) == -1)
    return -1;
  if (request->snapshot.id == 0)
    return status_fail (status, EINVAL, "'%s' is a disk; give DISK@SNAPSHOT",
                        request->target);
  if (times ||
      strcmp (strchr (request->target, '@') + 1, request->snapshot.name) == 0)
    return 0;
  return status_fail (
      status, EINVAL, "'%s' is a time; give the name of the snapshot, '%s@%s'",
      request->target, request->disk.name, request->snapshot.name);
}
