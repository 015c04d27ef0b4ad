/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Blocks to data and back: what is compressed comes back as it was, what does
 * not shrink is stored as it is, and compressions have names.  Hostile data
 * is in unit-damage.c.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "block/checksum.h"
#include "block/codec.h"

#define LARGEST (1024 * 1024)

/* What blocks are like. */
enum contents { ZEROES, RANDOM, RANDOM_TWICE, HEXADECIMAL, TEXT, CONTENTS };

static const char *const contents_names[CONTENTS] = {
  "zeroes", "random", "random, twice", "hexadecimal", "text",
};

static char block[LARGEST], room[LARGEST], back[LARGEST];
static struct codec_workspace workspace;
static const struct block_key no_key;
static uint64_t seed;

static void
fill_random (char *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++)
    bytes[i] = random_next (&seed);
}

static void
make_block (enum contents contents, uint32_t size)
{
  static const char words[] = "the best block store that fits in one file, ";

  memset (block, 0, size);
  if (contents == RANDOM || contents == RANDOM_TWICE)
    fill_random (block, size);
  if (contents == RANDOM_TWICE)
    memcpy (block + size / 2, block, size / 2);
  for (uint32_t i = 0; i < size; i++)
    if (contents == HEXADECIMAL)
      block[i] = "0123456789abcdef"[random_below (&seed, 16)];
    else if (contents == TEXT)
      block[i] = words[(i + i / 100) % (sizeof words - 1)];
}

/* The codec that a block of these contents is to get. */
static enum codec
expected_codec (enum contents contents, const struct compression *compression)
{
  if (contents == ZEROES)
    return CODEC_ZERO;
  if (contents == RANDOM)
    return CODEC_RAW;
  /* lz4 only finds what repeats. */
  if (contents == HEXADECIMAL && compression->codec == unit_codec ("lz4"))
    return CODEC_RAW;
  return compression->codec;
}

/* Parts of the block must come back, and nothing else be written to. */
static void
check_part (const struct encoded *encoded, uint32_t size, uint32_t from,
            uint32_t count)
{
  struct status status;

  memset (back, 'x', size);
  assert_ok (codec_copy (&workspace, encoded->codec, &no_key, encoded->data,
                         encoded->length, size, from, count, back + from,
                         &status),
             &status);
  assert_memory_equal (back + from, block + from, count);
  for (uint32_t i = 0; i < size; i++)
    if (i < from || i >= from + count)
      assert_int_equal (back[i], 'x');
}

static void
check_block (const struct compression *compression, enum contents contents,
             uint32_t size)
{
  struct encoded encoded;
  struct status status;

  /* What repeats far behind is, rarely, not found: then in another block. */
  for (int tries = 0; tries < 3; tries++) {
    make_block (contents, size);
    codec_workspace_free (&workspace); /* see test_in_vain */
    codec_encode (&workspace, compression, &no_key, block, size, room,
                  &encoded);
    if (contents != RANDOM_TWICE || encoded.codec != CODEC_RAW)
      break;
  }
  assert_int_equal (encoded.codec, expected_codec (contents, compression));
  assert_true (encoded.hash == checksum_bytes (encoded.data, encoded.length));
  assert_ok (codec_check (encoded.codec, encoded.length, size, &status),
             &status);
  if (encoded.codec == CODEC_RAW)
    assert_ptr_equal (encoded.data, block);
  else
    assert_true (encoded.length <= size - size / 8);
  check_part (&encoded, size, 0, size);
  check_part (&encoded, size, 0, size - 1);
  check_part (&encoded, size, size / 3, size / 2);
  check_part (&encoded, size, size - 1, 1);
}

/* Blocks of these contents, one after the other.  Returns how many of them
 * shrank.
 */
static int
encode_blocks (const struct compression *compression, enum contents contents,
               int count)
{
  struct encoded encoded;
  int shrank = 0;

  for (int i = 0; i < count; i++) {
    make_block (contents, 4096);
    /* A look at 32 pieces of it does not see any of them twice. */
    if (contents == RANDOM_TWICE)
      memcpy (block + 2048 + 64, block, 2048 - 64);
    codec_encode (&workspace, compression, &no_key, block, 4096, room,
                  &encoded);
    shrank += encoded.codec == compression->codec;
  }
  return shrank;
}

/* After many blocks that do not shrink, those that do are still noticed: at
 * once where a look tells, soon where they only repeat themselves.
 */
static void
test_in_vain (void **state)
{
  const struct compression compression = { unit_codec ("lz4"), 0 };
  struct status status;

  (void)state;
  seed = unit_seed ();
  if (compression_check (compression.codec, 0, &status) == -1)
    skip ();
  for (int before = 0; before < 100; before++) {
    assert_int_equal (encode_blocks (&compression, RANDOM, before), 0);
    assert_int_equal (encode_blocks (&compression, TEXT, 1), 1);
    assert_int_equal (encode_blocks (&compression, RANDOM, before), 0);
    assert_uint_in_range (encode_blocks (&compression, RANDOM_TWICE, 8), 1, 8);
    assert_int_equal (encode_blocks (&compression, RANDOM_TWICE, 8), 8);
  }
}

static const char *const names[] = { "none",   "lz4",    "zstd",
                                     "zstd:1", "zstd:3", "zstd:19" };
#define NAMES (sizeof names / sizeof names[0])

/* Every codec, size and kind of contents. */
static void
test_blocks (void **state)
{
  struct compression compression;
  struct status status;

  (void)state;
  seed = unit_seed ();
  for (size_t i = 0; i < NAMES; i++) {
    if (compression_parse (names[i], &compression, &status) == -1) {
      assert_int_equal (status.error, ENOTSUP);
      print_message ("%s: %s\n", names[i], status.message);
      continue;
    }
    for (enum contents contents = 0; contents < CONTENTS; contents++)
      for (uint32_t size = 512; size <= LARGEST; size *= 2) {
        /* A small block need not shrink, and lz4 looks back 64 KiB. */
        if ((size < 4096 && contents != TEXT) ||
            (size > 65536 && contents == RANDOM_TWICE))
          continue;
        check_block (&compression, contents, size);
      }
    print_message ("%s: done\n", names[i]);
  }
  print_message ("contents: ");
  for (size_t i = 0; i < CONTENTS; i++)
    print_message ("%s%s", contents_names[i], i < CONTENTS - 1 ? ", " : "\n");
  codec_workspace_free (&workspace);
}

/* Without a workspace, for which there was no memory, nothing fails. */
static void
test_no_workspace (void **state)
{
  struct compression compression;
  struct encoded encoded;
  struct status status;

  (void)state;
  for (size_t i = 0; i < NAMES; i++)
    if (compression_parse (names[i], &compression, &status) == 0) {
      make_block (TEXT, 4096);
      codec_encode (NULL, &compression, &no_key, block, 4096, room, &encoded);
      assert_int_equal (encoded.codec, CODEC_RAW);
      assert_ptr_equal (encoded.data, block);
    }
}

/* Is the codec NAME among those of names? */
static bool
is_tried (const char *name)
{
  for (size_t i = 0; i < NAMES; i++)
    if (strncmp (names[i], name, strlen (name)) == 0)
      return true;
  return false;
}

static void
test_names (void **state)
{
  static const char *const wrong[] = {
    "",
    "zst",
    "zstdx",
    "zstd:",
    "zstd:0",
    "zstd:20",
    "zstd:-1",
    "zstd:x",
    "zstd:1x",
    "zstd: 1",
    "lz4:1",
    "none:1",
    "raw",
    "ZSTD",
    ":1",
    "lz4 ",
    "zstd::1",
    "gzip",
    "zstd:99999999999999999999",
  };
  char text[COMPRESSION_TEXT];
  struct compression compression;
  struct status status;

  (void)state;
  for (size_t i = 0; i < NAMES; i++)
    if (compression_parse (names[i], &compression, &status) == 0) {
      compression_print (&compression, text);
      assert_string_equal (text, i == 2 ? "zstd:1" : names[i]);
      assert_ok (
          compression_check (compression.codec, compression.level, &status),
          &status);
    }
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_fails (compression_parse (wrong[i], &compression, &status), &status,
                  EINVAL, "is no compression");
  assert_fails (compression_check (CODEC_ZERO, 0, &status), &status, EIO,
                "damaged");
  assert_fails (compression_check (CODEC_RAW, 1, &status), &status, EIO,
                "damaged");
  assert_fails (compression_check (unit_codec ("zstd"), 0, &status), &status,
                EIO, "damaged");
  assert_fails (compression_check (unit_codec ("zstd"), 20, &status), &status,
                EIO, "damaged");
}

/* Users are told of all that there are, and these tests try them all.  None
 * has the number of what is no codec.
 */
static void
test_help (void **state)
{
  struct compression compression = { CODEC_ZERO, 1 };
  char text[COMPRESSION_TEXT];
  int count = 0;

  (void)state;
  for (; codec_next (&compression.codec); count++) {
    compression_print (&compression, text);
    text[strcspn (text, ":")] = '\0';
    assert_non_null (strstr (COMPRESSION_HELP, text));
    assert_true (is_tried (text));
    assert_int_not_equal (compression.codec, CODEC_CONTENT);
  }
  assert_uint_in_range (count, 3, CODECS_MAX);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_blocks),       unit_test (test_in_vain),
    unit_test (test_no_workspace), unit_test (test_names),
    unit_test (test_help),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
