/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Columns that several of these files name in SQL: what the checksum of a row
 * covers, and what its name says.  schema.sql has all of them.
 */

#ifndef SQLBLOCK_COLUMNS_H
#define SQLBLOCK_COLUMNS_H

/* The columns of a disk that its checksum covers, in their order. */
#define DISK_CHECKSUM                                                          \
  "row_checksum ('disk', disk.id, disk.name, disk.description, disk.size,"     \
  " disk.block_size, disk.layer, disk.epoch, disk.compression,"                \
  " disk.compression_level, disk.deduplicate, disk.quota, disk.created)"

/* The columns of a snapshot that its checksum covers, in their order. */
#define SNAPSHOT_CHECKSUM                                                      \
  "row_checksum ('snapshot', snapshot.id, snapshot.disk, snapshot.name,"       \
  " snapshot.guid, snapshot.layer, snapshot.generation, snapshot.size,"        \
  " snapshot.created, snapshot.automatic, snapshot.last_block)"

/* The columns of a layer that its checksum covers, in their order. */
#define LAYER_CHECKSUM                                                         \
  "row_checksum ('layer', layer.id, layer.parent, layer.parent_generation,"    \
  " layer.generation)"

/* What the name of a disk that is on its way in (manage_receive) has behind
 * that of the disk which it is to be.
 */
#define DISK_RECEIVING "/receiving"

#endif /* SQLBLOCK_COLUMNS_H */
