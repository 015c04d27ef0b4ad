/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Settings: see settings.h, and for the rows rows/inherit.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "base/allow.h"
#include "base/sane.h"
#include "base/schedule.h"
#include "base/values.h"
#include "block/codec.h"
#include "rows/columns.h"
#include "rows/features.h"
#include "rows/properties.h"
#include "rows/inherit.h"
#include "sqlite/litestream.h"

/*--------------------------------------------------------------------
 * What they can be.
 */

static int
copy_compression (const char *text, struct disk_options *options,
                  struct status *status)
{
  struct compression *compression = &options->storing.compression;

  return compression->codec ? 0 : compression_parse (text, compression, status);
}

static int
copy_dedup (const char *text, struct disk_options *options,
            struct status *status)
{
  enum disk_choice *deduplicate = &options->storing.deduplicate;
  bool on;

  if (*deduplicate)
    return 0;
  if (values_choice (text, &on, status) == -1)
    return -1;
  *deduplicate = on ? DISK_ON : DISK_OFF;
  return 0;
}

static int
copy_quota (const char *text, struct disk_options *options,
            struct status *status)
{
  return options->quota ? 0 : values_quota (text, &options->quota, status);
}

static int
check_interval (const char *text, struct status *status)
{
  int64_t ignored;

  return schedule_parse_interval (text, &ignored, status);
}

static int
check_rules (const char *text, struct status *status)
{
  struct schedule_rules ignored;

  return schedule_parse_rules (text, &ignored, status);
}

static int
check_choice (const char *text, struct status *status)
{
  bool ignored;

  return values_choice (text, &ignored, status);
}

static int
check_limit (const char *text, struct status *status)
{
  uint64_t ignored;

  return values_limit (text, &ignored, status);
}

static bool
is_off (const char *text)
{
  struct status ignored;
  bool on;

  return values_choice (text, &on, &ignored) == 0 && !on;
}

static int
apply_litestream (struct connection *connection, const char *text,
                  struct status *status)
{
  return litestream_set (connection, text[0] && !is_off (text), status);
}

/* Of whom nothing is known only "all" lets in. */
static bool
admits_all (const char *text)
{
  const struct peer nobody = { .pid = -1, .uid = -1, .gid = -1 };
  struct status ignored;

  return allow_admits (text, &nobody, &ignored) == 1;
}

/*--------------------------------------------------------------------
 * The table.
 *
 * To add one: a row here; its key in schema.sql; a line in the help of "set"
 * (tool/commands-set.c), from which completion knows it; its =item in both
 * lists of sqlblock.pod.  Its key begins with "local:" where a clone or a
 * stream must not take it along.
 */

/* clang-format off */
static const struct setting settings[] = {
  { "compression", "default:compression", NULL, "HOW",
    .copy = copy_compression },
  { "dedup", "default:dedup", "off", "on|off", .copy = copy_dedup },
  { "quota", "default:quota", "none", "SIZE|none", .copy = copy_quota },
  { "auto-snapshot", "local:auto-snapshot", "off", "TIME|off",
    .check = check_interval },
  { "trash", "local:trash", "off", "TIME|off", .check = check_interval },
  { "keep", "local:keep", SCHEDULE_RULES_DEFAULT, "RULES",
    .check = check_rules },
  { "allow", PROPERTY_ALLOW, "all", "WHO,...", .check = allow_check,
    .is_usual = admits_all, .feature = FEATURE_ALLOW, .class = FEATURE_REFUSE },
  { "exclusive", PROPERTY_EXCLUSIVE, "off", "on|off", .check = check_choice,
    .is_usual = is_off, .feature = FEATURE_EXCLUSIVE,
    .class = FEATURE_READ_ONLY },
  { "limit-requests", "local:limit-requests", "none", "NUMBER|none",
    .check = check_limit },
  { "limit-bytes", "local:limit-bytes", "none", "SIZE|none",
    .check = check_limit },
  { "litestream", PROPERTY_LITESTREAM, "off", "on|off", .check = check_choice,
    .of_file = true, .apply = apply_litestream, .is_usual = is_off,
    .feature = FEATURE_LITESTREAM, .class = FEATURE_READ_ONLY },
};
/* clang-format on */

#define SETTINGS (sizeof settings / sizeof settings[0])

const struct setting *
setting_find (const char *name)
{
  for (size_t i = 0; i < SETTINGS; i++)
    if (strcmp (settings[i].name, name) == 0)
      return &settings[i];
  return NULL;
}

const struct setting *
setting_number (unsigned number)
{
  return number < SETTINGS ? &settings[number] : NULL;
}

int
setting_check (const struct setting *setting, const char *text,
               struct status *status)
{
  struct disk_options scratch = { 0 };

  if (strlen (text) > SETTING_TEXT_MAX || !sane_text (text))
    return status_fail (status, EINVAL,
                        "%s must be UTF-8 without control characters, of at "
                        "most %d bytes",
                        setting->name, SETTING_TEXT_MAX);
  return (setting->copy ? setting->copy (text, &scratch, status)
                        : setting->check (text, status)) == -1
             ? status_prefix (status, "%s", setting->name)
             : 0;
}

void
setting_usual (const struct setting *setting, struct setting_value *value)
{
  const struct compression compression = compression_default ();

  value->source = SETTING_USUAL;
  if (setting->usual)
    strcpy (value->text, setting->usual);
  else
    compression_print (&compression, value->text);
}

/*--------------------------------------------------------------------
 * Values.
 */

/* TEXT, of LENGTH bytes, is what a property of the WHOSE kind says of SETTING;
 * NULL where that is damaged.
 */
static int
take_value (const struct setting *setting, enum property_kind whose,
            const char *text, size_t length, struct setting_value *value,
            struct status *status)
{
  struct status wrong;

  if (text && length == strlen (text) && length <= SETTING_TEXT_MAX &&
      setting_check (setting, text, &wrong) == 0) {
    strcpy (value->text, text);
    return 0;
  }
  return status_fail (status, EIO,
                      "the setting %s of the %s is damaged, or of a newer "
                      "program; set it again, or have it inherited",
                      setting->name,
                      whose == PROPERTY_DISK ? "disk" : "database");
}

/* The property of SETTING in LIST, or NULL. */
static const struct property *
find_property (const struct setting *setting, const struct optional *list)
{
  return list ? optional_find (list, setting->key) : NULL;
}

/* A feature says that somebody has said something, and that is not there. */
static int
fail_lost (const struct setting *setting, struct status *status)
{
  return status_fail (status, EIO,
                      "what the setting %s was is lost; set it again",
                      setting->name);
}

/* Does LIST, which has no property of SETTING, have its feature? */
static bool
lacks_property (const struct setting *setting, const struct optional *list)
{
  for (size_t i = 0; setting->feature && list && i < list->feature_count; i++)
    if (strcmp (list->features[i].name, setting->feature) == 0)
      return true;
  return false;
}

int
setting_among (const struct setting *setting, const struct optional *of_disk,
               const struct optional *of_file, struct setting_value *value,
               struct status *status)
{
  const struct property *property =
      setting->copy ? NULL : find_property (setting, of_disk);

  value->source = SETTING_OWN;
  if (property == NULL && lacks_property (setting, of_disk))
    return fail_lost (setting, status);
  if (property == NULL) {
    property = find_property (setting, of_file);
    value->source = of_disk ? SETTING_INHERITED : SETTING_OWN;
  }
  if (property == NULL && lacks_property (setting, of_file))
    return fail_lost (setting, status);
  if (property == NULL) {
    setting_usual (setting, value);
    return 0;
  }
  return take_value (setting, property->kind,
                     property->damaged || property->type != PROPERTY_TEXT
                         ? NULL
                         : property->bytes,
                     property->length, value, status);
}

/*--------------------------------------------------------------------
 * Rows.
 */

/* What SETTING is for the disk ID was found to come from SOURCE.  Fail where a
 * feature says that somebody nearer has said something: a row is lost.
 */
static int
check_lost (struct connection *connection, const struct setting *setting,
            int64_t id, enum setting_source source, struct status *status)
{
  static const char lost_sql[] =
      "SELECT EXISTS (SELECT 1 FROM feature WHERE name = ?1"
      " AND (disk = ?2 OR (disk = 0 AND ?3)))";
  CLEANUP_STATEMENT sqlite3_stmt *row = NULL;

  if (setting->feature == NULL || source == SETTING_OWN)
    return 0;
  row = connection_statement (connection, lost_sql, status);
  if (row == NULL)
    return -1;
  sqlite3_bind_text (row, 1, setting->feature, -1, SQLITE_STATIC);
  sqlite3_bind_int64 (row, 2, id ? id : -1);
  sqlite3_bind_int (row, 3, source == SETTING_USUAL);
  if (connection_step (connection, row, status) == -1)
    return -1;
  return sqlite3_column_int (row, 0) ? fail_lost (setting, status) : 0;
}

/* As settings_look, but for what is lost. */
static int
look (struct connection *connection, const struct setting *setting, int64_t id,
      struct setting_value *value, struct status *status)
{
  static const char look_sql[] =
      "SELECT kind, value, typeof (value) = 'text'"
      " AND checksum = " PROPERTY_CHECKSUM " FROM property"
      " WHERE key = ?2 AND ((kind = 1 AND owner = ?1)"
      "  OR (kind = 0 AND owner = 0))"
      " ORDER BY kind DESC LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, look_sql, status);
  bool whole;
  int r;

  if (row == NULL)
    return -1;
  sqlite3_bind_int64 (row, 1, id);
  sqlite3_bind_text (row, 2, setting->key, -1, SQLITE_STATIC);
  r = connection_step (connection, row, status);
  if (r == -1)
    return -1;
  if (r == 0) {
    setting_usual (setting, value);
    return 0;
  }
  whole = sqlite3_column_int (row, 2);
  value->source = sqlite3_column_int (row, 0) == PROPERTY_DISK || id == 0
                      ? SETTING_OWN
                      : SETTING_INHERITED;
  return take_value (setting, sqlite3_column_int (row, 0),
                     whole ? (const char *)sqlite3_column_text (row, 1) : NULL,
                     whole ? sqlite3_column_bytes (row, 1) : 0, value, status);
}

/* Does disk ID, or the database, have the feature of SETTING? */
static int
has_feature (struct connection *connection, const struct setting *setting,
             int64_t id, struct status *status)
{
  static const char has_sql[] =
      "SELECT 1 FROM feature WHERE name = ?1 AND disk IN (0, ?2) LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, has_sql, status);

  if (row == NULL)
    return -1;
  sqlite3_bind_text (row, 1, setting->feature, -1, SQLITE_STATIC);
  sqlite3_bind_int64 (row, 2, id);
  return connection_step (connection, row, status);
}

/* Where there is no feature nobody has said anything but what is usual, and
 * that is known although properties may be damaged.
 */
int
settings_look (struct connection *connection, const struct setting *setting,
               int64_t id, struct setting_value *value, struct status *status)
{
  const int r =
      setting->feature ? has_feature (connection, setting, id, status) : 1;

  if (r == -1)
    return -1;
  if (r == 0) {
    setting_usual (setting, value);
    return 0;
  }
  if (look (connection, setting, id, value, status) == -1)
    return -1;
  return check_lost (connection, setting, id, value->source, status);
}

int
settings_has (struct connection *connection, const struct setting *setting,
              struct status *status)
{
  static const char has_sql[] =
      "SELECT 1 FROM property WHERE kind IN (0, 1) AND key = ?1 LIMIT 1";
  CLEANUP_STATEMENT sqlite3_stmt *row =
      connection_statement (connection, has_sql, status);

  if (row == NULL)
    return -1;
  sqlite3_bind_text (row, 1, setting->key, -1, SQLITE_STATIC);
  return connection_step (connection, row, status);
}

/* The disk ID, or the database, has the feature of SETTING, if TEXT is nothing
 * that is usual.
 */
static int
set_feature (struct connection *connection, const struct setting *setting,
             int64_t id, const char *text, struct status *status)
{
  return text[0] == '\0' || setting->is_usual (text)
             ? features_remove (connection, id, setting->feature, status)
             : features_put (connection, id, setting->feature, setting->class,
                             status);
}

int
settings_set (struct connection *connection, const struct setting *setting,
              int64_t id, const char *text, struct status *status)
{
  if (text[0] && setting_check (setting, text, status) == -1)
    return -1;
  if (setting->feature &&
      set_feature (connection, setting, id, text, status) == -1)
    return -1;
  if (setting->apply && setting->apply (connection, text, status) == -1)
    return -1;
  return properties_set_text (connection, id ? PROPERTY_DISK : PROPERTY_FILE,
                              id, setting->key, text, status);
}

/* Do OPTIONS say what SETTING, which is copied, is to be?  Then they take
 * anything for it, also "", which is no value.
 */
static bool
is_said (const struct setting *setting, struct disk_options *options)
{
  struct status ignored;

  return setting->copy ("", options, &ignored) == 0;
}

int
settings_fill_in (struct connection *connection, struct disk_options *options,
                  struct status *status)
{
  struct setting_value value;

  for (size_t i = 0; i < SETTINGS; i++)
    if (settings[i].copy && !is_said (&settings[i], options) &&
        (settings_look (connection, &settings[i], 0, &value, status) == -1 ||
         settings[i].copy (value.text, options, status) == -1))
      return -1;
  return 0;
}
