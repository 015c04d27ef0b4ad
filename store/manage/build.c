/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A new database with one disk, for manage.h.
 *
 * What goes into a database that others use is written twice, into the log and
 * from there into the file, and synced each time.  A file that nobody knows yet
 * needs neither: it is filled in one transaction without a log or a journal,
 * synced once, and gets its name.  It is then as if the disk had been made in
 * an empty database and written.
 *
 *   disks.sqlite.new-XXXXXX   tables, disk, blocks ... commit, sync
 *        │ rename
 *        ▼
 *   disks.sqlite
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/sane.h"
#include "engine/engine.h"
#include "engine/writer.h"
#include "manage.h"
#include "rows/database.h"
#include "rows/disks.h"
#include "sqlite/files.h"

struct build {
  struct new_database file;
  struct writer writer; /* on the connection of that */
  struct disk_info disk;
};

/* Make the disk, and find it. */
static int
make_disk (struct build *build, const struct manage_incoming *incoming,
           struct status *status)
{
  const struct disk_options options = {
    .name = incoming->disk,
    .description = incoming->description,
    .size = incoming->size,
    .block_size = incoming->block_size,
    .storing = disks_storing (&incoming->storing),
  };
  struct connection *connection = &build->writer.connection;
  const int r = disks_create (connection, &options, status);

  return r == -1 ? -1
         : disks_find (connection, incoming->disk, &build->disk, status) == 1
             ? 0
             : -1;
}

/* Check all that can be wrong before anything is made. */
static int
check (const char *path, const struct manage_incoming *incoming,
       struct status *status)
{
  const struct disk_options options = {
    .name = incoming->disk,
    .description = incoming->description,
    .size = incoming->size,
    .block_size = incoming->block_size,
  };

  if (sane_check ("the name of a disk", incoming->disk, DISK_NAME_MAX,
                  status) == -1 ||
      sane_check_options (&options, status) == -1)
    return -1;
  if (incoming->size == 0)
    return status_fail (status, EINVAL, "a disk of no bytes cannot be made");
  return files_check_system (path, status);
}

struct build *
manage_build (const char *path, const struct manage_incoming *incoming,
              struct status *status)
{
  const uint32_t block_size =
      incoming->block_size ? incoming->block_size : DISK_BLOCK_SIZE_DEFAULT;
  struct build *build;

  if (check (path, incoming, status) == -1)
    return NULL;
  build = calloc (1, sizeof *build);
  if (build == NULL) {
    status_no_memory (status);
    return NULL;
  }
  if (database_begin (&build->file, &build->writer.connection, path,
                      disks_page_size (block_size), status) == -1) {
    free (build);
    return NULL;
  }
  if (writer_open_alone (&build->writer, status) == -1) {
    database_abandon (&build->file);
    free (build);
    return NULL;
  }
  if (make_disk (build, incoming, status) == 0)
    return build;
  manage_build_cancel (build);
  return NULL;
}

int
manage_build_write (struct build *build, const void *data, uint64_t offset,
                    uint64_t count, struct status *status)
{
  const struct write_request request = {
    .data = data,
    .offset = offset,
    .count = count,
    .storing = build->disk.storing,
  };

  return writer_write_alone (&build->writer, &build->disk, &request, status);
}

int
manage_build_end (struct build *build, uint64_t size, struct status *status)
{
  int r = 0;

  if (size != build->disk.size)
    r = disks_set_size (&build->writer.connection, build->disk.id, size,
                        status);
  writer_close_alone (&build->writer);
  if (r == 0)
    r = database_publish (&build->file, status);
  else
    database_abandon (&build->file);
  free (build);
  return r;
}

void
manage_build_cancel (struct build *build)
{
  writer_close_alone (&build->writer);
  database_abandon (&build->file);
  free (build);
}
