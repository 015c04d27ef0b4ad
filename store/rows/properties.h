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

#include "sqlite/connection.h"
#include "status.h"

/* Bytes of a key, and of a value that is a text or bytes: so all rows of an
 * owner have a bound.
 */
#define PROPERTY_KEY_MAX   200
#define PROPERTY_VALUE_MAX 8192

/* SQL: is there what a row is about?  Of other kinds nobody knows. */
#define PROPERTY_HAS_OWNER                                                     \
  "CASE property.kind WHEN 0 THEN property.owner = 0"                          \
  " WHEN 1 THEN property.owner IN (SELECT id FROM disk)"                       \
  " WHEN 2 THEN property.owner IN (SELECT id FROM snapshot)"                   \
  " WHEN 3 THEN property.owner IN (SELECT id FROM layer) ELSE true END"

/* What rows are about. */
enum property_kind {
  PROPERTY_FILE,
  PROPERTY_DISK,
  PROPERTY_SNAPSHOT,
  PROPERTY_LAYER
};

/* The disk, snapshot or layer OWNER goes; so do its rows.  In a transaction.
 * Returns 0 or -1.  Thread rules, here and below: those of the connection.
 */
int properties_drop (struct connection *connection, enum property_kind kind,
                     int64_t owner, struct status *status);

/* Disk TO is a clone of FROM, and gets its rows, but for what is only of that
 * one or of this file (schema.sql).  In a transaction.  Returns 0 or -1.
 */
int properties_clone (struct connection *connection, int64_t from, int64_t to,
                      struct status *status);

/* Give the file, which has no rows yet, its id: what never changes of it, so
 * that a server which was moved, and a copy, have it (schema.sql).  In a
 * transaction.  Returns 0 or -1.
 */
int properties_make_id (struct connection *connection, struct status *status);

#endif /* SQLBLOCK_PROPERTIES_H */
