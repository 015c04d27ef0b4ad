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
 *
 * One thread reads and compresses, and another puts the rows into the file:
 *
 *   caller   copy, encode ─► slot 0 │ slot 1 │ slot 2 ─► put   the thread
 *
 * Thread rules: `lock` guards the slots' states, `next_put`, `ending` and
 * `failure`; from the beginning of the thread to its end only that uses the
 * connection.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "block/cipher.h"
#include "encryption.h"
#include "engine/engine.h"
#include "engine/writer.h"
#include "manage/manage-parts.h"
#include "manage.h"
#include "rows/database.h"
#include "rows/disks.h"
#include "rows/keys.h"
#include "sqlite/files.h"

/* How much is on its way to the file. */
#define SLOTS      3
#define SLOT_BYTES (4 * 1024 * 1024)

struct slot {
  struct prepared *prepared; /* NULL: it is free */
  char *data;                /* SLOT_BYTES */
};

struct build {
  struct new_database file;
  struct writer writer; /* on the connection of that */
  struct disk_info disk;
  struct cipher_key *key; /* of that, or NULL */

  pthread_t thread;
  bool started;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot slots[SLOTS];
  unsigned next_fill, next_put;
  bool ending, failed;
  struct status failure;
};

/*--------------------------------------------------------------------
 * The thread.
 */

/* The next slot that is to be put: waits for one.  NULL: there is none left. */
static struct slot *
next_slot (struct build *build)
{
  struct slot *slot = &build->slots[build->next_put];

  pthread_mutex_lock (&build->lock);
  while (slot->prepared == NULL && !build->ending)
    pthread_cond_wait (&build->changed, &build->lock);
  pthread_mutex_unlock (&build->lock);
  return slot->prepared ? slot : NULL;
}

/* Put what comes.  After a failure nothing of it is kept. */
static void *
put_slots (void *opaque)
{
  struct build *build = opaque;
  struct status status;
  struct slot *slot;
  int r;

  while ((slot = next_slot (build)) != NULL) {
    r = writer_put_alone (&build->writer, &build->disk, slot->prepared,
                          &status);
    pthread_mutex_lock (&build->lock);
    if (r == -1 && !build->failed) {
      build->failed = true;
      build->failure = status;
    }
    slot->prepared = NULL;
    build->next_put = (build->next_put + 1) % SLOTS;
    pthread_cond_broadcast (&build->changed);
    pthread_mutex_unlock (&build->lock);
  }
  return NULL;
}

static int
start_thread (struct build *build, struct status *status)
{
  int error;

  for (unsigned i = 0; i < SLOTS; i++) {
    build->slots[i].data = malloc (SLOT_BYTES);
    if (build->slots[i].data == NULL)
      return status_no_memory (status);
  }
  error = pthread_create (&build->thread, NULL, put_slots, build);
  build->started = error == 0;
  return error == 0 ? 0
                    : status_fail (status, error, "starting a thread: %s",
                                   strerror (error));
}

/* Have all put that is on its way, and the thread end.  Returns 0, or -1 where
 * something could not be put.
 */
static int
end_thread (struct build *build, struct status *status)
{
  if (build->started) {
    pthread_mutex_lock (&build->lock);
    build->ending = true;
    pthread_cond_broadcast (&build->changed);
    pthread_mutex_unlock (&build->lock);
    pthread_join (build->thread, NULL);
  }
  for (unsigned i = 0; i < SLOTS; i++)
    free (build->slots[i].data);
  pthread_mutex_destroy (&build->lock);
  pthread_cond_destroy (&build->changed);
  if (build->failed)
    *status = build->failure;
  return build->failed ? -1 : 0;
}

/* The next slot that is free: waits for one.  NULL: something has failed. */
static struct slot *
free_slot (struct build *build, struct status *status)
{
  struct slot *slot = &build->slots[build->next_fill];
  bool failed;

  pthread_mutex_lock (&build->lock);
  while (slot->prepared && !build->failed)
    pthread_cond_wait (&build->changed, &build->lock);
  failed = build->failed;
  if (failed)
    *status = build->failure;
  pthread_mutex_unlock (&build->lock);
  return failed ? NULL : slot;
}

/*--------------------------------------------------------------------
 * The caller.
 */

/* Have the disk's key, if it is encrypted. */
static int
unlock (struct build *build, const struct secret *secrets,
        struct status *status)
{
  struct encryption encryption;
  struct unwrapped *unwrapped;

  if (keys_read (&build->writer.connection, build->disk.id, &encryption,
                 status) == -1)
    return -1;
  if (!encryption_is_there (&encryption))
    return 0;
  unwrapped = encryption_unwrap (&encryption, secrets, NULL, status);
  if (unwrapped == NULL)
    return -1;
  build->key = unwrapped_derive (unwrapped, status);
  unwrapped_free (unwrapped);
  build->disk.key = build->key;
  return build->key ? 0 : -1;
}

/* Make the disk, and find it. */
static int
make_disk (struct build *build, const struct manage_incoming *incoming,
           const struct secret *secrets, struct status *status)
{
  struct disk_options options = manage_incoming_options (incoming);
  struct connection *connection = &build->writer.connection;

  options.storing = disks_storing (&incoming->storing);
  if (disks_create (connection, &options, status) == -1 ||
      disks_find (connection, incoming->disk, &build->disk, status) != 1)
    return -1;
  return unlock (build, secrets, status);
}

/* Check all that can be wrong before anything is made. */
static int
check (const char *path, const struct manage_incoming *incoming,
       struct status *status)
{
  if (manage_check_incoming (incoming, status) == -1)
    return -1;
  if (incoming->size == 0)
    return status_fail (status, EINVAL, "a disk of no bytes cannot be made");
  return files_check_system (path, status);
}

int
manage_try_build (const char *path, const struct manage_incoming *incoming,
                  struct status *status)
{
  return check (path, incoming, status) == -1
             ? -1
             : database_check_new (path, status);
}

struct build *
manage_build (const char *path, const struct manage_incoming *incoming,
              const struct secret *secrets, struct status *status)
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
  pthread_mutex_init (&build->lock, NULL);
  pthread_cond_init (&build->changed, NULL);
  if (make_disk (build, incoming, secrets, status) == 0 &&
      start_thread (build, status) == 0)
    return build;
  manage_build_cancel (build);
  return NULL;
}

/* Put what goes into one slot on its way. */
static int
write_slot (struct build *build, const void *data, uint64_t offset,
            uint64_t count, struct status *status)
{
  struct slot *slot = free_slot (build, status);
  struct write_request request = {
    .offset = offset,
    .count = count,
    .storing = build->disk.storing,
  };
  struct prepared *prepared;

  if (slot == NULL)
    return -1;
  request.data = memcpy (slot->data, data, count);
  prepared =
      writer_prepare_alone (&build->writer, &build->disk, &request, status);
  if (prepared == NULL)
    return -1;
  pthread_mutex_lock (&build->lock);
  slot->prepared = prepared;
  pthread_cond_broadcast (&build->changed);
  pthread_mutex_unlock (&build->lock);
  build->next_fill = (build->next_fill + 1) % SLOTS;
  return 0;
}

int
manage_build_write (struct build *build, const void *data, uint64_t offset,
                    uint64_t count, struct status *status)
{
  const char *bytes = data;
  uint64_t part;
  int r = 0;

  for (; r == 0 && count > 0; bytes += part, offset += part, count -= part) {
    part = SLOT_BYTES - offset % SLOT_BYTES;
    if (part > count)
      part = count;
    r = write_slot (build, bytes, offset, part, status);
  }
  return r;
}

int
manage_build_end (struct build *build, uint64_t size, struct status *status)
{
  int r = end_thread (build, status);

  if (r == 0 && size != build->disk.size)
    r = disks_set_size (&build->writer.connection, build->disk.id, size,
                        status);
  writer_close_alone (&build->writer);
  if (r == 0)
    r = database_publish (&build->file, status);
  else
    database_abandon (&build->file);
  cipher_key_free (build->key);
  free (build);
  return r;
}

void
manage_build_cancel (struct build *build)
{
  struct status ignored;

  end_thread (build, &ignored);
  writer_close_alone (&build->writer);
  database_abandon (&build->file);
  cipher_key_free (build->key);
  free (build);
}
