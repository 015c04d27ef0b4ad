/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Files that are no raw disks: see image.h. */

#include <config.h>

#include <stdbool.h>
#include <string.h>

#include "image.h"

/* LENGTH bytes that stand at a place of all files of a format. */
struct mark {
  size_t offset;
  const char *bytes;
  size_t length;
  struct image_format format;
};

#define MARK(offset, bytes) offset, bytes, sizeof bytes - 1

static const struct mark heads[] = {
  { MARK (0, "QFI\xfb"), { "a qcow2 image", IMAGE_CONVERT, "qcow2", "qcow2" } },
  { MARK (0, "QED\0"), { "a QED image", IMAGE_CONVERT, "qed", NULL } },
  { MARK (0, "KDMV"), { "a VMDK image", IMAGE_CONVERT, "vmdk", "vmdk" } },
  { MARK (0, "COWD"), { "a VMDK image", IMAGE_CONVERT, "vmdk", "vmdk" } },
  { MARK (0, "# Disk DescriptorFile"),
    { "a VMDK image", IMAGE_CONVERT, "vmdk", "vmdk" } },
  { MARK (64, "\x7f\x10\xda\xbe"),
    { "a VDI image", IMAGE_CONVERT, "vdi", "vdi" } },
  { MARK (0, "vhdxfile"), { "a VHDX image", IMAGE_CONVERT, "vhdx", "vhdx" } },
  { MARK (0, "conectix"), { "a VHD image", IMAGE_CONVERT, "vpc", NULL } },
  { MARK (0, "WithoutFreeSpace"),
    { "a Parallels image", IMAGE_CONVERT, "parallels", NULL } },
  { MARK (0, "WithouFreSpacExt"),
    { "a Parallels image", IMAGE_CONVERT, "parallels", NULL } },
  { MARK (0, "\x1f\x8b\x08"), { "a gzip file", IMAGE_UNPACK, "zcat", "gzip" } },
  { MARK (0, "\x28\xb5\x2f\xfd"),
    { "a zstd file", IMAGE_UNPACK, "zstdcat", "zstd" } },
  /* The frame of pzstd with which its files begin. */
  { MARK (0, "\x50\x2a\x4d\x18"),
    { "a zstd file", IMAGE_UNPACK, "zstdcat", "zstd" } },
  { MARK (0, "\xfd"
             "7zXZ\0"),
    { "an xz file", IMAGE_UNPACK, "xzcat", "xz" } },
  { MARK (0, "LZIP\1"), { "an lzip file", IMAGE_UNPACK, "lzip -dc", NULL } },
  { MARK (4, "1AY&SY"), { "a bzip2 file", IMAGE_UNPACK, "bzcat", NULL } },
  { MARK (0, "\x04\x22\x4d\x18"),
    { "an lz4 file", IMAGE_UNPACK, "lz4cat", NULL } },
  { MARK (0, "\x02\x21\x4c\x18"),
    { "an lz4 file", IMAGE_UNPACK, "lz4cat", NULL } },
  { MARK (0, "PK\3\4"), { "a zip file", IMAGE_UNPACK, "unzip -p", NULL } },
  { MARK (0, "7z\xbc\xaf\x27\x1c"),
    { "a 7z file", IMAGE_UNPACK, "7z x -so", NULL } },
  { MARK (257, "ustar"), { "a tar file", IMAGE_UNPACK, "tar xOf", NULL } },
  { MARK (0, "sqlblock-stream\n"),
    { "a stream of sqlblock send", IMAGE_RECEIVE, NULL, NULL } },
  { MARK (0, "SQLite format 3\0"),
    { "an SQLite database", IMAGE_EXPORT, NULL, NULL } },
};

/* From the end of the file. */
static const struct mark tails[] = {
  { MARK (512, "conectix"), { "a VHD image", IMAGE_CONVERT, "vpc", NULL } },
  { MARK (511, "conectix"), { "a VHD image", IMAGE_CONVERT, "vpc", NULL } },
  { MARK (512, "koly"), { "a DMG image", IMAGE_CONVERT, "dmg", NULL } },
};

static bool
has_mark (const void *bytes, size_t count, size_t offset,
          const struct mark *mark)
{
  return offset <= count && mark->length <= count - offset &&
         memcmp ((const char *)bytes + offset, mark->bytes, mark->length) == 0;
}

const struct image_format *
image_of_head (const void *head, size_t count)
{
  for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++)
    if (has_mark (head, count, heads[i].offset, &heads[i]))
      return &heads[i].format;
  return NULL;
}

const struct image_format *
image_of_tail (const void *tail, size_t count)
{
  for (size_t i = 0; i < sizeof tails / sizeof tails[0]; i++)
    if (count >= tails[i].offset &&
        has_mark (tail, count, count - tails[i].offset, &tails[i]))
      return &tails[i].format;
  return NULL;
}
