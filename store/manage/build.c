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
 * The caller reads, and threads do the rest.  Data goes round in slots, in its
 * order; each slot belongs to who works on it, and has a state when it waits:
 *
 *   the caller            encoding threads                 the putting thread
 *   FREE  ── write ──►  FILLED ── compress, sum ──►  ENCODED ── into rows ──►
 *
 * After a failure all goes on as before, to its end, but nothing is kept of it,
 * and the next call of the caller tells.
 *
 * Thread rules: `lock` guards the slots' states, the three places, `ending` and
 * `failure`; from the beginning of the threads to their end only that which
 * puts uses the connection.
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

/* How much is on its way to the file, and who encodes it.  Where processors are
 * fewer, threads wait for each other; more would wait for SQLite.
 */
#define SLOTS      6
#define SLOT_BYTES MANAGE_BUILD_ROOM
#define ENCODERS   2

enum slot_state { FREE, FILLED, ENCODED, TAKEN };

struct slot {
  enum slot_state state;
  char *data; /* SLOT_BYTES */
  struct write_request request;
  struct prepared *prepared; /* what became of it; NULL: encoding failed */
};

struct build {
  struct new_database file;
  struct writer writer; /* on the connection of that */
  struct disk_info disk;
  struct cipher_key *key; /* of that, or NULL */
  struct slot *filling;   /* taken by the caller, or NULL */

  pthread_t threads[ENCODERS + 1]; /* the last one puts */
  unsigned started;
  pthread_mutex_t lock;
  pthread_cond_t changed;
  struct slot slots[SLOTS];
  unsigned next_fill, next_encode, next_put; /* slots */
  bool ending, failed;
  struct status failure;
};

/*--------------------------------------------------------------------
 * Slots.
 */

/* Take the next slot that is in STATE, of which NEXT is the place: waits for
 * one.  NULL: none will come.
 */
static struct slot *
take (struct build *build, unsigned *next, enum slot_state state)
{
  struct slot *slot;

  pthread_mutex_lock (&build->lock);
  while ((slot = &build->slots[*next])->state != state &&
         !(build->ending && slot->state == FREE))
    pthread_cond_wait (&build->changed, &build->lock);
  if (slot->state == state) {
    slot->state = TAKEN;
    *next = (*next + 1) % SLOTS;
  }
  else
    slot = NULL;
  pthread_mutex_unlock (&build->lock);
  return slot;
}

/* Pass a slot on that was taken. */
static void
pass (struct build *build, struct slot *slot, enum slot_state state)
{
  pthread_mutex_lock (&build->lock);
  slot->state = state;
  pthread_cond_broadcast (&build->changed);
  pthread_mutex_unlock (&build->lock);
}

static void
note_failure (struct build *build, const struct status *failure)
{
  pthread_mutex_lock (&build->lock);
  if (!build->failed)
    build->failure = *failure;
  build->failed = true;
  pthread_mutex_unlock (&build->lock);
}

/* Has something failed? */
static int
check_failure (struct build *build, struct status *status)
{
  bool failed;

  pthread_mutex_lock (&build->lock);
  failed = build->failed;
  if (failed)
    *status = build->failure;
  pthread_mutex_unlock (&build->lock);
  return failed ? -1 : 0;
}

/*--------------------------------------------------------------------
 * The threads.
 */

static void *
encode_slots (void *opaque)
{
  struct build *build = opaque;
  struct status status;
  struct slot *slot;

  while ((slot = take (build, &build->next_encode, FILLED)) != NULL) {
    slot->prepared = writer_prepare_alone (&build->writer, &build->disk,
                                           &slot->request, &status);
    if (slot->prepared == NULL)
      note_failure (build, &status);
    pass (build, slot, ENCODED);
  }
  return NULL;
}

static void *
put_slots (void *opaque)
{
  struct build *build = opaque;
  struct status status;
  struct slot *slot;

  while ((slot = take (build, &build->next_put, ENCODED)) != NULL) {
    if (slot->prepared && writer_put_alone (&build->writer, &build->disk,
                                            slot->prepared, &status) == -1)
      note_failure (build, &status);
    pass (build, slot, FREE);
  }
  return NULL;
}

static int
start_threads (struct build *build, struct status *status)
{
  int error;

  for (unsigned i = 0; i < SLOTS; i++) {
    build->slots[i].data = malloc (SLOT_BYTES);
    if (build->slots[i].data == NULL)
      return status_no_memory (status);
  }
  for (; build->started <= ENCODERS; build->started++) {
    error = pthread_create (
        &build->threads[build->started], NULL,
        build->started < ENCODERS ? encode_slots : put_slots, build);
    if (error != 0)
      return status_fail (status, error, "starting a thread: %s",
                          strerror (error));
  }
  return 0;
}

/* Have all put that is on its way, and the threads end.  Returns 0, or -1 where
 * something has failed.
 */
static int
end_threads (struct build *build, struct status *status)
{
  int r;

  if (build->filling)
    build->filling->state = FREE;
  pthread_mutex_lock (&build->lock);
  build->ending = true;
  pthread_cond_broadcast (&build->changed);
  pthread_mutex_unlock (&build->lock);
  while (build->started > 0)
    pthread_join (build->threads[--build->started], NULL);
  r = check_failure (build, status);
  for (unsigned i = 0; i < SLOTS; i++)
    free (build->slots[i].data);
  pthread_mutex_destroy (&build->lock);
  pthread_cond_destroy (&build->changed);
  return r;
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

  if (keys_read (&build->writer.connection, build->disk.id, &encryption,
                 status) == -1)
    return -1;
  if (!encryption_is_there (&encryption))
    return 0;
  build->key = encryption_derive (&encryption, secrets, status);
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
      start_threads (build, status) == 0)
    return build;
  manage_build_cancel (build);
  return NULL;
}

void *
manage_build_room (struct build *build)
{
  if (build->filling == NULL)
    build->filling = take (build, &build->next_fill, FREE);
  return build->filling->data;
}

/* Put what goes into one slot on its way. */
static int
write_slot (struct build *build, const void *data, uint64_t offset,
            uint64_t count, struct status *status)
{
  void *room = manage_build_room (build);
  struct slot *slot = build->filling;

  if (check_failure (build, status) == -1)
    return -1;
  if (data != room)
    memcpy (room, data, count);
  slot->request = (struct write_request){
    .data = room,
    .offset = offset,
    .count = count,
    .storing = build->disk.storing,
  };
  build->filling = NULL;
  pass (build, slot, FILLED);
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
  int r = end_threads (build, status);

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

  if (build->filling)
    build->filling->data = NULL; /* see manage_build_room */
  end_threads (build, &ignored);
  writer_close_alone (&build->writer);
  database_abandon (&build->file);
  cipher_key_free (build->key);
  free (build);
}
