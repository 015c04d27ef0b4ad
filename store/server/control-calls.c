/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What a server does for each call at its control socket: see control.h.
 *
 * Most are one function of the store.  What such a function takes for granted,
 * since its callers are this program, is checked here: numbers that say where
 * something is, and values that are looked at before they are used.  A client
 * names a disk that it has opened by its number in the session.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/grow.h"
#include "base/packed.h"
#include "base/sane.h"
#include "check/check-call.h"
#include "engine/engine.h"
#include "engine/remote.h"
#include "manage/calls.h"
#include "server/clients.h"
#include "server/control-parts.h"
#include "sqlite/files.h"

#define STORE serving->session->store

/*--------------------------------------------------------------------
 * Disks that a client has open.
 */

void
control_close_disk (struct session *session, size_t number)
{
  struct opened *opened = &session->disks[number];

  if (opened->by == OPENED)
    disk_close (opened->disk);
  else if (opened->by == OPENED_PINNED)
    manage_unpin (session->store, opened->disk);
  else if (opened->by == OPENED_INCOMING)
    manage_receive_cancel (session->store, opened->disk);
  json_decref (opened->arguments);
  message_memory_free (&opened->memory);
  *opened = (struct opened){ .by = OPENED_NOT };
}

/* Find a place for another one; NULL where there is none. */
static struct opened *
find_place (struct session *session, uint32_t *number, struct status *status)
{
  for (size_t i = 0; i < SESSION_DISKS; i++)
    if (session->disks[i].by == OPENED_NOT) {
      *number = i;
      return &session->disks[i];
    }
  status_fail (status, EMFILE, "a client can have %d disks open",
               SESSION_DISKS);
  return NULL;
}

/* The one that is open under NUMBER, opened as BY says, or for OPENED_NOT in
 * any way; NULL where there is none.
 */
static struct opened *
find_open (struct session *session, uint32_t number, enum opened_by by,
           struct status *status)
{
  struct opened *opened =
      number < SESSION_DISKS ? &session->disks[number] : NULL;

  if (opened && opened->by != OPENED_NOT &&
      (by == OPENED_NOT || opened->by == by))
    return opened;
  status_fail (status, EBADF, "no such disk is open under the number %u",
               number);
  return NULL;
}

/* Note that DISK, NULL where that has failed, is open. */
static int
note_open (struct opened *opened, enum opened_by by, struct disk *disk,
           struct disk_info *info, bool *readonly)
{
  if (disk == NULL)
    return -1;
  opened->by = by;
  opened->disk = disk;
  *info = *disk_get_info (disk);
  *readonly = disk_is_readonly (disk);
  return 0;
}

/* The disk that CALL asks for a range of it, which must be inside. */
static struct disk *
find_range (struct serving *serving, const struct store_call *call,
            struct status *status)
{
  struct opened *opened =
      find_open (serving->session, call->disk, OPENED_NOT, status);
  uint64_t size;

  if (opened == NULL)
    return NULL;
  size = disk_get_info (opened->disk)->size;
  if (call->count > 0 && call->count <= size &&
      call->offset <= size - call->count)
    return opened->disk;
  status_fail (status, EINVAL, "the range is not inside the disk");
  return NULL;
}

/*--------------------------------------------------------------------
 * The calls of store.h.
 */

static int
serve_store_open (struct serving *serving, void *values, struct status *status)
{
  char identity[PLACE_IDENTITY];
  struct store_call *call = values;

  /* What a call takes and gives may differ. */
  if (strcmp (call->version, PACKAGE_VERSION) != 0)
    return status_fail (status, ENOTSUP,
                        "the server is of version %s, and the command of "
                        "version %.40s: restart the server, or use the command "
                        "of its version",
                        PACKAGE_VERSION, call->version);
  store_identity (STORE, identity);
  if (strcmp (call->database, identity) == 0)
    return 0;
  return status_fail (status, EINVAL,
                      "the server at this socket serves another database, %s",
                      store_path (STORE));
}

/* A list of structs that grows. */
struct list {
  char *items;
  size_t count, size;
  bool no_memory;
};

static int
add_to_list (struct list *list, const void *item)
{
  char *items = grow (list->items, list->count, list->size);

  list->no_memory = items == NULL;
  if (items == NULL)
    return 1;
  list->items = items;
  memcpy (items + list->count++ * list->size, item, list->size);
  return 0;
}

/* The list is complete; R is what the call has returned that filled it. */
static int
keep_list (struct serving *serving, const struct list *list, int r,
           struct status *status)
{
  if (message_keep (&serving->memory, list->items, status) == -1)
    return -1;
  return list->no_memory ? status_no_memory (status) : r;
}

static int
add_disk (const struct disk_info *info, void *opaque)
{
  return add_to_list (opaque, info);
}

static int
add_snapshot (const struct snapshot_info *info, void *opaque)
{
  return add_to_list (opaque, info);
}

static int
serve_store_list (struct serving *serving, void *values, struct status *status)
{
  struct list list = { .size = sizeof (struct disk_info) };
  struct store_call *call = values;
  const int r = store_list (STORE, add_disk, &list, status);

  call->disks = (struct disk_info *)list.items;
  call->disk_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_store_list_snapshots (struct serving *serving, void *values,
                            struct status *status)
{
  struct list list = { .size = sizeof (struct snapshot_info) };
  struct store_call *call = values;
  const int r = store_list_snapshots (STORE, add_snapshot, &list, status);

  call->snapshots = (struct snapshot_info *)list.items;
  call->snapshot_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_store_find (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;

  return store_find (STORE, call->name, &call->info, status);
}

static int
serve_disk_open (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;
  struct opened *opened = find_place (serving->session, &call->disk, status);

  return opened ? note_open (opened, OPENED,
                             disk_open (STORE, call->name, true, status),
                             &call->info, &call->readonly)
                : -1;
}

static int
serve_disk_close (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;

  if (find_open (serving->session, call->disk, OPENED, status) == NULL)
    return -1;
  control_close_disk (serving->session, call->disk);
  return 0;
}

static int
serve_disk_read (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_range (serving, call, status);

  if (disk == NULL)
    return -1;
  if (call->count > CHANNEL_BYTES_MAX)
    return status_fail (status, EINVAL, "at most %zu bytes are read at a time",
                        CHANNEL_BYTES_MAX);
  serving->reply = malloc (call->count);
  serving->reply_length = call->count;
  if (serving->reply == NULL)
    return status_no_memory (status);
  return disk_read (disk, serving->reply, call->offset, call->count, status);
}

/* The disk that CALL asks for blocks of it to be packed, not too many. */
static struct disk *
find_packed (struct serving *serving, const struct store_call *call,
             struct status *status)
{
  struct disk *disk = find_range (serving, call, status);

  if (disk == NULL || (call->count <= PACKED_MAX &&
                       call->offset % disk_get_info (disk)->block_size == 0))
    return disk;
  status_fail (status, EINVAL, "at most %d bytes are packed at a time",
               PACKED_MAX);
  return NULL;
}

static int
serve_disk_read_packed (struct serving *serving, void *values,
                        struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_packed (serving, call, status);

  if (disk == NULL)
    return -1;
  serving->reply =
      malloc (PACKED_ROOM (call->count, disk_get_info (disk)->block_size));
  if (serving->reply == NULL)
    return status_no_memory (status);
  return disk_read_packed (disk, serving->reply, call->offset, call->count,
                           &serving->reply_length, status);
}

static int
serve_disk_measure_packed (struct serving *serving, void *values,
                           struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_packed (serving, call, status);
  size_t length = 0;

  if (disk == NULL || disk_read_packed (disk, NULL, call->offset, call->count,
                                        &length, status) == -1)
    return -1;
  call->length = length;
  return 0;
}

/* Only what comes in is written through the socket. */
static struct disk *
find_written (struct serving *serving, const struct store_call *call,
              struct status *status)
{
  if (find_open (serving->session, call->disk, OPENED_INCOMING, status) == NULL)
    return NULL;
  return find_range (serving, call, status);
}

static int
serve_disk_fill (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_written (serving, call, status);

  if (disk == NULL)
    return -1;
  if (serving->data_length != call->count)
    return status_fail (status, EINVAL,
                        "other bytes have come than are to be written");
  return disk_fill (disk, serving->data, call->offset, call->count, status);
}

static int
serve_disk_fill_packed (struct serving *serving, void *values,
                        struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_written (serving, call, status);

  return disk ? disk_fill_packed (disk, serving->data, serving->data_length,
                                  call->offset, call->count, call->anew, status)
              : -1;
}

static int
serve_disk_zero (struct serving *serving, void *values, struct status *status)
{
  struct store_call *call = values;
  struct disk *disk = find_written (serving, call, status);

  return disk ? disk_zero (disk, call->offset, call->count, false, status) : -1;
}

static int
add_extent (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  const struct message_range range = { offset, count, hole };

  return add_to_list (opaque, &range) == 0 ? 0 : -1;
}

static int
serve_disk_extents (struct serving *serving, void *values,
                    struct status *status)
{
  struct list list = { .size = sizeof (struct message_range) };
  struct store_call *call = values;
  struct disk *disk = find_range (serving, call, status);
  int r;

  if (disk == NULL)
    return -1;
  r = disk_extents (disk, call->offset, call->count, call->one, add_extent,
                    &list, status);
  call->extents = (struct message_range *)list.items;
  call->extent_count = list.count;
  return keep_list (serving, &list, r, status);
}

/*--------------------------------------------------------------------
 * Changing disks and snapshots.
 */

/* No transaction is to look up much more than this while clients of NBD wait
 * to write.
 */
#define TARGETS_MAX  100000
#define SETTINGS_MAX (2 * PROPERTIES_MAX)

static int
check_lists (const struct manage_call *call, struct status *status)
{
  if (call->target_count <= TARGETS_MAX && call->step_count <= TARGETS_MAX &&
      call->options.settings_count <= SETTINGS_MAX)
    return 0;
  return status_fail (status, E2BIG,
                      "this is too much to be asked of a server at once; ask "
                      "for less at a time");
}

/* A call of one function, which returns what that EXPRESSION does; CALL is what
 * it takes.
 */
#define SERVE(name, expression)                                                \
  static int serve_##name (struct serving *serving, void *values,              \
                           struct status *status)                              \
  {                                                                            \
    struct manage_call *call = values;                                         \
                                                                               \
    if (check_lists (call, status) == -1)                                      \
      return -1;                                                               \
    return expression;                                                         \
  }

SERVE (manage_create, manage_create (STORE, &call->options, status))
SERVE (manage_rename, manage_rename (STORE, call->target, call->name, status))
SERVE (manage_describe,
       manage_describe (STORE, call->target, call->text, status))
SERVE (manage_set, manage_set (STORE, call->target, &call->options, status))
SERVE (manage_resize,
       manage_resize (STORE, call->disk, call->size, call->shrink, status))
SERVE (manage_delete,
       manage_delete (STORE, call->disk, call->snapshots, call->force, status))
SERVE (manage_try_delete, manage_try_delete (STORE, call->disk, call->snapshots,
                                             call->force, status))
SERVE (manage_discard, manage_discard (STORE, call->disk, call->snapshots,
                                       call->force, &call->trashed, status))
SERVE (manage_try_discard,
       manage_try_discard (STORE, call->disk, call->snapshots, call->force,
                           &call->trashed, status))
SERVE (manage_undelete, manage_undelete (STORE, call->id, call->name, status))
SERVE (manage_try_undelete,
       manage_try_undelete (STORE, call->id, call->name, status))
SERVE (manage_purge, manage_purge (STORE, &call->trashed, status))
SERVE (manage_try_purge, manage_try_purge (STORE, &call->trashed, status))
SERVE (manage_snapshot,
       manage_snapshot (STORE, call->targets, call->target_count, call->name,
                        status))
SERVE (manage_delete_snapshots,
       manage_delete_snapshots (STORE, call->targets, call->target_count,
                                status))
SERVE (manage_try_delete_snapshots,
       manage_try_delete_snapshots (STORE, call->targets, call->target_count,
                                    status))
SERVE (manage_group, manage_group (STORE, call->kind, call->steps,
                                   call->step_count, call->flags, status))
SERVE (manage_bookmark,
       manage_bookmark (STORE, call->target, call->name, status))
SERVE (manage_delete_bookmarks,
       manage_delete_bookmarks (STORE, call->targets, call->target_count,
                                status))
SERVE (manage_rollback,
       manage_rollback (STORE, call->target, call->force, status))
SERVE (manage_try_rollback,
       manage_try_rollback (STORE, call->target, call->force, status))
SERVE (manage_clone,
       manage_clone (STORE, call->source, call->name, call->text, status))
SERVE (manage_set_slot,
       call->id < 0 || call->id >= ENCRYPTION_SLOTS
           ? status_fail (status, EINVAL, "there is no such slot")
           : manage_set_slot (STORE, call->target, call->id, call->name,
                              call->text, status))
SERVE (manage_reclaim_hidden, manage_reclaim_hidden (STORE, status))
SERVE (manage_forget_copies, manage_forget_copies (STORE, status))

/* These take long. */
SERVE (manage_count,
       manage_count (STORE, session_progress, serving->session, status))
SERVE (manage_flatten, manage_flatten (STORE, call->disk, session_progress,
                                       serving->session, status))
SERVE (manage_shrink_file,
       manage_shrink_file (STORE, call->keep, session_progress,
                           serving->session, status))

/* What the client has seen of the disk is compared with what it is. */
static int
serve_manage_resize_found (struct serving *serving, void *values,
                           struct status *status)
{
  struct manage_call *call = values;

  if (!sane_geometry (call->info.size, call->info.block_size))
    return status_fail (status, EINVAL, "no disk can be so");
  return manage_resize_found (STORE, &call->info, call->size, call->shrink,
                              status);
}

static int
serve_manage_reclaim (struct serving *serving, void *values,
                      struct status *status)
{
  struct manage_call *call = values;

  serving->has_results = true;
  return manage_reclaim (STORE, session_progress, serving->session,
                         &call->freed, status);
}

static int
serve_recompress_disk (struct serving *serving, void *values,
                       struct status *status)
{
  struct manage_call *call = values;

  serving->has_results = true;
  return recompress_disk (STORE, call->disk, session_progress, serving->session,
                          &call->done, status);
}

/*--------------------------------------------------------------------
 * Looking.
 */

SERVE (manage_find_snapshot,
       manage_find_snapshot (STORE, call->target, &call->snapshot, status))
SERVE (manage_find_bookmark,
       manage_find_bookmark (STORE, call->target, &call->bookmark, status))
SERVE (manage_details,
       manage_details (STORE, call->target, &call->details, status))
SERVE (manage_file, manage_file (STORE, &call->file, status))

static int
add_use (const struct manage_use *use, void *opaque)
{
  return add_to_list (opaque, use);
}

static int
serve_manage_list_uses (struct serving *serving, void *values,
                        struct status *status)
{
  struct list list = { .size = sizeof (struct manage_use) };
  struct manage_call *call = values;
  const int r = manage_list_uses (STORE, add_use, &list, status);

  call->uses = (struct manage_use *)list.items;
  call->use_count = list.count;
  return keep_list (serving, &list, r, status);
}

/* Who this server is, and who is at it. */
static int
serve_server_ask (struct serving *serving, void *values, struct status *status)
{
  struct server_call *call = values;
  struct server_report *report = &call->report;
  struct utsname host;

  uname (&host);
  report->process = getpid ();
  report->user = geteuid ();
  report->since = serving->session->since;
  snprintf (report->host, sizeof report->host, "%s", host.nodename);
  snprintf (report->version, sizeof report->version, "%s", PACKAGE_VERSION);
  report->clients = clients_copy (serving->session->clients, &report->count);
  if (report->clients == NULL)
    return status_no_memory (status);
  return message_keep (&serving->memory, (void *)report->clients, status);
}

static int
serve_manage_totals (struct serving *serving, void *values,
                     struct status *status)
{
  struct manage_call *call = values;

  serving->has_results = true;
  return manage_totals (STORE, &call->totals, session_progress,
                        serving->session, status);
}

static int
serve_manage_list_snapshots (struct serving *serving, void *values,
                             struct status *status)
{
  struct list list = { .size = sizeof (struct snapshot_info) };
  struct manage_call *call = values;
  const int r =
      manage_list_snapshots (STORE, call->disk, add_snapshot, &list, status);

  call->list = (struct snapshot_info *)list.items;
  call->list_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
add_bookmark (const struct bookmark_info *info, void *opaque)
{
  return add_to_list (opaque, info);
}

static int
serve_manage_list_bookmarks (struct serving *serving, void *values,
                             struct status *status)
{
  struct list list = { .size = sizeof (struct bookmark_info) };
  struct manage_call *call = values;
  const int r =
      manage_list_bookmarks (STORE, call->disk, add_bookmark, &list, status);

  call->bookmarks = (struct bookmark_info *)list.items;
  call->bookmark_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
add_trashed (const struct trashed_disk *disk, void *opaque)
{
  return add_to_list (opaque, disk);
}

static int
serve_manage_list_trash (struct serving *serving, void *values,
                         struct status *status)
{
  struct list list = { .size = sizeof (struct trashed_disk) };
  struct manage_call *call = values;
  const int r = manage_list_trash (STORE, add_trashed, &list, status);

  call->trash = (struct trashed_disk *)list.items;
  call->trash_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_manage_list_trash_snapshots (struct serving *serving, void *values,
                                   struct status *status)
{
  struct list list = { .size = sizeof (struct snapshot_info) };
  struct manage_call *call = values;
  const int r =
      manage_list_trash_snapshots (STORE, add_snapshot, &list, status);

  call->list = (struct snapshot_info *)list.items;
  call->list_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_manage_list_origins (struct serving *serving, void *values,
                           struct status *status)
{
  struct list list = { .size = sizeof (struct snapshot_info) };
  struct manage_call *call = values;
  const int r =
      manage_list_origins (STORE, &call->snapshot, add_snapshot, &list, status);

  call->list = (struct snapshot_info *)list.items;
  call->list_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_manage_properties (struct serving *serving, void *values,
                         struct status *status)
{
  struct manage_call *call = values;
  const int r =
      manage_properties (STORE, call->target, &serving->optional, status);

  call->optional = serving->optional;
  return r;
}

static int
serve_manage_outgoing (struct serving *serving, void *values,
                       struct status *status)
{
  struct manage_call *call = values;
  const int r = manage_outgoing (STORE, &call->snapshot, call->whole,
                                 &serving->optional, status);

  call->optional = serving->optional;
  return r;
}

static int
serve_manage_usage (struct serving *serving, void *values,
                    struct status *status)
{
  struct manage_call *call = values;

  for (size_t i = 0; i < call->item_count; i++)
    if (call->items[i].group >= call->groups)
      return status_fail (status, EINVAL, "there is no such group");
  if (call->groups > call->item_count)
    return status_fail (status, EINVAL, "there are groups without items");
  call->frees = calloc (call->groups + 1, sizeof *call->frees);
  if (call->frees == NULL)
    return status_no_memory (status);
  if (message_keep (&serving->memory, call->frees, status) == -1)
    return -1;
  call->frees_count = call->groups;
  serving->has_results = true;
  return manage_usage (STORE, call->items, call->item_count, call->frees,
                       call->groups, session_progress, serving->session,
                       status);
}

/*--------------------------------------------------------------------
 * Differences.
 */

/* How many ranges are told of at a time. */
#define RANGES 1024

struct telling {
  struct session *session;
  struct message_range ranges[RANGES];
  size_t count;
};

static int
tell_ranges (struct telling *telling)
{
  const struct range_list list = { telling->ranges, telling->count };

  if (telling->count == 0)
    return 0;
  telling->count = 0;
  return session_tell_and_wait (telling->session,
                                message_write (calls_ranges, "ranges", &list));
}

static int
add_range (uint64_t offset, uint64_t count, bool hole, void *opaque)
{
  struct telling *telling = opaque;

  telling->ranges[telling->count++] =
      (struct message_range){ offset, count, hole };
  return telling->count == RANGES ? tell_ranges (telling) : 0;
}

/* Where a client compares and is told, it may make other calls, but that. */
static int
begin_diff (struct serving *serving, struct telling *telling,
            struct status *status)
{
  if (serving->session->waiting)
    return status_fail (status, EBUSY, "a comparison is running");
  telling->session = serving->session;
  telling->count = 0;
  return 0;
}

/* A comparison has returned R. */
static int
end_diff (struct telling *telling, int r, struct status *status)
{
  return r == 0 && tell_ranges (telling) == -1
             ? status_fail (status, ECANCELED, "interrupted")
             : r;
}

static int
serve_manage_diff (struct serving *serving, void *values, struct status *status)
{
  struct manage_call *call = values;
  struct telling telling;

  if (begin_diff (serving, &telling, status) == -1)
    return -1;
  return end_diff (
      &telling,
      manage_diff (STORE, call->from, call->to, add_range, &telling, status),
      status);
}

/* The disk that the client has open, as INFO says. */
static const struct disk_info *
find_info (struct session *session, const struct disk_info *info,
           struct status *status)
{
  const struct disk_info *open;

  for (size_t i = 0; i < SESSION_DISKS; i++) {
    if (session->disks[i].by == OPENED_NOT)
      continue;
    open = disk_get_info (session->disks[i].disk);
    if (open->id == info->id && open->snapshot == info->snapshot)
      return open;
  }
  status_fail (status, EBADF, "what is to be compared is not open");
  return NULL;
}

static int
serve_manage_diff_found (struct serving *serving, void *values,
                         struct status *status)
{
  struct manage_call *call = values;
  const bool has_from = call->from_info.id != 0;
  const struct disk_info *from =
      has_from ? find_info (serving->session, &call->from_info, status) : NULL;
  const struct disk_info *to =
      find_info (serving->session, &call->to_info, status);
  struct telling telling;

  if ((has_from && from == NULL) || to == NULL ||
      begin_diff (serving, &telling, status) == -1)
    return -1;
  if (has_from)
    call->from_info = *from;
  call->to_info = *to;
  return end_diff (&telling,
                   manage_diff_found (STORE, has_from ? &call->from_info : NULL,
                                      &call->to_info, add_range, &telling,
                                      status),
                   status);
}

static int
serve_manage_diff_bookmark (struct serving *serving, void *values,
                            struct status *status)
{
  struct manage_call *call = values;
  const struct disk_info *to =
      find_info (serving->session, &call->to_info, status);
  struct telling telling;

  if (to == NULL)
    return -1;
  if (call->bookmark.size == 0 || call->bookmark.size > INT64_MAX ||
      call->bookmark.block_size != to->block_size)
    return status_fail (status, EINVAL, "no bookmark can be so");
  if (begin_diff (serving, &telling, status) == -1)
    return -1;
  call->to_info = *to;
  return end_diff (&telling,
                   manage_diff_bookmark (STORE, &call->bookmark, &call->to_info,
                                         add_range, &telling, status),
                   status);
}

/*--------------------------------------------------------------------
 * What goes out and comes in.
 */

static int
serve_manage_pin (struct serving *serving, void *values, struct status *status)
{
  struct manage_call *call = values;
  struct opened *opened = find_place (serving->session, &call->open, status);

  return opened ? note_open (opened, OPENED_PINNED,
                             manage_pin (STORE, call->target, status),
                             &call->info, &call->readonly)
                : -1;
}

static int
serve_manage_unpin (struct serving *serving, void *values,
                    struct status *status)
{
  struct manage_call *call = values;

  if (find_open (serving->session, call->open, OPENED_PINNED, status) == NULL)
    return -1;
  control_close_disk (serving->session, call->open);
  return 0;
}

/* Is this what a stream may bring (stream.h)? */
static int
check_optional (const struct optional *optional, struct status *status)
{
  bool right = optional->property_count <= 2 * PROPERTIES_MAX &&
               optional->feature_count <= FEATURES_MAX;

  for (size_t i = 0; right && i < optional->property_count; i++) {
    const struct property *property = &optional->properties[i];

    right =
        sane_key (property->key) && !optional_stays (property->key) &&
        (property->kind == PROPERTY_DISK ||
         property->kind == PROPERTY_SNAPSHOT) &&
        (property->type == PROPERTY_INTEGER ||
         property->type == PROPERTY_TEXT || property->type == PROPERTY_BYTES) &&
        property->length <= PROPERTY_VALUE_MAX && !property->damaged;
  }
  for (size_t i = 0; right && i < optional->feature_count; i++)
    right = sane_key (optional->features[i].name) &&
            optional->features[i].class > 0;
  return right ? 0
               : status_fail (status, EINVAL,
                              "a property or feature cannot come in");
}

/* NULL where there is nothing: what an import brings says nothing of itself. */
static const struct optional *
none_or (const struct optional *optional)
{
  return optional->property_count + optional->feature_count > 0 ? optional
                                                                : NULL;
}

/* Is this what can come in?  manage_receive looks at the rest. */
static int
check_incoming (const struct manage_incoming *incoming, struct status *status)
{
  if ((incoming->base_guid != 0 && incoming->base == NULL) ||
      (incoming->base_guid == 0 && incoming->origin))
    return status_fail (status, EINVAL, "the base has no name");
  if (incoming->origin && sane_check ("the name of a disk", incoming->origin,
                                      DISK_NAME_MAX, status) == -1)
    return -1;
  return incoming->base ? sane_check ("the name of a snapshot", incoming->base,
                                      SNAPSHOT_NAME_MAX, status)
                        : 0;
}

/* What is said of it counts until its end. */
static int
serve_manage_receive (struct serving *serving, void *values,
                      struct status *status)
{
  struct manage_call *call = values;
  struct opened *opened = find_place (serving->session, &call->open, status);

  if (opened == NULL || check_optional (&call->optional, status) == -1 ||
      check_incoming (&call->incoming, status) == -1)
    return -1;
  opened->incoming = call->incoming;
  opened->optional = call->optional;
  opened->incoming.optional = none_or (&opened->optional);
  if (note_open (opened, OPENED_INCOMING,
                 manage_receive (STORE, &opened->incoming, status), &call->info,
                 &call->readonly) == -1)
    return -1;
  opened->arguments = json_incref ((json_t *)serving->arguments);
  opened->memory = serving->memory;
  serving->memory = (struct message_memory){ 0 };
  return 0;
}

static int
serve_manage_try_receive (struct serving *serving, void *values,
                          struct status *status)
{
  struct manage_call *call = values;

  if (check_optional (&call->optional, status) == -1 ||
      check_incoming (&call->incoming, status) == -1)
    return -1;
  call->incoming.optional = none_or (&call->optional);
  return manage_try_receive (STORE, &call->incoming, status);
}

static int
serve_manage_receive_end (struct serving *serving, void *values,
                          struct status *status)
{
  struct manage_call *call = values;
  struct opened *opened =
      find_open (serving->session, call->open, OPENED_INCOMING, status);
  int r;

  if (opened == NULL)
    return -1;
  opened->incoming.size = call->size;
  r = manage_receive_end (STORE, opened->disk, &opened->incoming, status);
  /* It is closed, whatever became of it. */
  opened->by = OPENED_NOT;
  control_close_disk (serving->session, call->open);
  return r;
}

static int
serve_manage_receive_keep (struct serving *serving, void *values,
                           struct status *status)
{
  struct manage_call *call = values;
  struct opened *opened =
      find_open (serving->session, call->open, OPENED_INCOMING, status);

  return opened ? manage_receive_keep (STORE, opened->disk, &opened->incoming,
                                       call->size, status)
                : -1;
}

SERVE (manage_receive_abort, manage_receive_abort (STORE, call->disk, status))

static int
add_partial (const struct partial_info *info, void *opaque)
{
  return add_to_list (opaque, info);
}

static int
serve_manage_list_partial (struct serving *serving, void *values,
                           struct status *status)
{
  struct list list = { .size = sizeof (struct partial_info) };
  struct manage_call *call = values;
  const int r = manage_list_partial (STORE, add_partial, &list, status);

  call->partial = (struct partial_info *)list.items;
  call->partial_count = list.count;
  return keep_list (serving, &list, r, status);
}

static int
serve_manage_receive_cancel (struct serving *serving, void *values,
                             struct status *status)
{
  struct manage_call *call = values;

  if (find_open (serving->session, call->open, OPENED_INCOMING, status) == NULL)
    return -1;
  control_close_disk (serving->session, call->open);
  return 0;
}

static int
serve_manage_receive_clean (struct serving *serving, void *values,
                            struct status *status)
{
  struct manage_call *call = values;

  serving->has_results = true;
  return manage_receive_clean (STORE, &call->removed, status);
}

/* A server may have directories of its own, such as a /tmp. */
static int
check_same_directory (const struct manage_call *call, struct status *status)
{
  char *directory = files_directory (call->path);
  char identity[PLACE_IDENTITY];
  int r = directory ? place_identify (directory, identity, status)
                    : status_no_memory (status);

  free (directory);
  if (r == 0 && strcmp (identity, call->directory) != 0)
    r = status_fail (status, EXDEV,
                     "%s: the server has another directory of that name; give "
                     "one that both have",
                     call->path);
  return r;
}

static int
serve_manage_backup (struct serving *serving, void *values,
                     struct status *status)
{
  struct manage_call *call = values;

  if (call->path[0] != '/')
    return status_fail (status, EINVAL, "the name of the file is relative");
  if (check_same_directory (call, status) == -1)
    return -1;
  return manage_backup (STORE, call->path, session_progress, serving->session,
                        &call->copied, status);
}

/*--------------------------------------------------------------------
 * Checking.
 */

static void
tell_problem (const struct check_problem *problem, void *opaque)
{
  const struct check_call call = { .problem = *problem };

  session_tell (opaque, message_write (check_fields, CHECK_CALL_FOUND, &call));
}

static int
serve_check_database (struct serving *serving, void *values,
                      struct status *status)
{
  const struct check_options options = {
    .found = tell_problem,
    .progress = session_progress,
    .opaque = serving->session,
  };
  struct check_call *call = values;

  serving->has_results = true;
  return check_database (STORE, &options, &call->counts, status);
}

/*--------------------------------------------------------------------
 * All of them.
 */

#define LISTED(name, arguments, results) { &call_##name, serve_##name },

static const struct control_call calls[] = {
  EACH_STORE_CALL (LISTED)
      EACH_MANAGE_CALL (LISTED){ &call_check_database, serve_check_database },
  { &call_server_ask, serve_server_ask },
};

const struct control_call *
control_find_call (const char *name)
{
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
    if (strcmp (calls[i].type->name, name) == 0)
      return &calls[i];
  return NULL;
}
