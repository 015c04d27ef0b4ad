/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Attaching, for other commands (commands-attach.c).  All return an exit code,
 * and say what went wrong.
 */

#ifndef SQLBLOCK_ATTACH_H
#define SQLBLOCK_ATTACH_H

#include <stdbool.h>

#include "attachment.h"

/* Have ATTACHMENT be about DISK[@SNAPSHOT] of the database WHERE, or about the
 * export whose URI that is; then DISK is NULL.
 */
int attach_name (struct attachment *attachment, const char *where,
                 const char *disk);

/* Is it attached? */
bool attach_is_there (const struct attachment *attachment);

/* Attach it, and read back what it became; IS_NEW tells whether it was not
 * attached before.
 */
int attach_begin (struct attachment *attachment, bool *is_new);

/* Detach device NUMBER, where it is attached; with FORCE it is taken away from
 * whoever uses it.
 */
int attach_end (int number, bool force);

#endif /* SQLBLOCK_ATTACH_H */
