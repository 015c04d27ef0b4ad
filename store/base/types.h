/* What all floors, the plugin and the command say to each other about disks:
 * plain values, without a word about how they are stored.
 */

#ifndef SQLBLOCK_TYPES_H
#define SQLBLOCK_TYPES_H

#include <stdbool.h>
#include <stdint.h>

/* The longest name and description of a disk, in bytes.  (NBD allows 4096
 * for both; names are shorter so that "disk@snapshot" fits.)
 */
#define DISK_NAME_MAX        200
#define DISK_DESCRIPTION_MAX 4000

#define DISK_BLOCK_SIZE_MIN     512
#define DISK_BLOCK_SIZE_MAX     1048576
#define DISK_BLOCK_SIZE_DEFAULT 4096

/* The values of block.codec. */
enum codec {
  CODEC_ZERO = 0, /* all zeroes, no data */
  CODEC_RAW = 1,  /* the bytes as they are */
  CODEC_ZSTD = 2,
  CODEC_LZ4 = 3,
  CODEC_CONTENT = 4, /* a row of content has them, see content.h */
};

/* How the new blocks of a disk are stored: CODEC_RAW, CODEC_ZSTD with a level
 * of 1 to 19, or CODEC_LZ4.
 */
struct compression {
  enum codec codec;
  int level; /* 0 where the codec has none */
};

enum disk_choice { DISK_UNSAID = 0, DISK_OFF, DISK_ON };

/* What a user asks of a disk.  NULL and 0 mean "not said". */
struct disk_options {
  const char *name; /* or DISK@SNAPSHOT, with nothing else said */
  const char *description;
  uint64_t size;                  /* bytes, 1 to 2^63-1 */
  uint32_t block_size;            /* bytes, a power of two from 512 to 1 MiB */
  struct compression compression; /* codec 0: not said */
  enum disk_choice deduplicate;   /* store blocks that are equal only once */
  uint64_t quota;                 /* bytes, or QUOTA_NONE (quota.h) */
};

/* Room for DISK@SNAPSHOT. */
#define DISK_TARGET_MAX (DISK_NAME_MAX + 1 + 200)

/* What the database says about a disk. */
struct disk_info {
  int64_t id;
  char name[DISK_TARGET_MAX + 1];
  char description[DISK_DESCRIPTION_MAX + 1];
  uint64_t size;       /* bytes */
  uint32_t block_size; /* bytes */
  struct compression compression;
  bool deduplicate;
  int64_t epoch;
  int64_t created; /* seconds since 1970, UTC */
  uint64_t quota;  /* bytes; 0: none */

  /* Not 0: not the disk but this snapshot of it, which is read only. */
  int64_t snapshot;
};

#endif /* SQLBLOCK_TYPES_H */
