/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* An open file of our VFS (vfs.h): what its parts know about it.
 *
 *   SQLite ──► struct vfs_file ──► the file of the VFS below
 *
 * A database and its log are each such a file, of one connection.  What is said
 * of the one or the other has no meaning in the other one.
 *
 * Thread rules: those of the connection.
 */

#ifndef SQLBLOCK_VFS_FILE_H
#define SQLBLOCK_VFS_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <sqlite3.h>

#include "sqlite/log-format.h"
#include "sqlite/page.h"

struct damaged_pages; /* vfs-checksum.h */
struct vfs_room_shared;

/* Of a database: its checksums. */
struct vfs_checksum {
  struct damaged_pages *damaged; /* NULL: such a page is not read */
  atomic_bool *unsealed; /* set when a page without one is read; or NULL */
  const atomic_uint *litestream; /* the root of its table; or NULL */
  unsigned char *copy;           /* room for one page; NULL: not used yet */
  int page_size;                 /* as its header says; 0: not known */
};

/* Pages that were read ahead. */
struct vfs_ahead_window {
  unsigned char *buffer; /* NULL: not used yet */
  int64_t first;
  int count; /* pages; 0: it is empty */
};

/* Of a database: reading ahead. */
struct vfs_ahead {
  bool possible;  /* the connection never writes */
  bool immutable; /* nor does anybody else */
  bool reading;   /* it holds the lock of a read mark */

  /* The pages that are read in order, by numbers from 0. */
  int page_size; /* 0: none yet */
  int64_t last;
  bool strayed;      /* one from elsewhere came after the last */
  int64_t low, high; /* of all, with the windows */
  int used;          /* since the last window was read, with those of it */

  /* The last one, and the one before: what is left of that is asked for when
   * the leaf before it has been.
   */
  struct vfs_ahead_window windows[2];
  int latest;
};

/* Of a database: when its log starts over. */
struct vfs_restart {
  int reading; /* the lock of the read mark that SQLite shares, or 0 */
  int kept;    /* that of the one we share while a checkpoint begins, or 0 */

  bool guarded;
  bool permitted; /* for the log as it was then: */
  unsigned char header[LOG_INDEX_HEADER];

  unsigned char *end; /* the page of a mark that is written last, or NULL */
  int end_size;       /* of that page */
  uint32_t moved;     /* how many frames counted as moved before that page */
};

/* Of a database: room for what is in its log. */
struct vfs_room {
  char *path;
  struct vfs_room_shared *shared; /* by all that have it open here */
  bool allowed;                   /* to use the reserve */

  /* While it is cut, this is called after each piece, or NULL. */
  void (*between_cuts) (void *opaque);
  void *opaque;
};

/* Of a database that is being made: its window. */
#define VFS_NEW_WINDOW 262144
struct vfs_new {
  int64_t start;                            /* in the file */
  int page_size;                            /* of what is there; 0: nothing */
  int end;                                  /* no page from here on is there */
  bool has[VFS_NEW_WINDOW / PAGE_SIZE_MIN]; /* these are there */
  unsigned char bytes[VFS_NEW_WINDOW];
};

/* Of a log: its own room. */
struct vfs_room_log {
  const char *name;
  int fd;        /* -1: not opened yet */
  uint32_t salt; /* of the last frame; another one after each start */
  int64_t held;  /* it may have at most this many bytes, since that start */
};

/* Of a log: gathering what is appended. */
struct vfs_gather {
  unsigned char *buffer; /* NULL: nothing is gathered */
  int64_t highest;       /* bytes written since the log started over */
  sqlite3_int64 size;    /* the file is known to have as many bytes, or was */
  int64_t start;         /* of the buffer, in the log */
  int length;            /* of what is in the buffer */
  bool commits;          /* the last frame header says "commit" */
};

/* Of either: a page that is shown in the place of what stands there. */
struct vfs_shown {
  const unsigned char *bytes; /* or NULL: only note who looks */
  int64_t offset;
  int count;      /* 0: none */
  unsigned looks; /* how often SQLite has read that page */
};

struct vfs_file {
  sqlite3_file base;
  sqlite3_file *below;
  bool on_cluster; /* nothing of it is a file that this machine knows */
  struct vfs_shown shown;

  /* Of a database. */
  volatile uint32_t *index; /* the log's, or NULL: not mapped */
  unsigned alone;           /* which locks of it SQLite holds alone, by bits */
  struct vfs_file *log;     /* or NULL */
  bool gathers;             /* what is appended to that is gathered */
  struct vfs_checksum checksum;
  struct vfs_ahead ahead;
  struct vfs_restart restart;
  struct vfs_room room;
  struct vfs_new *new; /* or NULL: others may know it */

  /* Of a log. */
  struct vfs_file *database;
  int64_t page_size; /* of the database; 0: not known yet */
  struct vfs_room_log room_log;
  struct vfs_gather gather;
};

static inline struct vfs_file *
vfs_file_of (sqlite3_file *file)
{
  return (struct vfs_file *)file;
}

/* Open NAME by the VFS BELOW as what lies below FILE, behind which there is
 * room for it.  Returns an SQLite result code; FILE->below->pMethods says
 * whether it must be closed.
 */
int vfs_file_open (struct vfs_file *file, sqlite3_vfs *below, const char *name,
                   int flags, int *out_flags);

/* The database of DB, or what HANDLE, of SQLite's, is.  Returns an SQLite
 * result code: SQLITE_NOTFOUND where it is none of ours.
 */
int vfs_file_find (sqlite3 *db, struct vfs_file **file);
int vfs_file_find_handle (sqlite3_file *handle, struct vfs_file **file);

/* The file control that does it. */
#define VFS_FILE_FIND 0x73716c68

/* A word of the log's index, at PLACE of log-format.h. */
static inline volatile uint32_t *
vfs_file_index (const struct vfs_file *file, int place)
{
  return file->index + place / sizeof (uint32_t);
}

/* Does SQLite hold LOCK of the index alone, on this connection? */
static inline bool
vfs_file_is_alone (const struct vfs_file *file, int lock)
{
  return file->alone & 1u << lock;
}

/* SQLite reads COUNT bytes at OFFSET: put what is shown there into DATA.
 * Returns false where that is nothing.
 */
bool vfs_file_shows (struct vfs_file *file, void *data, int count,
                     int64_t offset);

/* The same method of the file below: for the parts, and the methods of a file
 * for which no part does anything.
 */
int below_close (sqlite3_file *file);
int below_read (sqlite3_file *file, void *data, int count,
                sqlite3_int64 offset);
int below_write (sqlite3_file *file, const void *data, int count,
                 sqlite3_int64 offset);
int below_truncate (sqlite3_file *file, sqlite3_int64 size);
int below_sync (sqlite3_file *file, int flags);
int below_file_size (sqlite3_file *file, sqlite3_int64 *size);
int below_lock (sqlite3_file *file, int level);
int below_unlock (sqlite3_file *file, int level);
int below_check_reserved_lock (sqlite3_file *file, int *result);
int below_file_control (sqlite3_file *file, int operation, void *argument);
int below_sector_size (sqlite3_file *file);
int below_device_characteristics (sqlite3_file *file);
int below_shm_map (sqlite3_file *file, int region, int size, int extend,
                   void volatile **memory);
int below_shm_lock (sqlite3_file *file, int first, int count, int flags);
void below_shm_barrier (sqlite3_file *file);
int below_shm_unmap (sqlite3_file *file, int remove);

#endif /* SQLBLOCK_VFS_FILE_H */
