/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional about the file, a disk, a snapshot or a layer: rows of key
 * and value; schema.sql has the keys.
 *
 *   kind       0 file    1 disk    2 snapshot    3 layer
 *   owner      0         its id    its id        its id
 *
 * Rows of a key or a kind that this program does not know are kept, and carried
 * along with what they are about.
 */

#ifndef SQLBLOCK_PROPERTIES_H
#define SQLBLOCK_PROPERTIES_H

#include <stdint.h>

#include "base/optional.h"
#include "sqlite/connection.h"
#include "status.h"

/* What the keys begin with that say what a disk in the trash was (trash.h). */
#define PROPERTY_TRASH PROPERTY_LOCAL "trash-"

/* Of the file: a list of who told of it (lineage.h); of a disk: a number, when
 * it got smaller.  What has lost data has another one, or none.
 */
#define PROPERTY_TOLD   PROPERTY_LOCAL "told"
#define PROPERTY_SHRUNK PROPERTY_LOCAL "shrunk"

/* SQL: is there what a row is about?  Of other kinds nobody knows. */
#define PROPERTY_HAS_OWNER                                                     \
  "CASE property.kind WHEN 0 THEN property.owner = 0"                          \
  " WHEN 1 THEN property.owner IN (SELECT id FROM disk)"                       \
  " WHEN 2 THEN property.owner IN (SELECT id FROM snapshot)"                   \
  " WHEN 3 THEN property.owner IN (SELECT id FROM layer) ELSE true END"

/* SQL: does a row hold the snapshot in whose row this stands? */
#define PROPERTY_HOLDS                                                         \
  "property.kind = 2 AND property.owner = snapshot.id"                         \
  " AND property.key GLOB '" PROPERTY_HOLD "*'"

/* Add to LIST the properties of OWNER, in the order of their keys, compared
 * byte by byte; at most one more than it can have, which is PROPERTIES_MAX
 * holds and as many others.  Those whose keys are impossible are left out.
 * Returns 0 or -1.  Thread rules, here and below: those of the connection.
 */
int properties_read (struct connection *connection, enum property_kind kind,
                     int64_t owner, struct optional *list,
                     struct status *status);

/* OWNER, of the property's kind, gets PROPERTY, in place of one of that key.
 * In a transaction.  Returns 0, or -1: EDQUOT where it has PROPERTIES_MAX
 * already; holds do not count as others, so that there is room for one, and
 * there is always room for what this program notes by itself.
 */
int properties_set (struct connection *connection, int64_t owner,
                    const struct property *property, struct status *status);

/* The same for a text, of which "" removes the property. */
int properties_set_text (struct connection *connection, enum property_kind kind,
                         int64_t owner, const char *key, const char *text,
                         struct status *status);

/* OWNER loses its property KEY; where there is none, one whose key nobody can
 * type, since it has control characters or is no UTF-8, and that is printed as
 * KEY, with '?' in their place.  In a transaction.  Returns 1, 0 where there is
 * none either, or -1.
 */
int properties_remove (struct connection *connection, enum property_kind kind,
                       int64_t owner, const char *key, struct status *status);

/* The disk, snapshot or layer OWNER goes; so do its rows.  In a transaction.
 * Returns 0 or -1.
 */
int properties_drop (struct connection *connection, enum property_kind kind,
                     int64_t owner, struct status *status);

/* Disk TO is a clone of FROM, and gets its rows, but for those that stay where
 * they are (optional_stays); who may use it is said of both.  In a transaction.
 * Returns 0 or -1.
 */
int properties_clone (struct connection *connection, int64_t from, int64_t to,
                      struct status *status);

/* The same for those that say who may use it; the others come in a stream. */
int properties_clone_access (struct connection *connection, int64_t from,
                             int64_t to, struct status *status);

/* Give the file, which has no rows yet, its id: what never changes of it, so
 * that a server which was moved, and a copy, have it (schema.sql).  In a
 * transaction.  Returns 0 or -1.
 */
int properties_make_id (struct connection *connection, struct status *status);

#endif /* SQLBLOCK_PROPERTIES_H */
