/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What all floors, the plugin and the command say to each other about disks:
 * plain values, without a word about how they are stored.
 */

#ifndef SQLBLOCK_TYPES_H
#define SQLBLOCK_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cipher_key;

/* The format of the databases, and the oldest one that is read and upgraded. */
#define DATABASE_FORMAT        6
#define DATABASE_FORMAT_OLDEST 4

/* The longest name and description of a disk, in bytes.  (NBD allows 4096
 * for both; names are shorter so that "disk@snapshot" fits.)
 */
#define DISK_NAME_MAX        200
#define DISK_DESCRIPTION_MAX 4000

/* The longest name of a snapshot, in bytes. */
#define SNAPSHOT_NAME_MAX 200

#define DISK_BLOCK_SIZE_MIN     512
#define DISK_BLOCK_SIZE_MAX     1048576
#define DISK_BLOCK_SIZE_DEFAULT 4096

/* The values of block.codec; others are those of compressions, which only the
 * table in block/codec.c names.
 */
enum codec {
  CODEC_ZERO = 0,        /* all zeroes, no data */
  CODEC_RAW = 1,         /* the bytes as they are */
  CODEC_CONTENT = 4,     /* a row of content has them, see content.h */
  CODEC_ENCRYPTED = 256, /* so many more: that, and then encrypted */
};

/* How the new blocks of a disk are compressed: CODEC_RAW means not at all. */
struct compression {
  enum codec codec;
  int level; /* 0 where the codec has none */
};

/* Room for it as text. */
#define COMPRESSION_TEXT 16

enum disk_choice { DISK_UNSAID = 0, DISK_OFF, DISK_ON };

/* How the new blocks of a disk are stored.  What is asked for may leave things
 * unsaid, as all zeroes do; of a disk that is there, all is said.
 */
struct storing {
  struct compression compression; /* codec 0: not said */
  enum disk_choice deduplicate;   /* store blocks that are equal only once */
};

/* As a quota: no limit. */
#define QUOTA_NONE INT64_MAX

/* A property user:..., or a setting by its name (settings.h), that is to have
 * this text; "" removes it.
 */
struct property_setting {
  const char *key, *text;
};

/* What a user asks of a disk.  NULL and 0 mean "not said". */
struct disk_options {
  const char *name; /* or DISK@SNAPSHOT, with nothing else said */
  const char *description;
  uint64_t size;       /* bytes, 1 to 2^63-1 */
  uint32_t block_size; /* bytes, a power of two from 512 to 1 MiB */
  struct storing storing;
  uint64_t quota; /* bytes, or QUOTA_NONE */
  /* One that is made is encrypted: texts of encryption.h.  NULL: it is not. */
  const char *encryption, *slot;
  const struct secret *secrets; /* for store_check: are to open one that is */
  const struct property_setting *settings;
  size_t settings_count;
};

/* Room for DISK@SNAPSHOT. */
#define DISK_TARGET_MAX (DISK_NAME_MAX + 1 + SNAPSHOT_NAME_MAX)

/* What this program may do with a disk: all; only read it; or no more than show
 * it in lists, since the disk has a feature that this program does not have.
 */
enum disk_access { DISK_OPEN = 0, DISK_READ_ONLY, DISK_REFUSED };

/* Who has a database on a cluster open, as Ceph calls it. */
struct lock_holder {
  char client[64];   /* "client.4123": a number for each connection */
  char cookie[64];   /* another one for each time that it takes the lock */
  char address[192]; /* "192.0.2.7:0/3456789" */
};

/* What the database says about a disk. */
struct disk_info {
  int64_t id;
  char name[DISK_TARGET_MAX + 1];
  char description[DISK_DESCRIPTION_MAX + 1];
  uint64_t size;       /* bytes */
  uint32_t block_size; /* bytes */
  struct storing storing;
  int64_t epoch;
  int64_t created; /* seconds since 1970, UTC */
  uint64_t quota;  /* bytes; 0: none */
  enum disk_access access;
  bool encrypted;

  /* Not 0: not the disk but this snapshot of it, which is read only. */
  int64_t snapshot;

  /* What its blocks are encrypted with, where it was opened with its key
   * (engine/keyring.h), or NULL.
   */
  const struct cipher_key *key;
};

/* What the database says about a snapshot. */
struct snapshot_info {
  int64_t id;
  int64_t disk;
  char disk_name[DISK_NAME_MAX + 1];
  char name[SNAPSHOT_NAME_MAX + 1];
  int64_t guid;
  uint64_t size;           /* bytes */
  uint32_t block_size;     /* bytes */
  int64_t created;         /* seconds since 1970, UTC */
  bool automatic;          /* made by a server's schedule */
  enum disk_access access; /* of its disk */
  int64_t layer;
  int64_t generation;
};

/* The most bytes of a bookmark's name: with "local:bookmark:" it is a key. */
#define BOOKMARK_NAME_MAX 185

/* Room for DISK#BOOKMARK. */
#define BOOKMARK_TARGET_MAX (DISK_NAME_MAX + 1 + BOOKMARK_NAME_MAX)

/* What a bookmark says of the snapshot that it was made of, which may be gone.
 */
struct bookmark_info {
  int64_t disk;
  char disk_name[DISK_NAME_MAX + 1];
  char name[BOOKMARK_NAME_MAX + 1];
  char snapshot[SNAPSHOT_NAME_MAX + 1]; /* its name then */
  int64_t guid;
  uint64_t size;       /* bytes */
  uint32_t block_size; /* bytes */
  int64_t created;     /* seconds since 1970, UTC: the snapshot */
  int64_t layer;
  int64_t generation;
  bool usable; /* the disk as it is now comes from it */
};

/* What has arrived of a snapshot, whose rest may come later. */
struct partial_info {
  int64_t id;                        /* of the hidden disk */
  char disk_name[DISK_NAME_MAX + 1]; /* whose snapshot it is to be */
  char
      snapshot[SNAPSHOT_NAME_MAX + 1]; /* as it is called where it comes from */
  int64_t guid, base_guid;
  uint64_t size, position; /* bytes: all, and those that are there */
  uint32_t block_size;     /* bytes */
  int64_t updated;         /* when something came last, since 1970 */
};

/* A disk in the trash. */
struct trashed_disk {
  struct disk_info disk;        /* whose own name is a hidden one */
  char name[DISK_NAME_MAX + 1]; /* what it was called; "": not known */
  int64_t deleted;              /* seconds since 1970, UTC; 0: not known */
  int64_t until;                /* how long it stays; 0: for ever */
  uint64_t snapshots;           /* how many it has */
};

/* What cannot be counted, since what says it cannot be read. */
#define USAGE_UNKNOWN UINT64_MAX

/* A disk or a snapshot whose usage is counted. */
struct usage_item {
  int64_t disk;     /* ids, as in disk_info and snapshot_info */
  int64_t snapshot; /* 0: the disk as it is now */
  size_t group;     /* items of one group are deleted together */
  bool shown;       /* what it shows is asked for, which takes longer: */

  /* Counted, in bytes; else USAGE_UNKNOWN. */
  uint64_t logical; /* its blocks that are not zeroes */
  uint64_t stored;  /* what the data of these takes, each content once */
  uint64_t shared;  /* of this, what deleting it leaves; USAGE_UNKNOWN where
                       there are others in its group */
};

/* What the whole database takes, in bytes; rows/totals.h says how its parts add
 * up.
 */
struct totals {
  uint64_t pages, free; /* all of the file, and those that are free */
  uint64_t data;        /* of blocks, as they are stored, and of that: */
  uint64_t disks, snapshots, trash, hidden, shared, deleted;
  uint64_t logical; /* what the blocks of all rows hold */
};

/* Told of COUNT bytes at byte OFFSET of a disk, all data or all a HOLE. Returns
 * 0, or -1 to fail with ENOMEM.
 */
typedef int (*extent_found) (uint64_t offset, uint64_t count, bool hole,
                             void *opaque);

/* When the log is moved into the database; see checkpointer.h. */
struct checkpoint_limits {
  uint64_t start; /* sizes of the log, in bytes */
  uint64_t bound;
  int idle; /* milliseconds; a tenth of it where one fails */
};

#endif /* SQLBLOCK_TYPES_H */
