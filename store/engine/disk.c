/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A disk that is open, and its requests: see store.h.
 *
 * A read takes a reader of the pool, a write goes to the writer's queue.  Here
 * it is decided what is read before a write, requests are counted, and failures
 * say which disk and which bytes they are about.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/count.h"
#include "base/counters.h"
#include "base/packed.h"
#include "engine/channel.h"
#include "engine/engine.h"
#include "engine/keyring.h"
#include "engine/prefetch.h"
#include "engine/remote.h"
#include "engine/store-parts.h"
#include "rows/features.h"
#include "rows/keys.h"
#include "rows/layers.h"
#include "sqlite/guard.h"
#include "statistics.h"
#include "store.h"

/* How much is read at a time to have it in the caches, in bytes. */
#define CACHE_BYTES (1024 * 1024)

/* How often to read what changes meanwhile (watch.h). */
#define READ_TRIES 3

struct disk {
  struct store *store;
  struct disk_info info;
  /* How new blocks are stored, at last sight.  That both change at once does
   * not matter: a codec takes any level.
   */
  atomic_int codec, level, deduplicate;
  struct disk_counters *counters; /* or NULL */
  bool readonly;
  uint32_t remote; /* its number, where a server has it open */
  int guard;       /* released at the end, or -1 */
  int reads;       /* guard_read_snapshot, or -1 */
};

/* What a thread has seen, for the others; it rarely changes. */
static void
note_seen (atomic_int *seen, int now)
{
  if (atomic_load_explicit (seen, memory_order_relaxed) != now)
    atomic_store_explicit (seen, now, memory_order_relaxed);
}

static void
note_storing (struct disk *disk, const struct storing *now)
{
  note_seen (&disk->codec, now->compression.codec);
  note_seen (&disk->level, now->compression.level);
  note_seen (&disk->deduplicate, now->deduplicate);
}

static struct storing
seen_storing (struct disk *disk)
{
  return (struct storing){
    .compression = { atomic_load_explicit (&disk->codec, memory_order_relaxed),
                     atomic_load_explicit (&disk->level,
                                           memory_order_relaxed) },
    .deduplicate =
        atomic_load_explicit (&disk->deduplicate, memory_order_relaxed),
  };
}

/* DISK was looked at before its guard was taken: a roll-back, a change of its
 * size or a deletion may have had that until then.  With it they have to wait,
 * so what is seen now stays.
 */
static int
look_again (struct disk *disk, struct status *status)
{
  struct disk_info now = { .id = disk->info.id };

  if (store_find_id (disk->store, &now, status) == -1)
    return -1;
  strcpy (now.name, disk->info.name);
  now.key = disk->info.key;
  disk->info = now;
  return 0;
}

/* As store_find; a snapshot stays as long as *READS, a guard, is held.  Where
 * this user cannot have the guard, *READS is -1, and a client that reads it
 * when it is deleted gets errors.
 */
static int
find_to_read (struct store *store, const char *name, struct disk_info *info,
              int *reads, struct status *status)
{
  int64_t id;
  int r;

  *reads = -1;
  if (store_find (store, name, info, status) == -1)
    return -1;
  /* It may be gone, or a time may mean another one, by the time that it is
   * held.
   */
  while (info->snapshot != 0) {
    id = info->snapshot;
    *reads = guard_read_snapshot (store->connections.place.path, id, status);
    if (*reads == -1 && status->error == EBUSY)
      return status_prefix (status, "'%s'", info->name);
    if (*reads == -1)
      return 0;
    r = store_find (store, name, info, status);
    if (r == 0 && info->snapshot == id)
      return 0;
    guard_release (*reads);
    *reads = -1;
    if (r == -1)
      return -1;
  }
  return 0;
}

/* May the disk INFO be opened?  A server says why it only reads one. */
static int
check_access (struct store *store, const struct disk_info *info, bool readonly,
              struct status *status)
{
  struct status why;

  if (info->access == DISK_REFUSED)
    return STORE_READ (
        store, status, connection,
        features_allow (connection, info->id, FEATURE_READ, status));
  if (info->access == DISK_READ_ONLY && !readonly && info->snapshot == 0 &&
      !store->options.command &&
      STORE_READ (
          store, &why, connection,
          features_allow (connection, info->id, FEATURE_CHANGE, &why)) == -1)
    store->options.warn (why.message);
  return 0;
}

struct disk *
disk_open_remote (struct store *store, uint32_t number,
                  const struct disk_info *info, bool readonly,
                  struct status *status)
{
  struct disk *disk = calloc (1, sizeof *disk);

  if (disk == NULL) {
    /* The server closes it at the end of the connection. */
    status_no_memory (status);
    return NULL;
  }
  disk->store = store;
  disk->info = *info;
  disk->readonly = readonly;
  disk->remote = number;
  disk->guard = disk->reads = -1;
  return disk;
}

uint32_t
disk_remote (const struct disk *disk)
{
  return disk->remote;
}

/* Open what a server has, for reading. */
static struct disk *
open_on_server (struct store *store, const char *name, bool readonly,
                struct status *status)
{
  struct store_call call = { .name = name };

  if (!readonly) {
    remote_refuse (status);
    return NULL;
  }
  if (remote_call (store->remote, &call_disk_open, &call, NULL, status) == -1)
    return NULL;
  return disk_open_remote (store, call.disk, &call.info, call.readonly, status);
}

/* Where all that is acknowledged is to be durable, what an earlier server has
 * acknowledged comes first.
 */
static struct disk *
make_durable (struct disk *disk, struct status *status)
{
  if (disk->readonly || !disk->store->options.durable ||
      disk_flush (disk, status) == 0)
    return disk;
  disk_close (disk);
  return NULL;
}

struct disk *
disk_open (struct store *store, const char *name, bool readonly,
           struct status *status)
{
  struct disk_info info, now;
  struct disk *disk;
  int reads;

  if (store->remote)
    return open_on_server (store, name, readonly, status);
  for (;;) {
    if (find_to_read (store, name, &info, &reads, status) == -1)
      return NULL;
    disk = disk_open_found (store, &info, readonly, status);
    if (disk)
      disk->reads = reads;
    else if (reads != -1)
      guard_release (reads);
    if (disk == NULL || disk->readonly)
      return disk;
    /* Is it still called so? */
    if (store_find (store, name, &now, status) == -1) {
      disk_close (disk);
      return NULL;
    }
    if (now.id == info.id)
      return make_durable (disk, status);
    disk_close (disk);
  }
}

int
store_unlock (struct store *store, struct disk_info *info,
              struct status *status)
{
  struct encryption encryption;

  if (STORE_READ (store, status, connection,
                  keys_read_to_open (connection, info,
                                     store->options.secrets != NULL,
                                     &encryption, status)) == -1)
    return status_prefix (status, "disk '%s'", info->name);
  return keyring_unlock (&store->keyring, &encryption, info, status);
}

struct disk *
disk_open_found (struct store *store, const struct disk_info *info,
                 bool readonly, struct status *status)
{
  struct disk *disk = calloc (1, sizeof *disk);
  struct status ignored;

  if (disk == NULL) {
    status_no_memory (status);
    return NULL;
  }
  disk->store = store;
  disk->info = *info;
  if (check_access (store, info, readonly, status) == -1 ||
      store_unlock (store, &disk->info, status) == -1) {
    free (disk);
    return NULL;
  }
  disk->guard = disk->reads = -1;
  /* Who reads without the log would not see what is written. */
  disk->readonly = readonly || info->snapshot != 0 ||
                   info->access != DISK_OPEN || store_is_immutable (store);
  if (!disk->readonly && store_begin_writing (store, info->id, status) == -1) {
    if (!store_may_only_read (status)) {
      status_prefix (status, "disk '%s'", info->name);
      free (disk);
      return NULL;
    }
    disk->readonly = true;
  }
  if (!disk->readonly && look_again (disk, status) == -1) {
    status_prefix (status, "disk '%s'", info->name);
    disk_close (disk);
    return NULL;
  }
  note_storing (disk, &disk->info.storing);
  /* It can also be served without. */
  if (store->statistics)
    disk->counters =
        statistics_open_disk (store->statistics, info->name, &ignored);
  return disk;
}

void
disk_keep_guard (struct disk *disk, int guard)
{
  disk->guard = guard;
}

bool
disk_has_guard (const struct disk *disk)
{
  return disk->guard != -1;
}

void
disk_forget (struct disk *disk)
{
  free (disk);
}

void
disk_close (struct disk *disk)
{
  struct store_call call = { .disk = disk->remote };
  struct status ignored;

  if (disk->store->remote) {
    remote_call (disk->store->remote, &call_disk_close, &call, NULL, &ignored);
    free (disk);
    return;
  }
  if (!disk->readonly)
    store_end_writing (disk->store, disk->info.id);
  if (disk->guard != -1)
    guard_release (disk->guard);
  if (disk->reads != -1)
    guard_release (disk->reads);
  statistics_close_disk (disk->counters);
  free (disk);
}

const struct disk_info *
disk_get_info (const struct disk *disk)
{
  return &disk->info;
}

bool
disk_is_readonly (const struct disk *disk)
{
  return disk->readonly;
}

/*--------------------------------------------------------------------
 * Requests.
 */

/* Say of a failure what was being done; returns -1. */
static int
failed_range (const struct disk *disk, const char *doing, uint64_t offset,
              uint64_t count, struct status *status)
{
  return status_prefix (status, "disk '%s': %s %s at offset %" PRIu64,
                        disk->info.name, doing, COUNT (count, "byte"), offset);
}

/* The same requests of a disk that a server has open: it takes them in pieces,
 * and says of a failure itself what was being done.
 */
static int
ask_server (struct disk *disk, const struct call_type *type, void *buffer,
            const void *data, uint64_t offset, uint64_t count,
            struct status *status)
{
  const bool moves = buffer || data;
  struct remote_more more;
  struct store_call call;
  uint64_t part, done;

  for (done = 0; done < count; done += part) {
    part = moves && count - done > CHANNEL_BYTES_MAX ? CHANNEL_BYTES_MAX
                                                     : count - done;
    call = (struct store_call){ .disk = disk->remote,
                                .offset = offset + done,
                                .count = part };
    more = (struct remote_more){ .data_length = data ? part : 0,
                                 .buffer_length = buffer ? part : 0 };
    if (data)
      more.data = (const char *)data + done;
    if (buffer)
      more.buffer = (char *)buffer + done;
    if (remote_call (disk->store->remote, type, &call, &more, status) == -1)
      return -1;
  }
  return 0;
}

/* Are the extents those of the range, one behind the other, from its start? */
static bool
are_extents (const struct store_call *call)
{
  uint64_t left = call->count;

  for (size_t i = 0; i < call->extent_count; i++) {
    const struct message_range *extent = &call->extents[i];

    if (extent->offset != call->offset + (call->count - left) ||
        extent->length == 0 || extent->length > left)
      return false;
    left -= extent->length;
  }
  return call->extent_count > 0;
}

static int
ask_server_extents (struct disk *disk, uint64_t offset, uint64_t count,
                    bool one, extent_found found, void *opaque,
                    struct status *status)
{
  struct store_call call = {
    .disk = disk->remote,
    .offset = offset,
    .count = count,
    .one = one,
  };

  if (remote_call (disk->store->remote, &call_disk_extents, &call, NULL,
                   status) == -1)
    return -1;
  if (!are_extents (&call))
    return status_fail (status, EIO,
                        "disk '%s': the extents that the server tells are not "
                        "those of the range",
                        disk->info.name);
  for (size_t i = 0; i < call.extent_count; i++)
    if (found (call.extents[i].offset, call.extents[i].length,
               call.extents[i].hole, opaque) != 0)
      return status_no_memory (status);
  return 0;
}

/* What is to be read. */
struct reading {
  void *buffer;
  uint64_t offset, count; /* bytes */
  size_t *packed; /* not NULL: as it is stored, and its length goes there */
};

static int
read_view (struct reader *reader, const struct reading *reading,
           struct status *status)
{
  const uint32_t block_size = reader->view.block_size;
  const uint64_t first = reading->offset / block_size;
  const uint64_t end = (reading->offset + reading->count - 1) / block_size + 1;

  if (view_check_range (&reader->view, reading->offset, reading->count, EIO,
                        status) == -1)
    return -1;
  return reading->packed
             ? view_pack (&reader->connection, &reader->view, first,
                          end - first, reading->buffer, reading->packed, status)
             : view_read (&reader->connection, &reader->view, reading->buffer,
                          reading->offset, reading->count, status);
}

/* Read what READING says, and count how the cache was used; maybe AGAIN, see
 * reader.h.
 */
static int
read_once (struct disk *disk, const struct reading *reading, bool *again,
           struct status *status)
{
  struct reader_pool *readers = &disk->store->readers;
  struct reader *reader = reader_take_disk (readers, &disk->info, status);
  int r;

  if (reader == NULL) {
    *again = false;
    return -1;
  }
  r = read_view (reader, reading, status);
  statistics_cache (disk->counters, reader->connection.db);
  return reader_end_or_again (readers, reader, r, again, status);
}

static int
read_here (struct disk *disk, const struct reading *reading,
           struct status *status)
{
  bool again = true;
  int r = -1;

  for (int tries = READ_TRIES; r == -1 && again; tries--) {
    again = tries > 1;
    r = read_once (disk, reading, &again, status);
  }
  if (r == -1)
    return failed_range (disk, "reading", reading->offset, reading->count,
                         status);
  return 0;
}

int
store_check_key (const struct store *store, const struct disk_info *info,
                 struct status *status)
{
  if (!info->encrypted || info->key)
    return 0;
  return status_fail (status, EACCES,
                      store->options.command
                          ? "disk '%s': it is encrypted; give its key"
                          : "disk '%s': it is encrypted, and the server has "
                            "not its key; start it with key-file= or "
                            "passphrase=",
                      info->name);
}

static int
read_range (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
            struct status *status)
{
  const struct reading reading = { buffer, offset, count, NULL };

  if (disk->store->remote)
    return ask_server (disk, &call_disk_read, buffer, NULL, offset, count,
                       status);
  if (store_check_key (disk->store, &disk->info, status) == -1)
    return -1;
  return read_here (disk, &reading, status);
}

int
disk_read (struct disk *disk, void *buffer, uint64_t offset, uint64_t count,
           struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = read_range (disk, buffer, offset, count, status);

  return statistics_request (disk->counters, REQUEST_READ, began, count, r);
}

/* Read what a server has, as it is stored. */
static int
ask_server_packed (struct disk *disk, const struct reading *reading,
                   struct status *status)
{
  struct store_call call = {
    .disk = disk->remote,
    .offset = reading->offset,
    .count = reading->count,
  };
  const struct remote_more more = {
    .buffer = reading->buffer,
    .buffer_length = PACKED_ROOM (reading->count, disk->info.block_size),
    .got = reading->packed,
  };

  if (reading->buffer)
    return remote_call (disk->store->remote, &call_disk_read_packed, &call,
                        &more, status);
  if (remote_call (disk->store->remote, &call_disk_measure_packed, &call, NULL,
                   status) == -1)
    return -1;
  *reading->packed = call.length;
  return 0;
}

int
disk_read_packed (struct disk *disk, void *buffer, uint64_t offset,
                  uint64_t count, size_t *length, struct status *status)
{
  const struct reading reading = { buffer, offset, count, length };
  const uint64_t began = clock_now ();
  const int r = disk->store->remote ? ask_server_packed (disk, &reading, status)
                                    : read_here (disk, &reading, status);

  return statistics_request (disk->counters, REQUEST_READ, began, count, r);
}

int
disk_cache (struct disk *disk, uint64_t offset, uint64_t count,
            struct status *status)
{
  const uint64_t began = clock_now (), all = count;
  uint64_t part = count < CACHE_BYTES ? count : CACHE_BYTES;
  void *scratch = malloc (part);
  int r = scratch ? 0 : status_no_memory (status);

  for (; r == 0 && count > 0; count -= part, offset += part) {
    if (part > count)
      part = count;
    r = read_range (disk, scratch, offset, part, status);
  }
  free (scratch);
  return statistics_request (disk->counters, REQUEST_CACHE, began, all, r);
}

/* Make durable what was written before. */
static int
flush (struct disk *disk, struct status *status)
{
  if (disk->readonly)
    return 0;
  if (disk->store->remote)
    return remote_refuse (status);
  if (flusher_flush (&disk->store->flusher, status) == -1) {
    checkpointer_wake (&disk->store->checkpointer);
    return status_prefix (status, "disk '%s': flushing", disk->info.name);
  }
  return 0;
}

int
disk_flush (struct disk *disk, struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = flush (disk, status);

  return statistics_request (disk->counters, REQUEST_FLUSH, began, 0, r);
}

/* Read the block in which byte OFFSET is, of which a part is to be written.
 * The write does it itself where this fails.
 */
static void
read_before (struct disk *disk, uint64_t offset, struct block_before *before)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t number = offset / block_size;
  struct status ignored;
  struct reader *reader =
      reader_take_disk (&disk->store->readers, &disk->info, &ignored);

  if (reader == NULL)
    return;
  before->bytes = malloc (block_size);
  if (before->bytes &&
      (view_version (&reader->connection, &reader->view, number,
                     &before->version, &ignored) == -1 ||
       view_read (&reader->connection, &reader->view, before->bytes,
                  number * block_size, block_size, &ignored) == -1)) {
    free (before->bytes);
    before->bytes = NULL;
  }
  statistics_cache (disk->counters, reader->connection.db);
  reader_return (&disk->store->readers, reader);
}

/* Read what a disk that is compressed or deduplicated has in the blocks of
 * which a part is written, so that the transaction need not.
 */
static void
read_edges (struct disk *disk, struct write_request *request)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t offset = request->offset, end = offset + request->count;
  const bool one = offset / block_size == (end - 1) / block_size;

  if (request->storing.compression.codec == CODEC_RAW &&
      request->storing.deduplicate != DISK_ON)
    return;
  if (offset % block_size != 0 || (one && end % block_size != 0))
    read_before (disk, offset, &request->before[0]);
  if (!one && end % block_size != 0)
    read_before (disk, end - 1, &request->before[1]);
}

/* Read what COUNT bytes at byte OFFSET will overwrite, where that comes from
 * the medium and the write has to wait anyway.  What fails here, the write
 * meets itself.
 */
static void
prefetch (struct disk *disk, uint64_t offset, uint64_t count)
{
  struct writer *writer = &disk->store->writer;
  const uint32_t block_size = disk->info.block_size;
  struct status ignored;
  struct reader *reader;
  long before;

  if (count > PREFETCH_BYTES || !prefetch_is_due (&writer->prefetch) ||
      !writer_is_busy (writer))
    return;
  before = prefetch_so_far ();
  reader = reader_take_disk (&disk->store->readers, &disk->info, &ignored);
  if (reader == NULL)
    return;
  view_prefetch (&reader->connection, &reader->view, offset / block_size,
                 (offset + count - 1) / block_size, &ignored);
  statistics_cache (disk->counters, reader->connection.db);
  reader_return (&disk->store->readers, reader);
  prefetch_note (&writer->prefetch, before);
}

/* Write, and make durable with FUA; of whole blocks that are ENCODED already
 * these are stored.
 */
static int
write_range (struct disk *disk, const void *data, const struct encoded *encoded,
             uint64_t offset, uint64_t count, bool fua, struct status *status)
{
  struct write_request request = {
    .data = data,
    .encoded = encoded,
    .offset = offset,
    .count = count,
    .storing = seen_storing (disk),
  };
  int r;

  if (disk->store->remote)
    return remote_refuse (status);
  prefetch (disk, offset, count);
  read_edges (disk, &request);
  r = writer_write (&disk->store->writer, &disk->info, &request, status);
  free (request.before[0].bytes);
  free (request.before[1].bytes);
  if (r == -1)
    return failed_range (disk, "writing", offset, count, status);
  note_storing (disk, &request.storing);
  return fua || disk->store->options.durable ? flush (disk, status) : 0;
}

int
disk_write (struct disk *disk, const void *data, uint64_t offset,
            uint64_t count, bool fua, struct status *status)
{
  const uint64_t began = clock_now ();
  const int r = write_range (disk, data, NULL, offset, count, fua, status);

  return statistics_request (disk->counters, REQUEST_WRITE, began, count, r);
}

/* Write, of whole blocks what is ENCODED if that is not NULL, in transactions
 * as the log wants them.
 */
static int
fill (struct disk *disk, const void *data, const struct encoded *encoded,
      uint64_t offset, uint64_t count, struct status *status)
{
  const uint32_t block_size = disk->info.block_size;
  const uint64_t blocks = disk->store->writer.batch_bytes / block_size;
  const uint64_t most = (blocks ? blocks : 1) * block_size;
  const char *bytes = data;
  uint64_t began, part;
  int r = 0;

  for (; r == 0 && count > 0; bytes += part, offset += part, count -= part) {
    began = clock_now ();
    part = most - offset % block_size;
    if (part > count)
      part = count;
    r = write_range (disk, bytes, encoded, offset, part, false, status);
    statistics_request (disk->counters, REQUEST_WRITE, began, part, r);
    if (encoded)
      encoded += part / block_size;
  }
  return r;
}

int
disk_fill (struct disk *disk, const void *data, uint64_t offset, uint64_t count,
           struct status *status)
{
  if (disk->store->remote)
    return ask_server (disk, &call_disk_fill, NULL, data, offset, count,
                       status);
  if (store_check_key (disk->store, &disk->info, status) == -1)
    return -1;
  return fill (disk, data, NULL, offset, count, status);
}

/* Decode COUNT PACKED blocks of BLOCK_SIZE bytes into BLOCKS, and say in
 * ENCODED how they are stored.
 */
static int
unpack (struct codec_workspace *workspace, const char *packed, size_t count,
        uint32_t block_size, char *blocks, struct encoded *encoded,
        struct status *status)
{
  const char *data = packed + PACKED_HEAD (count);
  int r = workspace ? 0 : status_no_memory (status);

  for (size_t i = 0; r == 0 && i < count; i++) {
    const size_t length = packed_length (packed, i);

    r = codec_adopt (workspace, packed_codec (packed, i), data, length,
                     block_size, blocks + i * block_size, &encoded[i], status);
    data += length;
  }
  if (r == -1 && status->error == EIO)
    status_fail (status, EINVAL, "what comes is no block; send it again");
  return r;
}

/* Is there one of COUNT blocks, which are ENCODED, of which nobody here knows
 * what it holds?  It is stored as it comes, and whole: *LENGTH bytes from
 * OFFSET become so many, also where the disk is smaller there than here.
 */
static bool
has_unknown (const struct disk *disk, const struct encoded *encoded,
             size_t count, uint64_t offset, uint64_t *length)
{
  const uint64_t whole = count * (uint64_t)disk->info.block_size;
  const uint64_t left = disk->info.size - offset;
  bool unknown = false;

  for (size_t i = 0; i < count; i++)
    unknown |= encoded[i].block == NULL;
  if (encoded[count - 1].block == NULL)
    *length = whole < left ? whole : left;
  return unknown;
}

/* The same as disk_fill_packed, here. */
static int
fill_packed (struct disk *disk, const void *packed, uint64_t offset,
             uint64_t count, bool anew, struct status *status)
{
  struct codec_pool *workspaces = &disk->store->writer.workspaces;
  const uint32_t block_size = disk->info.block_size;
  const size_t number = (count - 1) / block_size + 1;
  struct codec_workspace *workspace = codec_take (workspaces);
  struct encoded *encoded = malloc (number * sizeof *encoded);
  char *blocks = malloc (number * block_size);
  int r = encoded && blocks ? unpack (workspace, packed, number, block_size,
                                      blocks, encoded, status)
                            : status_no_memory (status);

  codec_return (workspaces, workspace);
  if (r == 0 && has_unknown (disk, encoded, number, offset, &count))
    anew = false;
  if (r == -1)
    failed_range (disk, "filling", offset, count, status);
  else
    r = fill (disk, blocks, anew ? NULL : encoded, offset, count, status);
  free (encoded);
  free (blocks);
  return r;
}

int
disk_fill_packed (struct disk *disk, const void *packed, size_t length,
                  uint64_t offset, uint64_t count, bool anew,
                  struct status *status)
{
  const uint32_t block_size = disk->info.block_size;
  struct store_call call = {
    .disk = disk->remote,
    .offset = offset,
    .count = count,
    .anew = anew,
  };
  const struct remote_more more = { .data = packed, .data_length = length };

  if (offset % block_size || count > PACKED_MAX ||
      !packed_fits (packed, length, (count - 1) / block_size + 1, block_size))
    return status_fail (status, EINVAL,
                        "disk '%s': what comes are no blocks of it; send it "
                        "again",
                        disk->info.name);
  return disk->store->remote
             ? remote_call (disk->store->remote, &call_disk_fill_packed, &call,
                            &more, status)
             : fill_packed (disk, packed, offset, count, anew, status);
}

/* A trim, or with EDGES a zero. */
static int
clear (struct disk *disk, uint64_t offset, uint64_t count, bool edges, bool fua,
       struct status *status)
{
  const uint64_t began = clock_now ();
  int r = disk->store->remote ? remote_refuse (status)
                              : writer_clear (&disk->store->writer, &disk->info,
                                              offset, count, edges, status);

  if (r == -1)
    failed_range (disk, edges ? "zeroing" : "trimming", offset, count, status);
  else if (fua || disk->store->options.durable)
    r = flush (disk, status);
  return statistics_request (
      disk->counters, edges ? REQUEST_ZERO : REQUEST_TRIM, began, count, r);
}

int
disk_trim (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
           struct status *status)
{
  return clear (disk, offset, count, false, fua, status);
}

int
disk_zero (struct disk *disk, uint64_t offset, uint64_t count, bool fua,
           struct status *status)
{
  if (disk->store->remote && !fua)
    return ask_server (disk, &call_disk_zero, NULL, NULL, offset, count,
                       status);
  return clear (disk, offset, count, true, fua, status);
}

int
disk_extents (struct disk *disk, uint64_t offset, uint64_t count, bool one,
              extent_found found, void *opaque, struct status *status)
{
  const uint64_t began = clock_now ();
  struct reader *reader;
  int r = -1;

  if (disk->store->remote)
    return ask_server_extents (disk, offset, count, one, found, opaque, status);
  reader = reader_take_disk (&disk->store->readers, &disk->info, status);
  if (reader) {
    r = view_check_range (&reader->view, offset, count, EIO, status);
    if (r == 0)
      r = view_extents (&reader->connection, &reader->view, offset, count, one,
                        found, opaque, status);
    statistics_cache (disk->counters, reader->connection.db);
    r = reader_end (&disk->store->readers, reader, r, status);
  }
  if (r == -1)
    failed_range (disk, "mapping", offset, count, status);
  return disk_count_extents (disk, began, count, r);
}

int
disk_count_extents (struct disk *disk, uint64_t began, uint64_t count,
                    int result)
{
  return statistics_request (disk->counters, REQUEST_EXTENTS, began, count,
                             result);
}
