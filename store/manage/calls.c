/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What the calls of manage.h take and give, as JSON: see calls.h. */

#include <config.h>

#include "engine/engine.h"
#include "manage/calls.h"

static const struct field text_alone[] = {
  { .kind = FIELD_TEXT, .size = sizeof (const char *) },
  FIELD_END,
};

static const struct field number_alone[] = {
  { .kind = FIELD_UNSIGNED, .size = sizeof (uint64_t) },
  FIELD_END,
};

static const struct field setting_fields[] = {
  FIELD (struct property_setting, key, "key", TEXT),
  FIELD (struct property_setting, text, "text", TEXT),
  FIELD_END,
};

static const struct field options_fields[] = {
  FIELD_MAY (struct disk_options, name, "name", MAYBE),
  FIELD_MAY (struct disk_options, description, "description", MAYBE),
  FIELD_MAY (struct disk_options, size, "size", UNSIGNED),
  FIELD_MAY (struct disk_options, block_size, "block_size", UNSIGNED),
  FIELD_MAY (struct disk_options, storing.compression, "compression",
             COMPRESSION),
  FIELD_MAY (struct disk_options, storing.deduplicate, "dedup", CHOICE),
  FIELD_MAY (struct disk_options, quota, "quota", UNSIGNED),
  FIELD_MAY (struct disk_options, encryption, "encryption", MAYBE),
  FIELD_MAY (struct disk_options, slot, "slot", MAYBE),
  { .name = "settings",
    .kind = FIELD_LIST,
    .offset = offsetof (struct disk_options, settings),
    .size = sizeof (struct property_setting),
    .count = offsetof (struct disk_options, settings_count),
    .fields = setting_fields,
    .may_be_missing = true },
  FIELD_END,
};

static const struct field details_fields[] = {
  FIELD (struct manage_details, snapshots, "snapshots", UNSIGNED),
  FIELD (struct manage_details, origin, "origin", CHARS),
  FIELD (struct manage_details, quota_used, "quota_used", UNSIGNED),
  FIELD (struct manage_details, quota_counted, "quota_counted", BOOL),
  FIELD_END,
};

static const struct field file_fields[] = {
  FIELD (struct manage_file, size, "size", UNSIGNED),
  FIELD (struct manage_file, free, "free", UNSIGNED),
  FIELD (struct manage_file, log, "log", UNSIGNED),
  FIELD (struct manage_file, page_size, "page_size", UNSIGNED),
  FIELD (struct manage_file, reclaimable, "reclaimable", UNSIGNED),
  FIELD (struct manage_file, trash, "trash", UNSIGNED),
  FIELD (struct manage_file, room, "room", UNSIGNED),
  FIELD (struct manage_file, format, "format", SIGNED),
  FIELD_END,
};

static const struct field use_fields[] = {
  FIELD (struct manage_use, kind, "kind", UNSIGNED),
  FIELD (struct manage_use, target, "target", CHARS),
  FIELD (struct manage_use, who, "who", CHARS),
  FIELD (struct manage_use, since, "since", SIGNED),
  FIELD_END,
};

static const struct field totals_fields[] = {
  FIELD (struct totals, pages, "pages", UNSIGNED),
  FIELD (struct totals, free, "free", UNSIGNED),
  FIELD (struct totals, data, "data", UNSIGNED),
  FIELD (struct totals, disks, "disks", UNSIGNED),
  FIELD (struct totals, snapshots, "snapshots", UNSIGNED),
  FIELD (struct totals, trash, "trash", UNSIGNED),
  FIELD (struct totals, hidden, "hidden", UNSIGNED),
  FIELD (struct totals, shared, "shared", UNSIGNED),
  FIELD (struct totals, deleted, "deleted", UNSIGNED),
  FIELD (struct totals, logical, "logical", UNSIGNED),
  FIELD_END,
};

static const struct field recompressed_fields[] = {
  FIELD (struct recompressed, blocks, "blocks", UNSIGNED),
  FIELD (struct recompressed, before, "before", UNSIGNED),
  FIELD (struct recompressed, after, "after", UNSIGNED),
  FIELD (struct recompressed, damaged, "damaged", UNSIGNED),
  FIELD_END,
};

static const struct field backup_fields[] = {
  FIELD (struct backup_counts, blocks, "blocks", UNSIGNED),
  FIELD (struct backup_counts, bytes, "bytes", UNSIGNED),
  FIELD_END,
};

static const struct field property_fields[] = {
  FIELD (struct property, kind, "kind", UNSIGNED),
  FIELD (struct property, key, "key", TEXT),
  FIELD (struct property, type, "type", UNSIGNED),
  FIELD (struct property, integer, "integer", SIGNED),
  FIELD_BYTES_OF (struct property, bytes, length, "bytes"),
  FIELD (struct property, damaged, "damaged", BOOL),
  FIELD_END,
};

static const struct field feature_fields[] = {
  FIELD (struct disk_feature, name, "name", TEXT),
  FIELD (struct disk_feature, class, "class", SIGNED),
  FIELD_END,
};

static const struct field optional_fields[] = {
  FIELD_LIST_OF (struct optional, properties, property_count, "properties",
                 property_fields),
  FIELD_LIST_OF (struct optional, features, feature_count, "features",
                 feature_fields),
  FIELD_END,
};

static const struct field incoming_fields[] = {
  FIELD (struct manage_incoming, disk, "disk", TEXT),
  FIELD (struct manage_incoming, description, "description", MAYBE),
  FIELD (struct manage_incoming, size, "size", UNSIGNED),
  FIELD (struct manage_incoming, block_size, "block_size", UNSIGNED),
  FIELD (struct manage_incoming, storing.compression, "compression",
         COMPRESSION),
  FIELD (struct manage_incoming, storing.deduplicate, "dedup", CHOICE),
  FIELD (struct manage_incoming, replace, "replace", BOOL),
  FIELD (struct manage_incoming, snapshot, "snapshot", MAYBE),
  FIELD (struct manage_incoming, guid, "guid", SIGNED),
  FIELD (struct manage_incoming, created, "created", SIGNED),
  FIELD (struct manage_incoming, base_guid, "base_guid", SIGNED),
  FIELD (struct manage_incoming, base, "base", MAYBE),
  FIELD_MAY (struct manage_incoming, origin, "origin", MAYBE),
  FIELD (struct manage_incoming, rollback, "rollback", BOOL),
  FIELD_MAY (struct manage_incoming, resumed, "resumed", UNSIGNED),
  FIELD_MAY (struct manage_incoming, encryption, "encryption", MAYBE),
  FIELD_MAY (struct manage_incoming, slot, "slot", MAYBE),
  FIELD_END,
};

static const struct field bookmark_fields[] = {
  FIELD (struct bookmark_info, disk, "disk", SIGNED),
  FIELD (struct bookmark_info, disk_name, "disk_name", CHARS),
  FIELD (struct bookmark_info, name, "name", CHARS),
  FIELD (struct bookmark_info, snapshot, "snapshot", CHARS),
  FIELD (struct bookmark_info, guid, "guid", SIGNED),
  FIELD (struct bookmark_info, size, "size", UNSIGNED),
  FIELD (struct bookmark_info, block_size, "block_size", UNSIGNED),
  FIELD (struct bookmark_info, created, "created", SIGNED),
  FIELD (struct bookmark_info, layer, "layer", SIGNED),
  FIELD (struct bookmark_info, generation, "generation", SIGNED),
  FIELD (struct bookmark_info, usable, "usable", BOOL),
  FIELD_END,
};

static const struct field partial_fields[] = {
  FIELD (struct partial_info, id, "id", SIGNED),
  FIELD (struct partial_info, disk_name, "disk_name", CHARS),
  FIELD (struct partial_info, snapshot, "snapshot", CHARS),
  FIELD (struct partial_info, guid, "guid", SIGNED),
  FIELD (struct partial_info, base_guid, "base_guid", SIGNED),
  FIELD (struct partial_info, size, "size", UNSIGNED),
  FIELD (struct partial_info, position, "position", UNSIGNED),
  FIELD (struct partial_info, block_size, "block_size", UNSIGNED),
  FIELD (struct partial_info, updated, "updated", SIGNED),
  FIELD_END,
};

static const struct field step_fields[] = {
  FIELD (struct manage_step, target, "target", TEXT),
  FIELD_MAY (struct manage_step, name, "name", MAYBE),
  FIELD_END,
};

static const struct field item_fields[] = {
  FIELD (struct usage_item, disk, "disk", SIGNED),
  FIELD (struct usage_item, snapshot, "snapshot", SIGNED),
  FIELD (struct usage_item, group, "group", UNSIGNED),
  FIELD_MAY (struct usage_item, shown, "shown", BOOL),
  FIELD_MAY (struct usage_item, logical, "logical", UNSIGNED),
  FIELD_MAY (struct usage_item, stored, "stored", UNSIGNED),
  FIELD_MAY (struct usage_item, shared, "shared", UNSIGNED),
  FIELD_END,
};

static const struct field trashed_fields[] = {
  FIELD_OF (struct trashed_disk, disk, "disk", message_disk_info),
  FIELD (struct trashed_disk, name, "name", CHARS),
  FIELD (struct trashed_disk, deleted, "deleted", SIGNED),
  FIELD (struct trashed_disk, until, "until", SIGNED),
  FIELD (struct trashed_disk, snapshots, "snapshots", UNSIGNED),
  FIELD_END,
};

const struct field manage_fields[] = {
  FIELD (struct manage_call, target, "target", TEXT),
  FIELD (struct manage_call, name, "name", TEXT),
  FIELD (struct manage_call, text, "text", TEXT),
  FIELD (struct manage_call, disk, "disk", TEXT),
  FIELD (struct manage_call, source, "source", TEXT),
  FIELD (struct manage_call, from, "from", TEXT),
  FIELD (struct manage_call, to, "to", TEXT),
  FIELD_LIST_OF (struct manage_call, targets, target_count, "targets",
                 text_alone),
  FIELD (struct manage_call, kind, "kind", UNSIGNED),
  FIELD_LIST_OF (struct manage_call, steps, step_count, "steps", step_fields),
  FIELD (struct manage_call, flags, "flags", UNSIGNED),
  FIELD (struct manage_call, shrink, "shrink", BOOL),
  FIELD (struct manage_call, snapshots, "snapshots", BOOL),
  FIELD (struct manage_call, force, "force", BOOL),
  FIELD (struct manage_call, whole, "whole", BOOL),
  FIELD (struct manage_call, size, "size", UNSIGNED),
  FIELD (struct manage_call, keep, "keep", UNSIGNED),
  FIELD (struct manage_call, freed, "freed", UNSIGNED),
  FIELD (struct manage_call, open, "open", UNSIGNED),
  FIELD (struct manage_call, removed, "removed", UNSIGNED),
  FIELD (struct manage_call, id, "id", SIGNED),
  FIELD_OF (struct manage_call, trashed, "trashed", trashed_fields),
  FIELD_LIST_OF (struct manage_call, trash, trash_count, "trash",
                 trashed_fields),
  FIELD_OF (struct manage_call, options, "options", options_fields),
  FIELD_OF (struct manage_call, info, "info", message_disk_info),
  FIELD_OF (struct manage_call, from_info, "from_info", message_disk_info),
  FIELD_OF (struct manage_call, to_info, "to_info", message_disk_info),
  FIELD (struct manage_call, readonly, "readonly", BOOL),
  FIELD_OF (struct manage_call, snapshot, "snapshot", message_snapshot_info),
  FIELD_LIST_OF (struct manage_call, list, list_count, "list",
                 message_snapshot_info),
  FIELD_OF (struct manage_call, bookmark, "bookmark", bookmark_fields),
  FIELD_LIST_OF (struct manage_call, bookmarks, bookmark_count, "bookmarks",
                 bookmark_fields),
  FIELD_LIST_OF (struct manage_call, partial, partial_count, "partial",
                 partial_fields),
  FIELD_OF (struct manage_call, details, "details", details_fields),
  FIELD_OF (struct manage_call, file, "file", file_fields),
  FIELD_OF (struct manage_call, totals, "totals", totals_fields),
  FIELD_LIST_OF (struct manage_call, uses, use_count, "uses", use_fields),
  FIELD_OF (struct manage_call, done, "done", recompressed_fields),
  FIELD (struct manage_call, path, "path", TEXT),
  FIELD (struct manage_call, directory, "directory", TEXT),
  FIELD_OF (struct manage_call, copied, "copied", backup_fields),
  FIELD_OF (struct manage_call, optional, "optional", optional_fields),
  FIELD_OF (struct manage_call, incoming, "incoming", incoming_fields),
  FIELD_LIST_OF (struct manage_call, items, item_count, "items", item_fields),
  FIELD (struct manage_call, groups, "groups", UNSIGNED),
  FIELD_LIST_OF (struct manage_call, frees, frees_count, "frees", number_alone),
  FIELD_END,
};

#define MANAGE_DEFINED(name, arguments, results)                               \
  const struct call_type call_##name = { #name, arguments, results,            \
                                         manage_fields,                        \
                                         sizeof (struct manage_call) };

EACH_MANAGE_CALL (MANAGE_DEFINED)

const struct field calls_ranges[] = {
  FIELD_LIST_OF (struct range_list, ranges, count, "ranges", message_range),
  FIELD_END,
};

int
calls_ask (struct store *store, const struct call_type *type,
           struct manage_call *call, struct status *status)
{
  return remote_call (store_remote (store), type, call, NULL, status);
}

int
calls_ask_long (struct store *store, const struct call_type *type,
                struct manage_call *call, progress_made progress, void *opaque,
                struct status *status)
{
  const struct remote_more more = { .progress = progress, .opaque = opaque };

  return remote_call (store_remote (store), type, call, &more, status);
}

/* Whom the ranges are told of that a server finds. */
struct listener {
  difference_found found;
  void *opaque;
};

static int
take_ranges (const json_t *json, void *opaque)
{
  const struct listener *listener = opaque;
  struct message_memory memory = { 0 };
  struct range_list list = { 0 };
  struct status unclear;
  int r = message_read (calls_ranges, "ranges", false, json, &list, &memory,
                        &unclear);

  for (size_t i = 0; r == 0 && i < list.count; i++)
    r = listener->found (list.ranges[i].offset, list.ranges[i].length,
                         list.ranges[i].hole, listener->opaque);
  message_memory_free (&memory);
  return r;
}

int
calls_ask_ranges (struct store *store, const struct call_type *type,
                  struct manage_call *call, difference_found found,
                  void *opaque, struct status *status)
{
  struct listener listener = { found, opaque };
  const struct remote_more more = { .found = take_ranges,
                                    .found_opaque = &listener };

  return remote_call (store_remote (store), type, call, &more, status);
}
