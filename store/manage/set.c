/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Setting what can be set of the database, a disk or a snapshot, for manage.h:
 * settings (settings.h), descriptions, and what people note as user:...
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/sane.h"
#include "engine/engine.h"
#include "manage/calls.h"
#include "manage.h"
#include "manage/request.h"
#include "rows/disks.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "rows/quota.h"
#include "rows/inherit.h"

/* The row of disk ID gets TEXT as SETTING, which is copied: "" is what the
 * database says of new disks now.
 */
static int
set_copied (struct connection *connection, int64_t id,
            const struct setting *setting, const char *text,
            struct status *status)
{
  struct disk_options options = { 0 };
  struct setting_value value;

  if (text[0] == '\0') {
    if (settings_look (connection, setting, 0, &value, status) == -1)
      return -1;
    text = value.text;
  }
  if (setting->copy (text, &options, status) == -1 ||
      disks_set_storing (connection, id, &options.storing, status) == -1)
    return -1;
  return options.quota ? quota_set (connection, id, options.quota, status) : 0;
}

/* Is SETTING, of a struct disk_options, not a note but one of the table? */
static const struct setting *
find_setting (const struct property_setting *setting)
{
  return optional_key_behind (setting->key, PROPERTY_USER)
             ? NULL
             : setting_find (setting->key);
}

/* Disk ID, or for 0 the database, gets what SETTING says. */
static int
apply (struct connection *connection, enum property_kind kind, int64_t owner,
       const struct property_setting *setting, struct status *status)
{
  const struct setting *known = find_setting (setting);

  if (known == NULL)
    return properties_set_text (connection, kind, owner, setting->key,
                                setting->text, status);
  return known->copy && kind == PROPERTY_DISK
             ? set_copied (connection, owner, known, setting->text, status)
             : settings_set (connection, known, owner, setting->text, status);
}

static int
apply_all (struct connection *connection, enum property_kind kind,
           int64_t owner, const struct disk_options *options,
           struct status *status)
{
  for (size_t i = 0; i < options->settings_count; i++)
    if (apply (connection, kind, owner, &options->settings[i], status) == -1)
      return -1;
  return 0;
}

/* A snapshot can have notes, and a description, only. */
static int
check_snapshot (const struct request *request, struct status *status)
{
  const struct disk_options *options = request->options;
  bool fits = !options->storing.compression.codec &&
              !options->storing.deduplicate && !options->quota;

  for (size_t i = 0; i < options->settings_count; i++)
    fits = fits && find_setting (&options->settings[i]) == NULL;
  return fits ? 0
              : status_fail (status, EINVAL,
                             "'%s' is a snapshot: what it can be given is a "
                             "description, and user:KEY=VALUE",
                             request->target);
}

static int
set_snapshot (struct connection *connection, struct request *request,
              struct status *status)
{
  const struct disk_options *options = request->options;
  int64_t id;

  if (request_find_snapshot (connection, request, false, status) == -1 ||
      check_snapshot (request, status) == -1)
    return -1;
  id = request->snapshot.id;
  if (features_allow (connection, request->snapshot.disk, FEATURE_CHANGE,
                      status) == 0 &&
      (options->description == NULL ||
       properties_set_text (connection, PROPERTY_SNAPSHOT, id,
                            PROPERTY_DESCRIPTION, options->description,
                            status) == 0) &&
      apply_all (connection, PROPERTY_SNAPSHOT, id, options, status) == 0)
    return 0;
  return status_prefix (status, "snapshot '%s'", request->target);
}

static int
set_disk (struct connection *connection, struct request *request,
          struct status *status)
{
  const struct disk_options *options = request->options;
  const int64_t id = request->disk.id;

  if (request_find_disk (connection, request, status) == -1 ||
      disks_set_storing (connection, id, &options->storing, status) == -1 ||
      (options->quota &&
       quota_set (connection, id, options->quota, status) == -1) ||
      (options->description &&
       disks_describe (connection, id, options->description, status) == -1))
    return -1;
  if (features_allow (connection, id, FEATURE_CHANGE, status) == 0 &&
      apply_all (connection, PROPERTY_DISK, id, options, status) == 0)
    return 0;
  return status_prefix (status, "disk '%s'", request->disk.name);
}

static int
set (struct connection *connection, void *opaque, struct status *status)
{
  struct request *request = opaque;

  if (strcmp (request->target, TARGET_DATABASE) == 0)
    return apply_all (connection, PROPERTY_FILE, 0, request->options, status);
  if (request_find_target (connection, request, status) == -1)
    return -1;
  return request->snapshot.id ? set_snapshot (connection, request, status)
                              : set_disk (connection, request, status);
}

/* Check what is to be set of TARGET, as far as that can be said without the
 * database.
 */
static int
check_asked (const char *target, const struct disk_options *options,
             struct status *status)
{
  const bool file = strcmp (target, TARGET_DATABASE) == 0;

  for (size_t i = 0; i < options->settings_count; i++) {
    const struct property_setting *setting = &options->settings[i];
    const struct setting *known = find_setting (setting);

    if (known && known->of_file && !file)
      return status_fail (status, EINVAL,
                          "%s is of the database only, for which / stands",
                          known->name);
    if (known && setting->text[0] &&
        setting_check (known, setting->text, status) == -1)
      return -1;
    if (known == NULL &&
        optional_key_behind (setting->key, PROPERTY_USER) == NULL)
      return status_fail (status, EINVAL, "'%.100s' cannot be set",
                          setting->key);
  }
  if (file && (options->description || options->storing.deduplicate ||
               options->storing.compression.codec || options->quota))
    return status_fail (status, EINVAL,
                        "this can be set of a disk, not of the database");
  return sane_check_options (options, status);
}

int
manage_set (struct store *store, const char *target,
            const struct disk_options *options, struct status *status)
{
  struct request request = { .target = target, .options = options };

  if (store_remote (store))
    return calls_ask (
        store, &call_manage_set,
        &(struct manage_call){ .target = target, .options = *options }, status);
  if (check_asked (target, options, status) == -1)
    return -1;
  return store_change (store, set, &request, status);
}

int
manage_describe (struct store *store, const char *target,
                 const char *description, struct status *status)
{
  const struct disk_options options = { .description = description };

  return manage_set (store, target, &options, status);
}
