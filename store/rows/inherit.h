/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The rows of settings (settings.h): what holds for a disk, and changing it. */

#ifndef SQLBLOCK_INHERIT_H
#define SQLBLOCK_INHERIT_H

#include <stdbool.h>
#include <stdint.h>

#include "settings.h"
#include "sqlite/connection.h"
#include "status.h"

/* What SETTING, which is not copied, is for the disk ID; 0: for the database.
 * Returns 0, or -1: EIO where what says so is damaged, or nothing that this
 * program understands.  Thread rules, here and below: those of the connection.
 */
int settings_look (struct connection *connection, const struct setting *setting,
                   int64_t id, struct setting_value *value,
                   struct status *status);

/* Does anyone, the database or a disk, say what SETTING is?  Asking that is
 * cheaper than asking for each disk.  Returns 1, 0 or -1.
 */
int settings_has (struct connection *connection, const struct setting *setting,
                  struct status *status);

/* The disk ID, or for 0 the database, has TEXT as SETTING from now on; "": it
 * inherits it.  In a transaction.  Returns 0, or -1: as setting_check, or
 * EDQUOT (properties_set).
 */
int settings_set (struct connection *connection, const struct setting *setting,
                  int64_t id, const char *text, struct status *status);

/* Of what OPTIONS leaves unsaid of a new disk, fill in what the database says
 * of that.  Returns 0 or -1, as settings_look.
 */
int settings_fill_in (struct connection *connection,
                      struct disk_options *options, struct status *status);

#endif /* SQLBLOCK_INHERIT_H */
