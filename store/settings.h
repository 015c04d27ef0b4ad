/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Settings: what people set of a disk, or once of the whole database for its
 * disks.  There is one table of them, in rows/inherit.c, by which `set`, `get`
 * and `inherit` go, and whoever wants to know what holds for a disk.
 *
 *   sqlblock set disks.sqlite auto-snapshot=1h         of the database
 *   sqlblock set disks.sqlite web auto-snapshot=10m    of the disk
 *
 *   web   10m   its own               mail   1h   inherited
 *
 * Most are looked up when they are used: what the disk says, or else the
 * database, or else what is usual; so they change for all disks that inherit
 * them.  Others are copied: a new disk takes what the database says then, and
 * has it from then on, in a column of its row.
 */

#ifndef SQLBLOCK_SETTINGS_H
#define SQLBLOCK_SETTINGS_H

#include <stdbool.h>

#include "base/optional.h"
#include "base/types.h"
#include "status.h"

struct connection;

/* The longest value as text, in bytes. */
#define SETTING_TEXT_MAX 4000

/* As a target of manage.h, beside DISK and DISK@SNAPSHOT: the database itself.
 * No disk can have this name.
 */
#define TARGET_DATABASE "/"

/* A row of the table. */
struct setting {
  const char *name;  /* as people call it */
  const char *key;   /* of its property (schema.sql), of a disk or of the file;
                        of one that is copied, of the file only */
  const char *usual; /* where nobody says it; NULL: see setting_usual */
  const char *forms; /* what it can be, for people: "TIME|off" */

  /* Is TEXT such a value?  Returns 0, or -1 and EINVAL or ENOTSUP. */
  int (*check) (const char *text, struct status *status);

  /* Of one that is copied instead: have the disk of OPTIONS get it, unless they
   * say it already.  Returns the same.
   */
  int (*copy) (const char *text, struct disk_options *options,
               struct status *status);

  /* Of one that a program which does not know it must not miss: whoever says
   * something unusual also has the feature of this name and class
   * (schema.sql).  NULL: none.
   */
  const char *feature;
  int class;

  /* Does TEXT, which is such a value, mean what is usual?  With a feature. */
  bool (*is_usual) (const char *text);

  /* Only the database has it, and no disk inherits it. */
  bool of_file;

  /* Of one that is more than a property: have the database be as TEXT says, in
   * a write transaction.  Returns 0 or -1.  NULL: it is not.
   */
  int (*apply) (struct connection *connection, const char *text,
                struct status *status);
};

/* The setting NAME, or NULL; the NUMBERth of all, or NULL behind the last.
 * Thread rules, here and below: any thread.
 */
const struct setting *setting_find (const char *name);
const struct setting *setting_number (unsigned number);

/* Check that SETTING can be TEXT.  Returns 0, or -1: EINVAL, ENOTSUP. */
int setting_check (const struct setting *setting, const char *text,
                   struct status *status);

/* What a setting is, and who says so. */
enum setting_source {
  SETTING_USUAL,     /* nobody */
  SETTING_INHERITED, /* the database */
  SETTING_OWN,       /* that of which it was asked */
};

struct setting_value {
  enum setting_source source;
  char text[SETTING_TEXT_MAX + 1];
};

/* What SETTING is where nobody says it. */
void setting_usual (const struct setting *setting, struct setting_value *value);

/* What SETTING is for the disk with the properties OF_DISK, or for NULL for the
 * database, which has OF_FILE.  Returns 0, or -1: EIO where what says so is
 * damaged or lost, or nothing that this program understands.  One that is
 * copied is looked for in OF_FILE only.
 */
int setting_among (const struct setting *setting,
                   const struct optional *of_disk,
                   const struct optional *of_file, struct setting_value *value,
                   struct status *status);

#endif /* SQLBLOCK_SETTINGS_H */
