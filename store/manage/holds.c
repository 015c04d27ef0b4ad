/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Holds of snapshots, for manage.h: properties hold:TAG, whose value is when
 * they were made.  What they keep from being deleted is looked at where rows of
 * snapshots are deleted (snapshots_check_held).
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sane.h"
#include "engine/engine.h"
#include "manage.h"
#include "manage/manage-parts.h"
#include "manage/request.h"
#include "rows/features.h"
#include "rows/properties.h"

/* A hold that is to be, or with RELEASE is to be no more. */
struct hold {
  struct request *request;
  const char *key, *tag; /* the tag is the end of the key */
  bool release;
};

/* There is no such hold among LIST; say which there are. */
static int
fail_no_hold (const struct hold *hold, const struct optional *list,
              struct status *status)
{
  bool any = false;

  for (size_t i = 0; i < list->property_count; i++)
    any |= optional_key_behind (list->properties[i].key, PROPERTY_HOLD) != NULL;
  status_fail (status, ENOENT, "it is not held by '%s'; it is held by%s",
               hold->tag, any ? ":" : " nobody");
  for (size_t i = 0; i < list->property_count; i++) {
    const char *tag =
        optional_key_behind (list->properties[i].key, PROPERTY_HOLD);

    if (tag && status_list_name (status, tag))
      break;
  }
  return -1;
}

static int
add_hold (struct connection *connection, const struct hold *hold,
          const struct optional *list, struct status *status)
{
  const struct property property = {
    .kind = PROPERTY_SNAPSHOT,
    .key = hold->key,
    .type = PROPERTY_INTEGER,
    .integer = time (NULL),
  };

  if (optional_find (list, hold->key))
    return status_fail (status, EEXIST, "it is held by '%s' already",
                        hold->tag);
  return properties_set (connection, hold->request->snapshot.id, &property,
                         status);
}

static int
end_hold (struct connection *connection, const struct hold *hold,
          const struct optional *list, struct status *status)
{
  const int r =
      properties_remove (connection, PROPERTY_SNAPSHOT,
                         hold->request->snapshot.id, hold->key, status);

  return r == 0 ? fail_no_hold (hold, list, status) : r == 1 ? 0 : -1;
}

static int
change_hold (struct connection *connection, const struct hold *hold,
             struct status *status)
{
  struct request *request = hold->request;
  struct optional list = { 0 };
  int r;

  if (request_find_snapshot (connection, request, false, status) == -1 ||
      features_allow (connection, request->snapshot.disk, FEATURE_CHANGE,
                      status) == -1)
    return -1;
  r = properties_read (connection, PROPERTY_SNAPSHOT, request->snapshot.id,
                       &list, status);
  if (r == 0)
    r = hold->release ? end_hold (connection, hold, &list, status)
                      : add_hold (connection, hold, &list, status);
  optional_free (&list);
  return r == -1 ? status_prefix (status, "snapshot '%s'", request->target) : 0;
}

int
manage_change_hold (struct connection *connection, struct request *request,
                    const char *tag, bool release, struct status *status)
{
  struct hold hold = { .request = request, .tag = tag, .release = release };
  char *key;
  int r;

  if (asprintf (&key, PROPERTY_HOLD "%s", tag) == -1)
    return status_no_memory (status);
  hold.key = key;
  /* Whatever holds it can be released. */
  r = release ? 0 : sane_check_key (key, status);
  if (r == 0)
    r = change_hold (connection, &hold, status);
  free (key);
  return r;
}

int
manage_hold (struct store *store, const char *target, const char *tag,
             struct status *status)
{
  const struct manage_step step = { target, tag };

  return manage_group (store, GROUP_HOLD, &step, 1, 0, status);
}

int
manage_release (struct store *store, const char *target, const char *tag,
                struct status *status)
{
  const struct manage_step step = { target, tag };

  return manage_group (store, GROUP_RELEASE, &step, 1, 0, status);
}
