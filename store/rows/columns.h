/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The columns of disks, snapshots, layers, features and properties, in one list
 * each, from which everything else takes them; schema.sql says what they mean.
 *
 * Between its id and its checksum a row has the columns of its list, in that
 * order, and the checksum covers the id and all of them.  So what a disk has
 * more stands here, in the schema, and where disks.c reads and sets it.
 */

#ifndef SQLBLOCK_COLUMNS_H
#define SQLBLOCK_COLUMNS_H

#define EACH_DISK_COLUMN(X)                                                    \
  X (DISK_NAME, "disk.name")                                                   \
  X (DISK_DESCRIPTION, "disk.description")                                     \
  X (DISK_SIZE, "disk.size")                                                   \
  X (DISK_BLOCK_SIZE, "disk.block_size")                                       \
  X (DISK_LAYER, "disk.layer")                                                 \
  X (DISK_EPOCH, "disk.epoch")                                                 \
  X (DISK_COMPRESSION, "disk.compression")                                     \
  X (DISK_COMPRESSION_LEVEL, "disk.compression_level")                         \
  X (DISK_DEDUPLICATE, "disk.deduplicate")                                     \
  X (DISK_QUOTA, "disk.quota")                                                 \
  X (DISK_CREATED, "disk.created")

#define EACH_SNAPSHOT_COLUMN(X)                                                \
  X (SNAPSHOT_DISK, "snapshot.disk")                                           \
  X (SNAPSHOT_NAME, "snapshot.name")                                           \
  X (SNAPSHOT_GUID, "snapshot.guid")                                           \
  X (SNAPSHOT_LAYER, "snapshot.layer")                                         \
  X (SNAPSHOT_GENERATION, "snapshot.generation")                               \
  X (SNAPSHOT_SIZE, "snapshot.size")                                           \
  X (SNAPSHOT_CREATED, "snapshot.created")                                     \
  X (SNAPSHOT_AUTOMATIC, "snapshot.automatic")                                 \
  X (SNAPSHOT_LAST_BLOCK, "snapshot.last_block")

#define EACH_LAYER_COLUMN(X)                                                   \
  X (LAYER_PARENT, "layer.parent")                                             \
  X (LAYER_PARENT_GENERATION, "layer.parent_generation")                       \
  X (LAYER_GENERATION, "layer.generation")

#define EACH_FEATURE_COLUMN(X)                                                 \
  X (FEATURE_NAME, "feature.name")                                             \
  X (FEATURE_DISK, "feature.disk")                                             \
  X (FEATURE_CLASS, "feature.class")

#define EACH_PROPERTY_COLUMN(X)                                                \
  X (PROPERTY_KIND, "property.kind")                                           \
  X (PROPERTY_OWNER, "property.owner")                                         \
  X (PROPERTY_KEY, "property.key")                                             \
  X (PROPERTY_VALUE, "property.value")

/* What becomes of a column: its number, from 0 for the id; its name in a list;
 * a parameter that has the number of the column and 1.
 */
#define COLUMN_NUMBER(number, name) number,
#define COLUMN_NAME(number, name)   ", " name
#define COLUMN_VALUE(number, name)  ", ?"

enum disk_column {
  DISK_ID,
  EACH_DISK_COLUMN (COLUMN_NUMBER) /* each with its comma */
  DISK_SUM,
  DISK_COLUMNS /* how many */
};
enum snapshot_column {
  SNAPSHOT_ID,
  EACH_SNAPSHOT_COLUMN (COLUMN_NUMBER) /* each with its comma */
  SNAPSHOT_SUM,
  SNAPSHOT_COLUMNS
};
enum layer_column {
  LAYER_ID,
  EACH_LAYER_COLUMN (COLUMN_NUMBER) /* each with its comma */
  LAYER_SUM,
  LAYER_COLUMNS
};
enum feature_column {
  FEATURE_ID,
  EACH_FEATURE_COLUMN (COLUMN_NUMBER) /* each with its comma */
  FEATURE_SUM,
  FEATURE_COLUMNS
};
enum property_column {
  PROPERTY_ID,
  EACH_PROPERTY_COLUMN (COLUMN_NUMBER) /* each with its comma */
  PROPERTY_SUM,
  PROPERTY_COLUMNS
};

/* clang-format off */

/* SQL: what the checksum of a row is to be. */
#define DISK_CHECKSUM \
  "row_checksum ('disk', disk.id" EACH_DISK_COLUMN (COLUMN_NAME) ")"
#define SNAPSHOT_CHECKSUM \
  "row_checksum ('snapshot', snapshot.id" EACH_SNAPSHOT_COLUMN (COLUMN_NAME) ")"
#define LAYER_CHECKSUM \
  "row_checksum ('layer', layer.id" EACH_LAYER_COLUMN (COLUMN_NAME) ")"
#define FEATURE_CHECKSUM \
  "row_checksum ('feature', feature.id" EACH_FEATURE_COLUMN (COLUMN_NAME) ")"
#define PROPERTY_CHECKSUM \
  "row_checksum ('property', property.id" EACH_PROPERTY_COLUMN (COLUMN_NAME) ")"

/* SQL: the highest id of TABLE, behind which new ones come, or 0.  There is no
 * room behind the highest that there can be: what somebody has put there is
 * passed by.
 */
#define HIGHEST_ID(table) \
  "(SELECT ifnull (max (id), 0) FROM main." table " WHERE id < 1 << 62)"
#define HIGHEST_FEATURE  HIGHEST_ID ("feature")
#define HIGHEST_PROPERTY HIGHEST_ID ("property")

/* SQL: all columns of a row, but in place of its checksum whether that is
 * right.
 */
#define DISK_SELECT \
  "SELECT disk.id" EACH_DISK_COLUMN (COLUMN_NAME) \
  ", disk.checksum = " DISK_CHECKSUM
#define SNAPSHOT_SELECT \
  "SELECT snapshot.id" EACH_SNAPSHOT_COLUMN (COLUMN_NAME) \
  ", snapshot.checksum = " SNAPSHOT_CHECKSUM

/* SQL: a whole row of parameters. */
#define DISK_VALUES " VALUES (?" EACH_DISK_COLUMN (COLUMN_VALUE) ", ?)"
#define SNAPSHOT_VALUES " VALUES (?" EACH_SNAPSHOT_COLUMN (COLUMN_VALUE) ", ?)"
#define LAYER_VALUES " VALUES (?" EACH_LAYER_COLUMN (COLUMN_VALUE) ", ?)"
#define FEATURE_VALUES " VALUES (?" EACH_FEATURE_COLUMN (COLUMN_VALUE) ", ?)"
#define PROPERTY_VALUES " VALUES (?" EACH_PROPERTY_COLUMN (COLUMN_VALUE) ", ?)"

/* clang-format on */

/* What the name of a disk that is on its way in (manage_receive) has behind
 * that of the disk which it is to be.
 */
#define DISK_RECEIVING "/receiving"

/* What the name of a disk in the trash (trash.h) begins with; its id follows.
 */
#define DISK_TRASH "trash/"

/* What the name of a snapshot that pins rows for a copy (snapshots_pin) begins
 * with.  Other names with a '/' are hidden, too, and of those who know them.
 */
#define SNAPSHOT_COPY "copy/"

#endif /* SQLBLOCK_COLUMNS_H */
