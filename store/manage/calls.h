/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The calls of manage.h to a server (engine/remote.h): what goes over the
 * socket, in the one list from which both ends have it.
 *
 * To add one: a line here, its fields in calls.c if they are new; in the
 * function two lines that make the call where the store is a server's; and in
 * server/control-calls.c what the server does then.
 */

#ifndef SQLBLOCK_CALLS_H
#define SQLBLOCK_CALLS_H

#include "engine/remote.h"
#include "manage.h"

struct manage_call {
  const char *target, *name, *text, *disk, *source, *from, *to;
  const char *const *targets;
  size_t target_count;
  enum manage_group_kind kind;
  const struct manage_step *steps;
  size_t step_count;
  uint32_t flags;
  bool shrink, snapshots, force, whole;
  uint64_t size, keep, freed;
  uint32_t open; /* the number of a disk that is open */
  uint32_t removed;
  int64_t id;
  struct trashed_disk trashed;
  const struct trashed_disk *trash;
  size_t trash_count;
  struct disk_options options;
  struct disk_info info, from_info, to_info;
  bool readonly;
  struct snapshot_info snapshot;
  const struct snapshot_info *list;
  size_t list_count;
  struct bookmark_info bookmark;
  const struct bookmark_info *bookmarks;
  size_t bookmark_count;
  const struct partial_info *partial;
  size_t partial_count;
  struct manage_details details;
  struct manage_file file;
  struct totals totals;
  const struct manage_use *uses;
  size_t use_count;
  struct recompressed done;
  const char *path, *directory;
  struct backup_counts copied;
  struct optional optional;
  struct manage_incoming incoming; /* without its optional */
  struct usage_item *items;
  size_t item_count, groups;
  uint64_t *frees;
  size_t frees_count;
};
extern const struct field manage_fields[];

#define EACH_MANAGE_CALL(X)                                                    \
  X (manage_create, "options", "")                                             \
  X (manage_rename, "target name", "")                                         \
  X (manage_describe, "target text", "")                                       \
  X (manage_set, "target options", "")                                         \
  X (manage_resize, "disk size shrink?", "")                                   \
  X (manage_resize_found, "info size shrink", "")                              \
  X (manage_count, "", "")                                                     \
  X (manage_delete, "disk snapshots? force?", "")                              \
  X (manage_try_delete, "disk snapshots? force?", "")                          \
  X (manage_discard, "disk snapshots? force?", "trashed")                      \
  X (manage_try_discard, "disk snapshots? force?", "trashed")                  \
  X (manage_list_trash, "", "trash")                                           \
  X (manage_list_trash_snapshots, "", "list")                                  \
  X (manage_undelete, "id name?", "")                                          \
  X (manage_try_undelete, "id name?", "")                                      \
  X (manage_purge, "trashed", "")                                              \
  X (manage_try_purge, "trashed", "")                                          \
  X (manage_snapshot, "targets name", "")                                      \
  X (manage_delete_snapshots, "targets", "")                                   \
  X (manage_try_delete_snapshots, "targets", "")                               \
  X (manage_group, "kind steps flags?", "")                                    \
  X (manage_bookmark, "target name", "")                                       \
  X (manage_find_bookmark, "target", "bookmark")                               \
  X (manage_list_bookmarks, "disk?", "bookmarks")                              \
  X (manage_delete_bookmarks, "targets", "")                                   \
  X (manage_rollback, "target force?", "")                                     \
  X (manage_try_rollback, "target force?", "")                                 \
  X (manage_clone, "source name text?", "")                                    \
  X (manage_flatten, "disk", "")                                               \
  X (manage_reclaim, "", "freed")                                              \
  X (manage_reclaim_hidden, "", "")                                            \
  X (manage_forget_copies, "", "")                                             \
  X (manage_shrink_file, "keep", "")                                           \
  X (manage_find_snapshot, "target", "snapshot")                               \
  X (manage_list_snapshots, "disk?", "list")                                   \
  X (manage_list_origins, "snapshot", "list")                                  \
  X (manage_details, "target", "details")                                      \
  X (manage_properties, "target", "optional")                                  \
  X (manage_set_slot, "target id name text", "")                               \
  X (manage_usage, "items groups", "items frees")                              \
  X (manage_file, "", "file")                                                  \
  X (manage_totals, "", "totals")                                              \
  X (manage_list_uses, "", "uses")                                             \
  X (manage_diff, "from? to", "")                                              \
  X (manage_diff_found, "from_info? to_info", "")                              \
  X (manage_diff_bookmark, "bookmark to_info", "")                             \
  X (manage_pin, "target", "open info readonly")                               \
  X (manage_unpin, "open", "")                                                 \
  X (manage_outgoing, "snapshot whole", "optional")                            \
  X (manage_receive, "incoming optional?", "open info readonly")               \
  X (manage_try_receive, "incoming optional?", "")                             \
  X (manage_receive_end, "open size", "")                                      \
  X (manage_receive_keep, "open size", "")                                     \
  X (manage_list_partial, "", "partial")                                       \
  X (manage_receive_abort, "disk", "")                                         \
  X (manage_receive_cancel, "open", "")                                        \
  X (manage_receive_clean, "", "removed")                                      \
  X (recompress_disk, "disk", "done")                                          \
  X (manage_backup, "path directory", "copied")

EACH_MANAGE_CALL (CALL_DECLARED)

/* Make the call in the server that has STORE open.  Returns what the function
 * there has; results are in CALL, until the next one.
 */
int calls_ask (struct store *store, const struct call_type *type,
               struct manage_call *call, struct status *status);

/* The same for one that may take long. */
int calls_ask_long (struct store *store, const struct call_type *type,
                    struct manage_call *call, progress_made progress,
                    void *opaque, struct status *status);

/* The same for one that finds ranges, some at a time; FOUND may make calls. */
int calls_ask_ranges (struct store *store, const struct call_type *type,
                      struct manage_call *call, difference_found found,
                      void *opaque, struct status *status);

/* Some of them. */
struct range_list {
  const struct message_range *ranges;
  size_t count;
};
extern const struct field calls_ranges[];

#endif /* SQLBLOCK_CALLS_H */
