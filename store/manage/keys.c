/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The keys of encrypted disks, for manage.h.  What wraps and unwraps them is
 * the caller's process (encryption.h): here, and through a server's control
 * socket, there are only texts that say nothing without a secret.
 */

#include <config.h>

#include <errno.h>

#include "engine/engine.h"
#include "manage.h"
#include "manage/calls.h"
#include "manage/request.h"
#include "rows/features.h"
#include "rows/keys.h"

int
manage_encryption (struct store *store, const char *name,
                   struct encryption *encryption, struct status *status)
{
  struct optional list = { 0 };
  struct disk_info info;
  int r = store_find (store, name, &info, status);

  if (r == 0)
    r = manage_properties (store, name, &list, status);
  if (r == -1)
    return -1;
  r = keys_gather (&list, encryption, status);
  if (r == 0 && !encryption_is_there (encryption))
    r = info.encrypted ? keys_fail_lost (status)
                       : status_fail (status, EINVAL, "it is not encrypted");
  optional_free (&list);
  return r == -1 ? status_prefix (status, "disk '%s'", name) : 0;
}

/* A slot that is to change. */
struct change {
  struct request request;
  unsigned number;
  const char *before, *text;
};

static int
change_slot (struct connection *connection, void *opaque, struct status *status)
{
  struct change *change = opaque;
  struct request *request = &change->request;

  if (request_find_disk (connection, request, status) == -1)
    return -1;
  if (features_allow (connection, request->disk.id, FEATURE_CHANGE, status) ==
          -1 ||
      keys_set_slot (connection, request->disk.id, change->number,
                     change->before, change->text, status) == -1)
    return status_prefix (status, "disk '%s'", request->target);
  return 0;
}

int
manage_set_slot (struct store *store, const char *name, unsigned number,
                 const char *before, const char *text, struct status *status)
{
  struct change change = {
    .request.target = name,
    .number = number,
    .before = before,
    .text = text,
  };
  struct manage_call call = {
    .target = name,
    .id = number,
    .name = before,
    .text = text,
  };

  if (store_remote (store))
    return calls_ask (store, &call_manage_set_slot, &call, status);
  return store_change (store, change_slot, &change, status);
}
