/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Several changes of one kind at once, for manage.h: the guards of all disks
 * that need one are taken, and then one transaction makes all changes, each as
 * it would be made alone.  Where one fails, none is made.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/count.h"
#include "base/sane.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/manage-parts.h"
#include "manage/request.h"
#include "sqlite/guard.h"

/* So many disks can be kept from servers at once: each needs a descriptor, of
 * which a process has 1024 usually.
 */
#define GUARDS_MAX 500

/* The disk of one of the changes, if that is guarded. */
struct guarded {
  int64_t id;
  int guard; /* or -1 */
};

/* All of them, as one request; its change finds the others by it. */
struct group {
  struct request request; /* the first member */
  enum manage_group_kind kind;
  const struct manage_step *steps;
  size_t count;
  unsigned flags;
  struct guarded *disks;       /* NULL: none are guarded */
  struct trashed_disk trashed; /* the last that went to the trash */
};

/* Does this need that no server has the disk open? */
static bool
needs_guard (enum manage_group_kind kind)
{
  return kind == GROUP_DELETE || kind == GROUP_ROLLBACK;
}

/* What one of the changes is asked for. */
static struct request
request_of (struct group *group, size_t i)
{
  const struct manage_step *step = &group->steps[i];

  return (struct request){
    .path = group->request.path,
    .target = step->target,
    .targets = &step->target,
    .count = 1,
    .name = step->name,
    .only = group->disks ? group->disks[i].id : 0,
    .snapshots = group->flags & GROUP_SNAPSHOTS,
    .force = group->flags & GROUP_FORCE,
    .guard = group->request.guard,
    .to_trash = group->flags & GROUP_DISCARD ? &group->trashed : NULL,
  };
}

/* Make one of the changes. */
static int
change_one (struct connection *connection, enum manage_group_kind kind,
            struct request *request, struct status *status)
{
  const struct disk_options options = { .name = request->name };

  switch (kind) {
  case GROUP_DELETE:
    return manage_delete_change (connection, request, status);
  case GROUP_SNAPSHOT:
    return manage_snapshot_change (connection, request, status);
  case GROUP_HOLD:
    return manage_change_hold (connection, request, request->name, false,
                               status);
  case GROUP_RELEASE:
    return manage_change_hold (connection, request, request->name, true,
                               status);
  case GROUP_ROLLBACK:
    return manage_rollback_change (connection, request, status);
  case GROUP_CLONE:
    request->options = &options;
    return manage_clone_change (connection, request, status);
  }
  return status_fail (status, EINVAL, "there is no such kind of change");
}

/* Make all of them.  One guard keeps readers from all that is deleted. */
static int
change_all (struct connection *connection, void *opaque, struct status *status)
{
  struct group *group = opaque;
  int r = 0;

  for (size_t i = 0; r == 0 && i < group->count; i++) {
    struct request request = request_of (group, i);

    r = change_one (connection, group->kind, &request, status);
    group->request.guard = request.guard;
  }
  return r;
}

/* Is the disk of TARGET that of OTHER? */
static bool
is_same_disk (const char *target, const char *other)
{
  const size_t length = strcspn (target, "@");

  return strcspn (other, "@") == length && strncmp (target, other, length) == 0;
}

/* Take the guards, each once: whoever asks for one twice would wait for
 * himself.
 */
static int
take_guards (struct store *store, struct group *group, struct status *status)
{
  for (size_t i = 0; i < group->count; i++) {
    struct request request = request_of (group, i);

    for (size_t j = 0; j < i; j++)
      if (is_same_disk (group->steps[j].target, request.target))
        return status_fail (status, EINVAL,
                            "'%s' and '%s' are the same disk; name each once",
                            group->steps[j].target, request.target);
    if (manage_guard_target (store, &request, request.force,
                             &group->disks[i].guard, status) == -1)
      return -1;
    group->disks[i].id = request.only;
  }
  return 0;
}

/* Make the changes, where that needs the guards of their disks. */
static int
change_guarded (struct store *store, struct group *group, struct status *status)
{
  int r;

  group->disks = calloc (group->count + 1, sizeof *group->disks);
  if (group->disks == NULL)
    return status_no_memory (status);
  for (size_t i = 0; i < group->count; i++)
    group->disks[i].guard = -1;
  r = take_guards (store, group, status);
  if (r == 0)
    r = manage_change (store, group->flags & GROUP_TRY, &group->request,
                       status);
  for (size_t i = 0; i < group->count; i++)
    if (group->disks[i].guard != -1)
      guard_release (group->disks[i].guard);
  free (group->disks);
  return r;
}

/* Is this what can be asked for? */
static int
check_steps (enum manage_group_kind kind, const struct manage_step *steps,
             size_t count, struct status *status)
{
  if (needs_guard (kind) && count > GUARDS_MAX)
    return status_fail (status, E2BIG,
                        "these are %s, and at most %d can be changed so at "
                        "once; name fewer at a time",
                        COUNT (count, "disk"), GUARDS_MAX);
  for (size_t i = 0; i < count; i++) {
    /* An empty one would be the oldest disk. */
    if (steps[i].target == NULL || strcspn (steps[i].target, "@") == 0)
      return status_fail (status, EINVAL, "the name of a disk is missing");
    if (steps[i].name == NULL && kind != GROUP_DELETE && kind != GROUP_ROLLBACK)
      return status_fail (status, EINVAL, "a name is missing");
    if ((kind == GROUP_SNAPSHOT &&
         sane_check_snapshot (steps[i].name, status) == -1) ||
        (kind == GROUP_CLONE && sane_check ("the name of a disk", steps[i].name,
                                            DISK_NAME_MAX, status) == -1))
      return -1;
  }
  return 0;
}

int
manage_group (struct store *store, enum manage_group_kind kind,
              const struct manage_step *steps, size_t count, unsigned flags,
              struct status *status)
{
  struct group group = {
    .request.change = change_all,
    .kind = kind,
    .steps = steps,
    .count = count,
    .flags = flags,
  };

  if (store_remote (store))
    return calls_ask (
        store, &call_manage_group,
        &(struct manage_call){
            .kind = kind, .steps = steps, .step_count = count, .flags = flags },
        status);
  if (check_steps (kind, steps, count, status) == -1)
    return -1;
  group.request.path = store_path (store);
  group.request.guard = -1;
  return needs_guard (kind)
             ? change_guarded (store, &group, status)
             : manage_change (store, flags & GROUP_TRY, &group.request, status);
}
