/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A file that is shared in this process: see process-file.h. */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "block/checksum.h"
#include "base/grow.h"
#include "sqlite/process-cache.h"
#include "sqlite/process-file.h"

/* So many that read in order are told apart. */
#define READERS 8

/* What is read again of the last write to an object, at most: longer than a
 * frame of the log, of which no two are the same.
 */
#define PROOF 8192

/* A read of the file, while it goes on. */
struct reading {
  struct reading *next;
  int64_t from, to;
  bool stale; /* something was written there */

  /* What was asked for, and whether it was written meanwhile: then a part may
   * be from before that, and a part from after it.
   */
  int64_t asked, asked_end;
  bool torn;
};

/* A gap of so many bytes is written anew rather than asking twice. */
#define BRIDGE 32768

/* Who reads in order, and how much is read at once for him. */
struct reader {
  int64_t from, to; /* what was read of late */
  int64_t window;   /* bytes */
  uint64_t used;
};

/* The end of what was last written to an object. */
struct proof {
  int64_t object;
  int64_t offset;
  int count;
  uint64_t checksum;
};

struct process_file {
  pthread_mutex_t writing;
  pthread_mutex_t lock;
  struct process_cache *cache;
  int64_t size;
  int64_t written; /* the size of the file below */
  struct reading *readings;
  pthread_cond_t read; /* one of them has ended */
  struct reader readers[READERS];
  int64_t most_at_once; /* what is read at once, at most, in bytes */
  uint64_t reads;       /* counts those that miss the cache */

  /* What is gathered. */
  unsigned char *buffer;
  int64_t start;
  int length;

  /* What is not proved yet; `writing`, and to change the proofs both. */
  bool verify;
  bool locked; /* the file below */
  struct proof *proofs;
  size_t proof_count;
  int64_t proved; /* the size that the file below has */
  atomic_uint failures;

  /* What is open. */
  sqlite3_vfs *vfs;
  const char *name;
  int flags;
  sqlite3_file *below; /* follows in memory */
};

/*--------------------------------------------------------------------
 * Syncs that are not believed.  Called with `writing` held.
 */

/* The checksum that proves COUNT bytes of DATA at OFFSET. */
static uint64_t
prove (const void *data, int count, int64_t offset)
{
  return checksum_bytes (data, count) ^ (uint64_t)offset;
}

static struct proof *
proof_of (struct process_file *file, int64_t object)
{
  struct proof *proofs;

  for (size_t i = 0; i < file->proof_count; i++)
    if (file->proofs[i].object == object)
      return &file->proofs[i];
  proofs = grow (file->proofs, file->proof_count, sizeof *proofs);
  if (proofs == NULL)
    return NULL;
  file->proofs = proofs;
  return &proofs[file->proof_count++];
}

/* COUNT bytes of one object were written.  Zeroes at their end, which are put
 * behind a log (vfs-gather.c), may have stood there before, and prove nothing.
 * Called with the lock held.
 */
static int
note_proof (struct process_file *file, const unsigned char *data, int count,
            int64_t offset)
{
  struct proof *proof;
  int rest;

  while (count > 0 && data[count - 1] == 0)
    count--;
  if (!file->verify || count == 0)
    return SQLITE_OK;
  rest = count > PROOF ? count - PROOF : 0;
  proof = proof_of (file, offset / PROCESS_OBJECT);
  if (proof == NULL)
    return SQLITE_NOMEM;
  *proof = (struct proof){
    .object = offset / PROCESS_OBJECT,
    .offset = offset + rest,
    .count = count - rest,
    .checksum = prove (data + rest, count - rest, offset + rest),
  };
  return SQLITE_OK;
}

/* Does the end SIZE cut off what proves the writes to an object of which a part
 * stays?
 */
static bool
cuts_proof (const struct process_file *file, int64_t size)
{
  for (size_t i = 0; i < file->proof_count; i++)
    if (file->proofs[i].object == size / PROCESS_OBJECT &&
        file->proofs[i].offset + file->proofs[i].count > size &&
        size % PROCESS_OBJECT != 0)
      return true;
  return false;
}

/* The file ends at SIZE now, or all of it is proved, and that is 0: nothing is
 * left of the objects behind.
 */
static void
forget_proofs (struct process_file *file, int64_t size)
{
  size_t kept = 0;

  pthread_mutex_lock (&file->lock);
  for (size_t i = 0; i < file->proof_count; i++)
    if (file->proofs[i].object * PROCESS_OBJECT < size)
      file->proofs[kept++] = file->proofs[i];
  file->proof_count = kept;
  pthread_mutex_unlock (&file->lock);
}

/* Is something of an object of the range written and not proved?  Called with
 * the lock or `writing` held.
 */
static bool
is_unproved (const struct process_file *file, int64_t from, int64_t to)
{
  for (size_t i = 0; i < file->proof_count; i++) {
    const int64_t object = file->proofs[i].object * PROCESS_OBJECT;

    if (object < to && object + PROCESS_OBJECT > from)
      return true;
  }
  return false;
}

/* Are the bytes there that PROOF is of? */
static bool
is_proved (const struct process_file *file, const struct proof *proof)
{
  unsigned char there[PROOF];

  return file->below->pMethods->xRead (file->below, there, proof->count,
                                       proof->offset) == SQLITE_OK &&
         prove (there, proof->count, proof->offset) == proof->checksum;
}

/* A write, also of nothing, looks at what came of those that are through: that
 * is where libcephsqlite 16 learns that one has failed, for its next sync.
 */
static int
look_at_writes (const struct process_file *file)
{
  return file->below->pMethods->xWrite (file->below, "", 0, 0);
}

/* Wait for all writes.  While the sync does that, it does not learn what came
 * of them.
 */
static int
await_writes (const struct process_file *file, int flags)
{
  int rc = look_at_writes (file);

  if (rc == SQLITE_OK)
    rc = file->below->pMethods->xSync (file->below, flags);
  return rc;
}

/* A read waits for the writes before it, but for those that have to wait until
 * a full pool has space.
 */
static int
verify_bytes (const struct process_file *file, int flags)
{
  for (size_t i = 0; i < file->proof_count; i++) {
    const struct proof *proof = &file->proofs[i];

    if (!is_proved (file, proof) &&
        (await_writes (file, flags) != SQLITE_OK || !is_proved (file, proof)))
      return SQLITE_IOERR_FSYNC;
  }
  return file->proof_count == 0 ? SQLITE_OK : look_at_writes (file);
}

/* The size that somebody finds who opens the file now.  Returns a result of
 * SQLite.
 */
static int
size_there (struct process_file *file, sqlite3_int64 *size)
{
  const int writing = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  const int flags = (file->flags & ~writing) | SQLITE_OPEN_READONLY;
  sqlite3_file *again = calloc (1, file->vfs->szOsFile);
  int rc = again ? file->vfs->xOpen (file->vfs, file->name, again, flags, NULL)
                 : SQLITE_NOMEM;

  if (rc == SQLITE_OK)
    rc = again->pMethods->xFileSize (again, size);
  if (again && again->pMethods)
    again->pMethods->xClose (again);
  free (again);
  return rc;
}

/* The size is with the first object, and written by itself after the bytes. */
static int
verify_size (struct process_file *file)
{
  sqlite3_int64 size;

  if (!file->verify || file->written == file->proved)
    return SQLITE_OK;
  if (size_there (file, &size) != SQLITE_OK || size != file->written)
    return SQLITE_IOERR_FSYNC;
  file->proved = file->written;
  return SQLITE_OK;
}

/*--------------------------------------------------------------------
 * Writing.
 */

/* Write what is gathered.  Called with `writing` held. */
static int
write_out (struct process_file *file)
{
  int rc;

  if (file->length == 0)
    return SQLITE_OK;
  rc = file->below->pMethods->xWrite (file->below, file->buffer, file->length,
                                      file->start);
  if (rc != SQLITE_OK)
    return rc;
  pthread_mutex_lock (&file->lock);
  rc = note_proof (file, file->buffer, file->length, file->start);
  if (rc == SQLITE_OK) {
    if (file->written < file->start + file->length)
      file->written = file->start + file->length;
    file->length = 0;
  }
  pthread_mutex_unlock (&file->lock);
  return rc;
}

/* Is the byte at OFFSET the next one of what is gathered, and of its object? */
static bool
goes_on (const struct process_file *file, int64_t offset)
{
  return file->length == 0 ||
         (offset == file->start + file->length && offset % PROCESS_OBJECT != 0);
}

/* Have what is gathered go on up to OFFSET, with what stands in the file there,
 * if that is near and in the cache: a checkpoint leaves out pages that have not
 * changed.  Returns whether it does.  Called with `writing` held.
 */
static bool
bridge (struct process_file *file, int64_t offset)
{
  int64_t at = file->start + file->length;
  const int64_t object_end =
      (file->start / PROCESS_OBJECT + 1) * PROCESS_OBJECT;
  unsigned char *to = file->buffer + file->length;
  bool here = at < offset && offset - at <= BRIDGE && offset < object_end;

  pthread_mutex_lock (&file->lock);
  while (here && at < offset) {
    int64_t part = PROCESS_CHUNK - at % PROCESS_CHUNK;

    if (part > offset - at)
      part = offset - at;
    here = process_cache_read (file->cache, to, part, at);
    to += part;
    at += part;
  }
  if (here)
    file->length = offset - file->start;
  pthread_mutex_unlock (&file->lock);
  return here;
}

/* Gather COUNT bytes, or less, up to the end of the object.  Returns how many.
 * Called with `writing` held.
 */
static int
gather (struct process_file *file, const unsigned char *data, int count,
        int64_t offset)
{
  const int64_t room = PROCESS_OBJECT - offset % PROCESS_OBJECT;

  if (count > room)
    count = room;
  pthread_mutex_lock (&file->lock);
  if (file->length == 0)
    file->start = offset;
  memcpy (file->buffer + file->length, data, count);
  file->length += count;
  if (file->size < offset + count)
    file->size = offset + count;
  process_cache_put (file->cache, data, count, offset);
  for (struct reading *reading = file->readings; reading;
       reading = reading->next)
    if (offset < reading->to && offset + count > reading->from) {
      reading->stale = true;
      if (offset < reading->asked_end && offset + count > reading->asked)
        reading->torn = true;
    }
  pthread_mutex_unlock (&file->lock);
  return count;
}

int
process_file_write (struct process_file *file, const void *data, int count,
                    int64_t offset)
{
  const unsigned char *bytes = data;
  int rc = SQLITE_OK, part;

  pthread_mutex_lock (&file->writing);
  while (rc == SQLITE_OK && count > 0) {
    if (!goes_on (file, offset) && !bridge (file, offset))
      rc = write_out (file);
    if (rc != SQLITE_OK)
      break;
    part = gather (file, bytes, count, offset);
    bytes += part;
    offset += part;
    count -= part;
  }
  pthread_mutex_unlock (&file->writing);
  return rc;
}

/* Sync what was written, and prove it.  What a log was to have and has not, is
 * told once, and by `failures` to who wrote it: that transaction is undone, and
 * the next one may end before an object that it had reached.  What a checkpoint
 * wrote has to get there.  Called with `writing` held.
 */
static int
sync_below (struct process_file *file, int flags)
{
  int rc = verify_bytes (file, flags);

  if (rc == SQLITE_OK)
    rc = file->below->pMethods->xSync (file->below, flags);
  if (rc == SQLITE_OK)
    rc = verify_size (file);
  if (rc == SQLITE_OK || file->flags & SQLITE_OPEN_WAL)
    forget_proofs (file, 0);
  if (rc != SQLITE_OK)
    atomic_fetch_add (&file->failures, 1);
  return rc;
}

/* Say that the file has SIZE bytes. */
static void
show_size (struct process_file *file, int64_t size)
{
  pthread_mutex_lock (&file->lock);
  file->size = file->written = size;
  process_cache_forget (file->cache, size);
  for (struct reading *reading = file->readings; reading;
       reading = reading->next)
    if (reading->to > size)
      reading->stale = true;
  pthread_mutex_unlock (&file->lock);
}

/* Readers, who read ahead, know of an end that comes nearer before it is there.
 * Called with `writing` held and nothing gathered.
 */
static int
truncate_below (struct process_file *file, int64_t size)
{
  const int64_t old = file->written;
  int rc;

  if (size < old)
    show_size (file, size);
  rc = file->below->pMethods->xTruncate (file->below, size);
  if (rc == SQLITE_OK)
    forget_proofs (file, size);
  show_size (file, rc == SQLITE_OK ? size : old);
  return rc;
}

/* What is cut off may be what proves the rest of an object: then it does so
 * first.
 */
int
process_file_truncate (struct process_file *file, int64_t size)
{
  int rc;

  pthread_mutex_lock (&file->writing);
  rc = write_out (file);
  if (rc == SQLITE_OK && cuts_proof (file, size))
    rc = sync_below (file, SQLITE_SYNC_NORMAL);
  if (rc == SQLITE_OK)
    rc = truncate_below (file, size);
  pthread_mutex_unlock (&file->writing);
  return rc;
}

int
process_file_sync (struct process_file *file, int flags)
{
  int rc;

  pthread_mutex_lock (&file->writing);
  rc = write_out (file);
  if (rc == SQLITE_OK)
    rc = sync_below (file, flags);
  pthread_mutex_unlock (&file->writing);
  return rc;
}

unsigned
process_file_failures (struct process_file *file)
{
  return atomic_load (&file->failures);
}

int64_t
process_file_size (struct process_file *file)
{
  int64_t size;

  pthread_mutex_lock (&file->lock);
  size = file->size;
  pthread_mutex_unlock (&file->lock);
  return size;
}

/*--------------------------------------------------------------------
 * Reading.
 */

/* Where the object behind the one with OFFSET begins. */
static int64_t
next_object (int64_t offset)
{
  return (offset / PROCESS_OBJECT + 1) * PROCESS_OBJECT;
}

/* How many bytes are between the chunk at OFFSET and what READER has read: 0
 * right behind it or before it, and -1 within it.
 */
static int64_t
gap_to (const struct reader *reader, int64_t offset)
{
  const int64_t before = reader->from - (offset + PROCESS_CHUNK);

  if (offset >= reader->to)
    return offset - reader->to;
  return before < 0 ? -1 : before;
}

/* Who goes on with the chunk at OFFSET, near what he has read: those that read
 * in order for a client go through what each of its requests needs from right
 * to left, and the requests from left to right.  Or, in the place of who has
 * read longest ago, a new one.  Called with the lock held.
 */
static struct reader *
find_reader (struct process_file *file, int64_t offset)
{
  struct reader *longest_ago = &file->readers[0];

  for (struct reader *one = file->readers; one < file->readers + READERS;
       one++) {
    const int64_t gap = gap_to (one, offset);

    if (one->used && gap >= 0 && gap <= 2 * (one->to - one->from))
      return one;
    if (one->used < longest_ago->used)
      longest_ago = one;
  }
  *longest_ago = (struct reader){
    .from = offset,
    .to = offset,
    .window = PROCESS_CHUNK / 2,
  };
  return longest_ago;
}

/* Has READER read the range, too.  It is not to be near all of a file. */
static void
note_read (struct process_file *file, struct reader *reader, int64_t from,
           int64_t to)
{
  if (from < reader->from) {
    reader->from = from;
    if (reader->to > from + 2 * PROCESS_OBJECT)
      reader->to = from + 2 * PROCESS_OBJECT;
  }
  if (to > reader->to) {
    reader->to = to;
    if (reader->from < to - 2 * PROCESS_OBJECT)
      reader->from = to - 2 * PROCESS_OBJECT;
  }
  reader->used = ++file->reads;
}

/* What is here, or on its way, of what is to be READ for the chunk at OFFSET is
 * not read again.  Called with the lock held.
 */
static void
spare_known (const struct process_file *file, int64_t offset,
             struct reading *read)
{
  const int64_t end = offset + PROCESS_CHUNK;

  for (const struct reading *one = file->readings; one; one = one->next) {
    if (one->to <= offset && one->to > read->from)
      read->from = one->to;
    if (one->from >= end && one->from < read->to)
      read->to = one->from;
  }
  while (read->from < offset &&
         process_cache_has (file->cache, PROCESS_CHUNK, read->from))
    read->from += PROCESS_CHUNK;
  while (read->to > end && process_cache_has (file->cache, PROCESS_CHUNK,
                                              read->to - PROCESS_CHUNK))
    read->to -= PROCESS_CHUNK;
}

/* What is to be read where the chunk at OFFSET is missing: that, and each time
 * twice as much where the file is read in order, forwards or backwards (SQLite
 * takes free pages from the end of its list).  Called with the lock held.
 */
static void
choose_window (struct process_file *file, int64_t offset,
               struct reading *reading)
{
  const int64_t end = offset + PROCESS_CHUNK;
  struct reader *reader = find_reader (file, offset);

  if (reader->window < file->most_at_once)
    reader->window *= 2;
  if (offset >= reader->to) {
    reading->from = reader->to;
    reading->to = reader->to + reader->window;
  }
  else {
    reading->from = reader->from - reader->window;
    reading->to = reader->from;
  }
  if (reading->from > offset)
    reading->from = offset;
  if (reading->to < end)
    reading->to = end;
  if (reading->from < next_object (offset) - PROCESS_OBJECT)
    reading->from = next_object (offset) - PROCESS_OBJECT;
  if (reading->to > next_object (offset))
    reading->to = next_object (offset);
  spare_known (file, offset, reading);
  if (reading->to > file->size)
    reading->to = file->size;
  note_read (file, reader, reading->from, reading->to);
}

/* What nobody asked for yet, of what is read for COUNT bytes at OFFSET, is no
 * reason to write what is gathered.
 */
static void
spare_gathered (const struct process_file *file, int count, int64_t offset,
                struct reading *reading)
{
  const int64_t end = file->start + file->length;

  if (file->length == 0)
    return;
  if (file->start >= offset + count && file->start < reading->to)
    reading->to = file->start;
  if (end <= offset && end > reading->from)
    reading->from = end;
}

/* Has what is gathered to be written before the range is read?  Also where the
 * file does not reach so far yet.
 */
static bool
must_write (const struct process_file *file, int64_t from, int64_t to)
{
  return file->length > 0 &&
         (to > file->written ||
          (from < file->start + file->length && to > file->start));
}

/* Has something to be done before the range is read?  What was written to its
 * objects may not be there, and what was before is read then: the write
 * has failed, or waits until there is space.
 */
static bool
must_settle (const struct process_file *file, int64_t from, int64_t to)
{
  return must_write (file, from, to) || is_unproved (file, from, to);
}

static void
end_reading (struct process_file *file, struct reading *reading)
{
  struct reading **link = &file->readings;

  while (*link != reading)
    link = &(*link)->next;
  *link = reading->next;
  pthread_cond_broadcast (&file->read);
}

/* Is the range being read already, and nothing is written there? */
static bool
is_on_its_way (const struct process_file *file, int count, int64_t offset)
{
  for (const struct reading *one = file->readings; one; one = one->next)
    if (!one->stale && one->from <= offset && one->to >= offset + count)
      return true;
  return false;
}

/* Read what READING says from the file, into the cache, and COUNT bytes of it
 * from OFFSET on into DATA.  Called with the lock held, lets go of it
 * meanwhile.
 */
static int
read_below (struct process_file *file, struct reading *reading, void *data,
            int count, int64_t offset)
{
  const int length = reading->to - reading->from;
  unsigned char *room;
  int rc;

  reading->asked = offset;
  reading->asked_end = offset + count;
  reading->next = file->readings;
  file->readings = reading;
  pthread_mutex_unlock (&file->lock);
  room = malloc (length);
  rc = room ? file->below->pMethods->xRead (file->below, room, length,
                                            reading->from)
            : SQLITE_NOMEM;
  if (rc == SQLITE_OK)
    memcpy (data, room + (offset - reading->from), count);
  pthread_mutex_lock (&file->lock);
  end_reading (file, reading);
  if (rc == SQLITE_OK && !reading->stale)
    process_cache_put (file->cache, room, length, reading->from);
  free (room);
  /* Somebody may have cut the file meanwhile. */
  return reading->torn || (rc == SQLITE_IOERR_SHORT_READ && reading->stale)
             ? SQLITE_BUSY
             : rc;
}

/* Write what is gathered, and see that what was written is there, where the
 * range is to be read.  Called with the lock held, lets go of it meanwhile; has
 * it again before somebody else writes.
 */
static int
settle (struct process_file *file, int64_t from, int64_t to)
{
  int rc = SQLITE_OK;

  pthread_mutex_unlock (&file->lock);
  pthread_mutex_lock (&file->writing);
  if (must_write (file, from, to))
    rc = write_out (file);
  if (rc == SQLITE_OK && is_unproved (file, from, to))
    rc = sync_below (file, SQLITE_SYNC_NORMAL);
  pthread_mutex_lock (&file->lock);
  pthread_mutex_unlock (&file->writing);
  return rc;
}

/* Read COUNT bytes of one chunk, all of which the file has.  Returns SQLITE_OK,
 * an error, or SQLITE_BUSY where it has to be looked at again.  Called with the
 * lock held.
 */
static int
read_part (struct process_file *file, void *data, int count, int64_t offset)
{
  struct reading reading = { .stale = false };
  int rc;

  if (process_cache_read (file->cache, data, count, offset))
    return SQLITE_OK;
  if (is_on_its_way (file, count, offset)) {
    pthread_cond_wait (&file->read, &file->lock);
    return SQLITE_BUSY;
  }
  choose_window (file, offset / PROCESS_CHUNK * PROCESS_CHUNK, &reading);
  spare_gathered (file, count, offset, &reading);
  if (must_settle (file, reading.from, reading.to)) {
    rc = settle (file, reading.from, reading.to);
    return rc == SQLITE_OK ? SQLITE_BUSY : rc;
  }
  rc = read_below (file, &reading, data, count, offset);
  if (rc == SQLITE_IOERR_SHORT_READ) {
    /* After a crash an object may end before the file does. */
    reading = (struct reading){ .from = offset, .to = offset + count };
    rc = read_below (file, &reading, data, count, offset);
  }
  /* Not zeros: libcephsqlite 16 says the same where it could not read. */
  return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_IOERR_READ : rc;
}

int
process_file_read (struct process_file *file, void *data, int count,
                   int64_t offset)
{
  unsigned char *bytes = data;
  int rc = SQLITE_OK;

  pthread_mutex_lock (&file->lock);
  while (rc == SQLITE_OK && count > 0 && offset < file->size) {
    int part = PROCESS_CHUNK - offset % PROCESS_CHUNK;

    if (part > count)
      part = count;
    if (part > file->size - offset)
      part = file->size - offset;
    rc = read_part (file, bytes, part, offset);
    if (rc == SQLITE_BUSY) {
      rc = SQLITE_OK;
      continue;
    }
    bytes += part;
    offset += part;
    count -= part;
  }
  pthread_mutex_unlock (&file->lock);
  if (rc == SQLITE_OK && count > 0) {
    memset (bytes, 0, count);
    rc = SQLITE_IOERR_SHORT_READ;
  }
  return rc;
}

/*--------------------------------------------------------------------
 * Opening and closing.
 */

static int
close_below (struct process_file *file)
{
  if (file->locked)
    file->below->pMethods->xUnlock (file->below, SQLITE_LOCK_NONE);
  return file->below->pMethods->xClose (file->below);
}

static void
release (struct process_file *file)
{
  if (file->cache)
    process_cache_free (file->cache);
  pthread_cond_destroy (&file->read);
  pthread_mutex_destroy (&file->lock);
  pthread_mutex_destroy (&file->writing);
  free (file->buffer);
  free (file->proofs);
  free (file);
}

/* Have a database be locked, so that no other process has it open; its log goes
 * with it.  Returns a result of SQLite.
 */
static int
lock_below (struct process_file *file, int flags)
{
  const sqlite3_io_methods *below = file->below->pMethods;
  int rc;

  if (!(flags & SQLITE_OPEN_MAIN_DB))
    return SQLITE_OK;
  rc = below->xLock (file->below, SQLITE_LOCK_SHARED);
  if (rc == SQLITE_OK)
    rc = below->xLock (file->below, SQLITE_LOCK_EXCLUSIVE);
  file->locked = rc == SQLITE_OK;
  return rc;
}

/* Open the file below.  What is known of it from before it was locked may be
 * old.  Returns a result of SQLite.
 */
static int
open_below (struct process_file *file, sqlite3_vfs *below, const char *name,
            int flags)
{
  sqlite3_int64 size = 0;
  int rc = below->xOpen (below, name, file->below, flags, NULL);

  if (rc < 0) /* libcephsqlite's errno */
    rc = rc == -ENOENT ? SQLITE_CANTOPEN : SQLITE_IOERR;
  if (rc == SQLITE_OK)
    rc = lock_below (file, flags);
  if (rc == SQLITE_OK)
    rc = file->below->pMethods->xFileSize (file->below, &size);
  if (rc != SQLITE_OK && file->below->pMethods)
    close_below (file);
  file->size = file->written = file->proved = size;
  return rc;
}

/* What is read at once is to stay in a cache of CACHE bytes until it is asked
 * for.
 */
static int64_t
most_at_once (uint64_t cache)
{
  if (cache / 4 >= PROCESS_OBJECT)
    return PROCESS_OBJECT;
  return cache / 4 < PROCESS_CHUNK ? PROCESS_CHUNK : (int64_t)cache / 4;
}

struct process_file *
process_file_open (sqlite3_vfs *below, const char *name, int flags,
                   uint64_t cache, int options, int *rc)
{
  struct process_file *file = calloc (1, sizeof *file + below->szOsFile);

  *rc = SQLITE_NOMEM;
  if (file == NULL)
    return NULL;
  file->below = (sqlite3_file *)(file + 1);
  file->verify = options & PROCESS_VERIFY;
  file->vfs = below;
  file->name = name;
  file->flags = flags;
  pthread_mutex_init (&file->lock, NULL);
  pthread_mutex_init (&file->writing, NULL);
  pthread_cond_init (&file->read, NULL);
  file->cache = process_cache_new (cache);
  file->most_at_once = most_at_once (cache);
  file->buffer = malloc (PROCESS_OBJECT);
  if (file->cache && file->buffer)
    *rc = open_below (file, below, name, flags);
  if (*rc == SQLITE_OK)
    return file;
  release (file);
  return NULL;
}

int
process_file_close (struct process_file *file)
{
  /* While it is locked; what is not synced was never said to be. */
  const int written = process_file_sync (file, SQLITE_SYNC_NORMAL);
  const int closed = close_below (file);

  release (file);
  return written == SQLITE_OK ? closed : written;
}

sqlite3_file *
process_file_below (struct process_file *file)
{
  return file->below;
}
