/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Streams: what was written comes back, and nothing else is believed.
 *
 * Damage: each byte of a stream changed, each end cut off, bytes added.
 * Hostility: records whose checksums are right and whose contents are not;
 * they are made here from the description in stream.h.
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "base/packed.h"
#include "block/checksum.h"
#include "stream.h"

#define BLOCK 512

/* XXH3 of the stream that make_stream makes. */
#define FORMAT_CHECKSUM UINT64_C (0x4f981ed8151af5a3)

/* And of the one with what is optional. */
#define OPTIONAL_CHECKSUM UINT64_C (0x52ea6b3c4135171e)

static const struct stream_header header = {
  .disk = "web",
  .description = "the web server",
  .snapshot = "monday",
  .base = "sunday",
  .size = 10 * BLOCK + 100,
  .block_size = BLOCK,
  .guid = 0x1122334455667788,
  .created = 1700000000,
  .base_guid = -7,
};

static char block[3 * BLOCK];

/* What the stream of make_stream says. */
static const struct stream_range ranges[] = {
  { .offset = 0, .count = 2 * BLOCK },
  { .offset = 2 * BLOCK, .count = BLOCK, .data = block },
  { .offset = 5 * BLOCK, .count = 3 * BLOCK, .data = block },
  { .offset = 10 * BLOCK, .count = 100, .data = block },
};
#define RANGES (sizeof ranges / sizeof ranges[0])

/* A file without a name. */
static int
make_file (void)
{
  const int fd = memfd_create ("stream", MFD_CLOEXEC);

  assert_true (fd >= 0);
  return fd;
}

/* Have FD be these bytes, and stand at their beginning. */
static void
set_file (int fd, const void *bytes, size_t size)
{
  assert_int_equal (ftruncate (fd, 0), 0);
  assert_int_equal (pwrite (fd, bytes, size, 0), size);
  assert_int_equal (lseek (fd, 0, SEEK_SET), 0);
}

/* What goes along with a whole disk. */
static const struct property properties[] = {
  { PROPERTY_DISK, "other", PROPERTY_BYTES, 0, "\0\1\377", 3, false },
  { PROPERTY_DISK, "user:owner", PROPERTY_TEXT, 0, "ann", 3, false },
  { PROPERTY_SNAPSHOT, "empty", PROPERTY_TEXT, 0, "", 0, false },
  { PROPERTY_SNAPSHOT, "number", PROPERTY_INTEGER, -5, NULL, 0, false },
};
static const struct disk_feature features[] = { { "color", 1 },
                                                { "sound", 3 } };
static const struct optional optional = {
  .properties = (struct property *)properties,
  .property_count = sizeof properties / sizeof properties[0],
  .features = (struct disk_feature *)features,
  .feature_count = sizeof features / sizeof features[0],
};

/* A whole stream in a new buffer, with CARRIED (may be NULL). */
static unsigned char *
make_stream_with (const struct optional *carried, size_t *size)
{
  struct stream_header begins = header;
  const int fd = make_file ();
  struct stream stream;
  struct status status;
  unsigned char *bytes;

  for (size_t i = 0; i < sizeof block; i++)
    block[i] = i * 7 + i / 256 + 1;
  if (carried) {
    begins.base[0] = '\0';
    begins.base_guid = 0;
  }
  assert_ok (stream_begin (&stream, fd, NULL, &begins, carried, &status),
             &status);
  for (size_t i = 0; i < RANGES; i++)
    assert_ok (stream_write (&stream, &ranges[i], &status), &status);
  assert_ok (stream_end (&stream, &status), &status);
  *size = stream.bytes;
  stream_close (&stream);
  assert_int_equal (lseek (fd, 0, SEEK_END), *size);
  bytes = malloc (*size + 1);
  assert_non_null (bytes);
  assert_int_equal (pread (fd, bytes, *size, 0), *size);
  close (fd);
  return bytes;
}

static unsigned char *
make_stream (size_t *size)
{
  return make_stream_with (NULL, size);
}

/* Read a stream from FD to its end.  Returns 0, or -1. */
static int
read_all (int fd, struct status *status)
{
  struct stream stream;
  struct stream_range range;
  int r = stream_open (&stream, fd, NULL, status) == 0 ? 1 : -1;

  while (r == 1) {
    while ((r = stream_read (&stream, &range, status)) == 1) {
      assert_true (range.count > 0 && range.offset < stream.header.size &&
                   range.count <= stream.header.size - range.offset);
      assert_true (!range.data || range.count <= STREAM_DATA_MAX);
    }
    if (r == 0)
      r = stream_next (&stream, status);
  }
  stream_close (&stream);
  return r;
}

static void
test_round_trip (void **state)
{
  const int fd = make_file ();
  struct stream_range range;
  struct stream stream;
  struct status status;
  unsigned char *bytes;
  size_t size;

  (void)state;
  bytes = make_stream (&size);
  set_file (fd, bytes, size);
  assert_ok (stream_open (&stream, fd, NULL, &status), &status);
  assert_string_equal (stream.header.disk, header.disk);
  assert_string_equal (stream.header.description, header.description);
  assert_string_equal (stream.header.snapshot, header.snapshot);
  assert_string_equal (stream.header.base, header.base);
  assert_int_equal (stream.header.size, header.size);
  assert_int_equal (stream.header.block_size, header.block_size);
  assert_int_equal (stream.header.guid, header.guid);
  assert_int_equal (stream.header.created, header.created);
  assert_int_equal (stream.header.base_guid, header.base_guid);
  for (size_t i = 0; i < RANGES; i++) {
    assert_result (stream_read (&stream, &range, &status), &status, 1);
    assert_int_equal (range.offset, ranges[i].offset);
    assert_int_equal (range.count, ranges[i].count);
    assert_int_equal (range.data == NULL, ranges[i].data == NULL);
    if (range.data)
      assert_memory_equal (range.data, ranges[i].data, range.count);
  }
  assert_ok (stream_read (&stream, &range, &status), &status);
  assert_ok (stream_read (&stream, &range, &status), &status);
  assert_int_equal (stream.bytes, size);
  assert_int_equal (stream.counts.data, 4 * BLOCK + 100);
  assert_int_equal (stream.counts.zeroes, 2 * BLOCK);
  stream_close (&stream);
  free (bytes);
  close (fd);
}

static void
assert_properties (const struct optional *found)
{
  assert_int_equal (found->property_count, optional.property_count);
  for (size_t i = 0; i < found->property_count; i++) {
    const struct property *property = &found->properties[i];

    assert_int_equal (property->kind, properties[i].kind);
    assert_string_equal (property->key, properties[i].key);
    assert_int_equal (property->type, properties[i].type);
    assert_int_equal (property->integer, properties[i].integer);
    assert_int_equal (property->length, properties[i].length);
    if (property->length > 0)
      assert_memory_equal (property->bytes, properties[i].bytes,
                           property->length);
  }
  assert_int_equal (found->feature_count, optional.feature_count);
  for (size_t i = 0; i < found->feature_count; i++) {
    assert_string_equal (found->features[i].name, features[i].name);
    assert_int_equal (found->features[i].class, features[i].class);
  }
}

static void
test_optional (void **state)
{
  const int fd = make_file ();
  struct stream_range range;
  struct stream stream;
  struct status status;
  unsigned char *bytes;
  size_t size;
  int r;

  (void)state;
  bytes = make_stream_with (&optional, &size);
  assert_int_equal (bytes[16], 2);
  assert_int_equal (checksum_bytes (bytes, size), OPTIONAL_CHECKSUM);
  set_file (fd, bytes, size);
  assert_ok (stream_open (&stream, fd, NULL, &status), &status);
  assert_properties (&stream.optional);
  while ((r = stream_read (&stream, &range, &status)) == 1)
    ;
  assert_ok (r, &status);
  assert_int_equal (stream.counts.records, 1 + 6 + RANGES);
  stream_close (&stream);
  free (bytes);
  close (fd);
}

/* A version that writes other bytes is another version. */
static void
test_format (void **state)
{
  unsigned char *bytes;
  size_t size;

  (void)state;
  bytes = make_stream (&size);
  assert_int_equal (size, 24 + 6 * 48 + 48 + 29 + 4 * BLOCK + 100 + 24);
  assert_memory_equal (bytes, "sqlblock-stream\n\1\0\0\0\0\0\0\0\1\0\0\0\1",
                       29);
  assert_int_equal (checksum_bytes (bytes, size), FORMAT_CHECKSUM);
  free (bytes);
}

static void
test_large_data (void **state)
{
  const uint64_t count = 3 * STREAM_DATA_MAX;
  const int fd = make_file ();
  char *data = calloc (1, count);
  const struct stream_range all = { .count = count, .data = data };
  struct stream_header large = header;
  struct stream_range range;
  struct stream stream;
  struct status status;

  (void)state;
  assert_non_null (data);
  large.size = count;
  assert_ok (stream_begin (&stream, fd, NULL, &large, NULL, &status), &status);
  assert_ok (stream_write (&stream, &all, &status), &status);
  assert_ok (stream_end (&stream, &status), &status);
  stream_close (&stream);
  assert_int_equal (lseek (fd, 0, SEEK_SET), 0);
  assert_ok (stream_open (&stream, fd, NULL, &status), &status);
  for (uint64_t i = 0; i < 3; i++) {
    assert_result (stream_read (&stream, &range, &status), &status, 1);
    assert_int_equal (range.offset, i * STREAM_DATA_MAX);
    assert_int_equal (range.count, STREAM_DATA_MAX);
  }
  assert_ok (stream_read (&stream, &range, &status), &status);
  stream_close (&stream);
  free (data);
  close (fd);
}

/* Through a pipe, in which reads are short. */
static void
test_pipe (void **state)
{
  struct status status;
  unsigned char *bytes;
  size_t size;
  int fds[2];

  (void)state;
  bytes = make_stream (&size);
  assert_int_equal (pipe (fds), 0);
  if (fork () == 0) {
    close (fds[0]);
    for (size_t i = 0; i < size; i++)
      if (write (fds[1], bytes + i, 1) != 1)
        _exit (1);
    _exit (0);
  }
  close (fds[1]);
  assert_ok (read_all (fds[0], &status), &status);
  close (fds[0]);
  free (bytes);
}

/*--------------------------------------------------------------------
 * Damage.
 */

static void
try_each_bit (const struct optional *carried)
{
  const int fd = make_file ();
  struct status status;
  unsigned char *bytes;
  size_t size;

  bytes = make_stream_with (carried, &size);
  for (size_t i = 0; i < size * 8; i++) {
    bytes[i / 8] ^= 1 << (i % 8);
    set_file (fd, bytes, size);
    assert_int_equal (read_all (fd, &status), -1);
    assert_true (status.error == EINVAL || status.error == ENOTSUP);
    bytes[i / 8] ^= 1 << (i % 8);
  }
  set_file (fd, bytes, size);
  assert_ok (read_all (fd, &status), &status);
  free (bytes);
  close (fd);
}

static void
test_each_bit (void **state)
{
  (void)state;
  try_each_bit (NULL);
  try_each_bit (&optional);
}

static void
try_each_end (const struct optional *carried)
{
  const int fd = make_file ();
  struct status status;
  unsigned char *bytes;
  size_t size;

  bytes = make_stream_with (carried, &size);
  for (size_t i = 0; i < size; i++) {
    set_file (fd, bytes, i);
    assert_int_equal (read_all (fd, &status), -1);
    assert_int_equal (status.error, EINVAL);
  }
  bytes[size] = '\0';
  set_file (fd, bytes, size + 1);
  assert_fails (read_all (fd, &status), &status, EINVAL, "follows the end");
  free (bytes);
  close (fd);
}

static void
test_each_end (void **state)
{
  (void)state;
  try_each_end (NULL);
  try_each_end (&optional);
}

/* A part is missing, comes twice, or has changed places with another. */
static void
test_moved_records (void **state)
{
  /* Where the records of make_stream begin. */
  static const size_t starts[] = { 24, 149, 197, 757, 2341, 2489, 2561 };
  const int fd = make_file ();
  struct status status;
  unsigned char *bytes, *moved;
  size_t size, at;

  (void)state;
  bytes = make_stream (&size);
  assert_int_equal (size, starts[6]);
  moved = malloc (2 * size);
  assert_non_null (moved);
  for (int from = 0; from < 6; from++)
    for (int to = 0; to < 6; to++) {
      /* All before FROM, then on from TO. */
      at = starts[from];
      memcpy (moved, bytes, at);
      memcpy (moved + at, bytes + starts[to], size - starts[to]);
      set_file (fd, moved, at + size - starts[to]);
      assert_int_equal (read_all (fd, &status), from == to ? 0 : -1);
    }
  free (moved);
  free (bytes);
  close (fd);
}

/*--------------------------------------------------------------------
 * Hostility.
 */

/* A stream that is being forged. */
struct forgery {
  unsigned char bytes[100000];
  size_t size;
  uint64_t chained;
};

static void
forge_preamble (struct forgery *f, uint32_t version)
{
  const uint64_t number = htole64 (version);

  memcpy (f->bytes, "sqlblock-stream\n", 16);
  memcpy (f->bytes + 16, &number, 8);
  f->size = 24;
  f->chained = checksum_bytes (f->bytes, 24);
}

/* A record with right checksums, of five numbers as in the head.  LENGTH is
 * what the head says of the payload, which has SIZE bytes.
 */
static void
forge (struct forgery *f, uint64_t kind_and_codec, uint64_t offset,
       uint64_t count, uint64_t length, const void *payload, size_t size)
{
  uint64_t head[7] = {
    htole64 (f->chained), htole64 (kind_and_codec),
    htole64 (offset),     htole64 (count),
    htole64 (length),     htole64 (checksum_bytes (payload, size)),
  };

  f->chained = checksum_bytes (head, 48);
  head[6] = htole64 (f->chained);
  assert_true (f->size + 48 + size <= sizeof f->bytes);
  memcpy (f->bytes + f->size, head + 1, 48);
  memcpy (f->bytes + f->size + 48, payload, size);
  f->size += 48 + size;
}

/* Kind and codec, as they stand in the head. */
#define BEGIN    (1 | UINT64_C (1) << 32)
#define ZEROES   UINT64_C (2)
#define DATA     (3 | UINT64_C (1) << 32)
#define END      (4 | UINT64_C (1) << 32)
#define PROPERTY (5 | UINT64_C (1) << 32)
#define FEATURE  (6 | UINT64_C (1) << 32)

/* The beginning of a stream about a disk of SIZE bytes. */
static void
forge_begin (struct forgery *f, uint64_t size, uint64_t block_size,
             uint64_t guid, uint64_t base_guid, const char *disk,
             const char *base)
{
  unsigned char payload[2000];
  const uint64_t numbers[5] = { htole64 (size), htole64 (block_size),
                                htole64 (guid), 0, htole64 (base_guid) };
  const uint16_t lengths[4] = { htole16 (strlen (disk)), 0, htole16 (1),
                                htole16 (strlen (base)) };

  memcpy (payload, numbers, 40);
  memcpy (payload + 40, lengths, 8);
  sprintf ((char *)payload + 48, "%ss%s", disk, base);
  forge_preamble (f, 1);
  forge (f, BEGIN, 0, 0, 48 + strlen (disk) + 1 + strlen (base), payload,
         48 + strlen (disk) + 1 + strlen (base));
}

/* The beginning of one of version 2, with or without a base, which says that
 * COUNT records of what is optional follow.
 */
static void
forge_begin_2 (struct forgery *f, bool base, uint64_t count)
{
  unsigned char payload[60];
  const uint64_t numbers[5] = { htole64 (10 * BLOCK), htole64 (BLOCK),
                                htole64 (1), 0, htole64 (base ? 2 : 0) };
  const uint16_t lengths[4] = { htole16 (3), 0, htole16 (1), htole16 (base) };

  memcpy (payload, numbers, 40);
  memcpy (payload + 40, lengths, 8);
  memcpy (payload + 48, "websb", 5);
  forge_preamble (f, 2);
  forge (f, BEGIN, 0, count, 52 + base, payload, 52 + base);
}

/* A property, with the lengths that are given; CUT bytes are missing. */
static void
forge_property (struct forgery *f, uint32_t kind, uint16_t type,
                const char *key, uint16_t key_length, size_t length, size_t cut)
{
  static unsigned char payload[20000];
  const size_t size = 8 + strlen (key) + length - cut;

  kind = htole32 (kind);
  type = htole16 (type);
  key_length = htole16 (key_length);
  memset (payload, 'v', sizeof payload);
  memcpy (payload, &kind, 4);
  memcpy (payload + 4, &type, 2);
  memcpy (payload + 6, &key_length, 2);
  memcpy (payload + 8, key, strlen (key));
  forge (f, PROPERTY, 0, 0, size, payload, size);
}

static void
forge_feature (struct forgery *f, int64_t class, const char *name, size_t cut)
{
  unsigned char payload[1000];
  const uint64_t number = htole64 (class);

  memcpy (payload, &number, 8);
  memcpy (payload + 8, name, strlen (name));
  forge (f, FEATURE, 0, 0, 8 + strlen (name) - cut, payload,
         8 + strlen (name) - cut);
}

/* A sane beginning, of ten blocks and a half. */
static void
forge_sane (struct forgery *f)
{
  forge_begin (f, 10 * BLOCK + BLOCK / 2, BLOCK, 1, 0, "web", "");
}

static void
forge_end (struct forgery *f, uint64_t records, uint64_t data, uint64_t zeroes)
{
  const uint64_t numbers[3] = { htole64 (records), htole64 (data),
                                htole64 (zeroes) };

  forge (f, END, 0, 0, 24, numbers, 24);
}

/* Reading F must fail, with TEXT in the message; or for NULL succeed. */
static void
expect (const struct forgery *f, int error, const char *text)
{
  const int fd = make_file ();
  struct status status;
  int r;

  set_file (fd, f->bytes, f->size);
  r = read_all (fd, &status);
  if (text)
    assert_fails (r, &status, error, text);
  else
    assert_ok (r, &status);
  close (fd);
}

static void
test_other_versions (void **state)
{
  struct forgery f;

  (void)state;
  forge_preamble (&f, 4);
  expect (&f, ENOTSUP, "version 4");
  forge_preamble (&f, 0);
  expect (&f, ENOTSUP, "version 0");
  forge_sane (&f);
  forge (&f, 5, 0, 0, 0, "", 0);
  expect (&f, ENOTSUP, "kind 5");
  forge_sane (&f);
  forge (&f, 3 | UINT64_C (2) << 32, 0, BLOCK, 4, "abcd", 4);
  expect (&f, ENOTSUP, "compressed");
  forge_sane (&f);
  forge (&f, ZEROES | UINT64_C (1) << 48, 0, BLOCK, 0, "", 0);
  expect (&f, ENOTSUP, "kind 2");
  memcpy (f.bytes, "SQLite format 3", 16);
  expect (&f, EINVAL, "not a stream");
}

static void
test_hostile_headers (void **state)
{
  static const struct {
    uint64_t size, block_size, guid, base_guid;
    const char *disk, *base, *text;
  } cases[] = {
    { 1, 512, 1, 0, "web", "", NULL },
    { INT64_MAX, 1 << 20, 1, 2, "web", "base", NULL },
    { 0, 512, 1, 0, "web", "", "no sense" },
    { UINT64_MAX, 512, 1, 0, "web", "", "larger" },
    { 512, 0, 1, 0, "web", "", "no sense" },
    { 512, 513, 1, 0, "web", "", "power of two" },
    { 512, 1 << 21, 1, 0, "web", "", "impossible" },
    { 512, (UINT64_C (1) << 32) + 512, 1, 0, "web", "", "impossible" },
    { 512, 512, 0, 0, "web", "", "no sense" },
    { 512, 512, 3, 3, "web", "base", "no sense" },
    { 512, 512, 1, 2, "web", "", "no sense" },
    { 512, 512, 1, 0, "web", "base", "no sense" },
    { 512, 512, 1, 0, "", "", "empty" },
    { 512, 512, 1, 0, "we/b", "", "'/'" },
    { 512, 512, 1, 0, "we@b", "", "'@'" },
    { 512, 512, 1, 0, "\x1b[2J", "", "control" },
    { 512, 512, 1, 0, "\xff", "", "UTF-8" },
    { 512, 512, 1, 2, "web", "a@b", "'@'" },
  };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_begin (&f, cases[i].size, cases[i].block_size, cases[i].guid,
                 cases[i].base_guid, cases[i].disk, cases[i].base);
    forge_end (&f, 1, 0, 0);
    expect (&f, EINVAL, cases[i].text);
  }
}

/* Headers whose lengths do not fit. */
static void
test_hostile_lengths (void **state)
{
  unsigned char payload[6000] = { 0 };
  struct forgery f;
  uint16_t lengths[4];

  (void)state;
  forge_sane (&f);
  memcpy (payload, f.bytes + 24 + 48, 52);
  for (int i = 0; i < 4; i++) {
    memcpy (lengths, payload + 40, 8);
    lengths[i] = htole16 (0xffff);
    memcpy (payload + 40, lengths, 8);
    forge_preamble (&f, 1);
    forge (&f, BEGIN, 0, 0, 52, payload, 52);
    expect (&f, EINVAL, "a name is impossible");
    forge_sane (&f);
    memcpy (payload, f.bytes + 24 + 48, 52);
  }
  payload[48] = '\0';
  forge_preamble (&f, 1);
  forge (&f, BEGIN, 0, 0, 52, payload, 52);
  expect (&f, EINVAL, "a name is impossible");
  payload[48] = 'w';
  payload[52] = 'x';
  forge_preamble (&f, 1);
  forge (&f, BEGIN, 0, 0, 53, payload, 53);
  expect (&f, EINVAL, "too long");
  forge_preamble (&f, 1);
  forge (&f, BEGIN, 0, 0, 47, payload, 47);
  expect (&f, EINVAL, "missing");
  forge_preamble (&f, 1);
  forge (&f, BEGIN, 0, 0, sizeof payload, payload, sizeof payload);
  expect (&f, EINVAL, "length is impossible");
  forge_preamble (&f, 1);
  forge (&f, ZEROES, 0, BLOCK, 0, "", 0);
  expect (&f, EINVAL, "header is missing");
}

static void
test_hostile_ranges (void **state)
{
  static const struct {
    uint64_t kind, offset, count, length;
    size_t size;
    const char *text;
  } cases[] = {
    { ZEROES, 0, BLOCK, 0, 0, NULL },
    { ZEROES, 0, 10 * BLOCK + BLOCK / 2, 0, 0, NULL },
    { DATA, 10 * BLOCK, BLOCK / 2, BLOCK / 2, BLOCK / 2, NULL },
    { ZEROES, 0, 0, 0, 0, "impossible" },
    { ZEROES, 1, BLOCK, 0, 0, "impossible" },
    { ZEROES, 0, BLOCK / 2, 0, 0, "impossible" },
    { ZEROES, 0, 11 * BLOCK, 0, 0, "impossible" },
    { ZEROES, 11 * BLOCK, BLOCK, 0, 0, "impossible" },
    { ZEROES, BLOCK, UINT64_MAX - BLOCK + 1, 0, 0, "impossible" },
    { ZEROES, BLOCK, UINT64_MAX, 0, 0, "impossible" },
    { ZEROES, UINT64_MAX - BLOCK + 1, BLOCK, 0, 0, "impossible" },
    { ZEROES, UINT64_MAX - BLOCK + 1, 2 * BLOCK, 0, 0, "impossible" },
    { ZEROES, 0, BLOCK, 4, 4, "length is impossible" },
    { DATA, 0, BLOCK, 0, 0, "length is impossible" },
    { DATA, 0, BLOCK, UINT64_MAX, 0, "length is impossible" },
    { DATA, 0, BLOCK, STREAM_DATA_MAX + 1, 0, "length is impossible" },
    { DATA, 0, BLOCK, STREAM_DATA_MAX, BLOCK, "too early" },
    { DATA, 0, BLOCK, BLOCK / 2, BLOCK / 2, "fill its range" },
    { DATA, 0, BLOCK, 2 * BLOCK, 2 * BLOCK, "fill its range" },
    { DATA, 9 * BLOCK, 2 * BLOCK, 2 * BLOCK, 2 * BLOCK, "impossible" },
    { BEGIN, 0, BLOCK, BLOCK, BLOCK, "begins twice" },
    { END, 0, 0, 20, 20, "end is impossible" },
    { END, 0, 0, 25, 25, "length is impossible" },
    { END, 1, 0, 24, 24, "end is impossible" },
    { END, 0, 1, 24, 24, "end is impossible" },
  };
  char payload[2 * BLOCK] = { 1 };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_sane (&f);
    forge (&f, cases[i].kind, cases[i].offset, cases[i].count, cases[i].length,
           payload, cases[i].size);
    if (cases[i].text == NULL)
      forge_end (&f, 2, cases[i].size, cases[i].size ? 0 : cases[i].count);
    expect (&f, EINVAL, cases[i].text);
  }
}

/* What one property can be. */
static void
test_hostile_properties (void **state)
{
#define KEY_200                                                                \
  "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"   \
  "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"   \
  "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
  static const struct {
    bool base;
    uint32_t kind;
    uint16_t type;
    const char *key;
    int more; /* than its length, says the head of the property */
    size_t length, cut;
    const char *text;
  } cases[] = {
    { false, 1, 1, "key", 0, 8, 0, NULL },
    { false, 1, 3, "key", 0, 0, 0, NULL },
    { true, 2, 4, KEY_200, 0, 8192, 0, NULL },
    { false, 1, 4, KEY_200 "k", 0, 1, 0, "key of a property is impossible" },
    { false, 1, 4, "key", 0, 8193, 0, "value of a property is impossible" },
    { false, 1, 4, "key", 0, 8390, 0, "length is impossible" },
    { false, 1, 1, "key", 0, 7, 0, "value of a property is impossible" },
    { false, 1, 1, "key", 0, 9, 0, "value of a property is impossible" },
    { false, 1, 1, "key", 0, 0, 0, "value of a property is impossible" },
    { false, 1, 2, "key", 0, 8, 0, "value of a property is impossible" },
    { false, 1, 0, "key", 0, 8, 0, "value of a property is impossible" },
    { false, 1, 3, "key", 0xfff0, 8, 0, "key of a property is impossible" },
    { false, 1, 3, "key", 6, 5, 0, "key of a property is impossible" },
    { false, 1, 3, "", 0, 5, 0, "does not belong" },
    { false, 1, 3, "", 0, 0, 1, "too short" },
    { false, 1, 3, "", 0, 0, 7, "too short" },
    { false, 1, 3, "k\n", 0, 5, 0, "does not belong" },
    { false, 1, 3, "\xff", 0, 5, 0, "does not belong" },
    { false, 1, 3, "id", 0, 5, 0, "does not belong" },
    { false, 2, 1, "hold:x", 0, 8, 0, "does not belong" },
    { false, 1, 3, "local:x", 0, 5, 0, "does not belong" },
    { false, 0, 3, "key", 0, 5, 0, "does not belong" },
    { false, 3, 3, "key", 0, 5, 0, "does not belong" },
    { false, UINT32_MAX, 3, "key", 0, 5, 0, "does not belong" },
    { true, 1, 3, "key", 0, 5, 0, "does not belong" },
  };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_begin_2 (&f, cases[i].base, 1);
    forge_property (&f, cases[i].kind, cases[i].type, cases[i].key,
                    strlen (cases[i].key) + cases[i].more, cases[i].length,
                    cases[i].cut);
    forge_end (&f, 2, 0, 0);
    expect (&f, EINVAL, cases[i].text);
  }
}

static void
test_hostile_features (void **state)
{
  static const struct {
    int64_t class;
    const char *name;
    size_t cut;
    const char *text;
  } cases[] = {
    { 1, "color", 0, NULL },
    { INT64_MAX, KEY_200, 0, NULL },
    { 0, "color", 0, "feature is impossible" },
    { -1, "color", 0, "feature is impossible" },
    { 1, "", 0, "feature is impossible" },
    { 1, "", 1, "feature is impossible" },
    { 1, "co\nlor", 0, "feature is impossible" },
    { 1, KEY_200 "k", 0, "length is impossible" },
  };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_begin_2 (&f, true, 1);
    forge_feature (&f, cases[i].class, cases[i].name, cases[i].cut);
    forge_end (&f, 2, 0, 0);
    expect (&f, EINVAL, cases[i].text);
  }
}

/* A stream of these properties, "KIND:KEY" or of features "f:NAME". */
static void
forge_list (struct forgery *f, uint64_t count, const char *const *list)
{
  uint64_t records = 1;

  forge_begin_2 (f, false, count);
  for (; *list; list++, records++)
    if (**list == 'f')
      forge_feature (f, 2, *list + 2, 0);
    else
      forge_property (f, **list - '0', 3, *list + 2, strlen (*list + 2), 1, 0);
  forge_end (f, records, 0, 0);
}

/* They come in order, and as many as the beginning has said. */
static void
test_hostile_lists (void **state)
{
  static const struct {
    const char *list[6];
    uint64_t count;
    const char *text;
  } cases[] = {
    { { "1:a", "1:b", "2:a", "f:a", "f:b" }, 5, NULL },
    { { "1:b", "1:a" }, 2, "does not belong" },
    { { "1:a", "1:a" }, 2, "does not belong" },
    { { "2:a", "1:b" }, 2, "does not belong" },
    { { "2:a", "2:a" }, 2, "does not belong" },
    { { "f:a", "1:b" }, 2, "does not belong" },
    { { "f:b", "f:a" }, 2, "feature is impossible" },
    { { "f:a", "f:a" }, 2, "feature is impossible" },
    { { "1:a" }, 0, "comes too late" },
    { { "1:a", "f:b" }, 1, "comes too late" },
    { { "1:a" }, 2, "properties are missing" },
    { { "1:a" }, 3001, "too many" },
    { { "1:a" }, UINT64_MAX, "too many" },
  };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_list (&f, cases[i].count, cases[i].list);
    expect (&f, EINVAL, cases[i].text);
  }
  /* Version 1 has none of this. */
  forge_sane (&f);
  forge_property (&f, 1, 3, "key", 3, 5, 0);
  expect (&f, ENOTSUP, "kind 5");
  forge_begin_2 (&f, false, 1);
  forge (&f, 7 | UINT64_C (1) << 32, 0, 0, 1, "x", 1);
  expect (&f, ENOTSUP, "kind 7");
  forge_begin_2 (&f, false, 1);
  forge (&f, FEATURE, 0, 1, 9, "\1\0\0\0\0\0\0\0x", 9);
  expect (&f, EINVAL, "has a range");
}

/* At most as many as one owner can have. */
static void
test_hostile_counts (void **state)
{
  struct forgery f;
  char key[10];

  (void)state;
  for (int more = 0; more < 2; more++)
    for (int kind = 0; kind < 3; kind++) {
      const int most = kind == 0 ? FEATURES_MAX : PROPERTIES_MAX;

      forge_begin_2 (&f, false, most + 1 + more);
      if (kind != 1)
        forge_property (&f, 1, 3, "first", 5, 1, 0);
      for (int i = 0; i < most + more; i++) {
        snprintf (key, sizeof key, "n%04d", i);
        if (kind == 0)
          forge_feature (&f, 1, key, 0);
        else
          forge_property (&f, kind, 3, key, 5, 1, 0);
      }
      if (kind == 1)
        forge_property (&f, 2, 3, "last", 4, 1, 0);
      forge_end (&f, most + 2, 0, 0);
      expect (&f, EINVAL,
              more == 0   ? NULL
              : kind == 0 ? "feature is impossible"
                          : "does not belong");
    }
}

/* Ranges that overlap or go back; counts that are wrong. */
static void
test_hostile_order (void **state)
{
  struct forgery f;

  (void)state;
  for (int back = 0; back < 2; back++) {
    forge_sane (&f);
    forge (&f, ZEROES, 2 * BLOCK, 2 * BLOCK, 0, "", 0);
    forge (&f, ZEROES, (3 - back) * BLOCK, BLOCK, 0, "", 0);
    forge_end (&f, 3, 0, 3 * BLOCK);
    expect (&f, EINVAL, "impossible");
  }
  for (int wrong = 0; wrong < 4; wrong++) {
    forge_sane (&f);
    forge (&f, ZEROES, 2 * BLOCK, 2 * BLOCK, 0, "", 0);
    forge_end (&f, wrong == 1 ? 3 : 2, wrong == 2,
               wrong == 3 ? UINT64_MAX : 2 * BLOCK);
    expect (&f, EINVAL, wrong ? "counts" : NULL);
  }
}

/*--------------------------------------------------------------------
 * Version 3: sequences, clones, blocks as they are stored.
 */

/* Two blocks: one with data, one of zeroes. */
static size_t
make_packed (char *packed)
{
  packed_set (packed, 0, 3, 20);
  packed_set (packed, 1, 0, 0);
  memset (packed + PACKED_HEAD (2), 'd', 20);
  return PACKED_HEAD (2) + 20;
}

/* Write part NUMBER of COUNT to FD; the second is a clone. */
static void
write_part (int fd, uint32_t number, uint32_t count)
{
  char packed[PACKED_ROOM (2 * BLOCK, BLOCK)];
  struct stream_range range = { .count = 2 * BLOCK, .data = packed };
  struct stream_header part = header;
  struct stream stream;
  struct status status;

  range.packed = make_packed (packed);
  part.number = number;
  part.count = count;
  part.disks = 2;
  part.storing.compression = (struct compression){ CODEC_RAW, 0 };
  part.storing.deduplicate = DISK_ON;
  part.clone = number == 2;
  if (part.clone)
    strcpy (part.base_disk, "origin");
  assert_ok (stream_begin (&stream, fd, NULL, &part,
                           part.clone ? &optional : NULL, &status),
             &status);
  assert_ok (stream_write (&stream, &range, &status), &status);
  assert_ok (stream_end (&stream, &status), &status);
  stream_close (&stream);
}

static void
test_sequence (void **state)
{
  const int fd = make_file ();
  struct stream_range range;
  struct stream stream;
  struct status status;

  (void)state;
  for (uint32_t i = 1; i <= 3; i++)
    write_part (fd, i, 3);
  assert_int_equal (lseek (fd, 0, SEEK_SET), 0);
  assert_ok (stream_open (&stream, fd, NULL, &status), &status);
  for (uint32_t i = 1; i <= 3; i++) {
    assert_int_equal (stream.version, 3);
    assert_int_equal (stream.header.number, i);
    assert_int_equal (stream.header.disks, 2);
    assert_int_equal (stream.header.clone, i == 2);
    assert_string_equal (stream.header.base_disk, i == 2 ? "origin" : "");
    assert_int_equal (stream.header.storing.deduplicate, DISK_ON);
    assert_result (stream_read (&stream, &range, &status), &status, 1);
    assert_int_equal (range.count, 2 * BLOCK);
    assert_int_equal (range.packed, PACKED_HEAD (2) + 20);
    assert_int_equal (packed_codec (range.data, 0), 3);
    assert_int_equal (packed_length (range.data, 0), 20);
    assert_ok (stream_read (&stream, &range, &status), &status);
    assert_result (stream_next (&stream, &status), &status, i < 3);
  }
  stream_close (&stream);
  close (fd);
}

/* Parts that are missing, come twice, or follow another sequence. */
static void
test_parts (void **state)
{
  static const struct {
    uint32_t numbers[4]; /* of three; 10 more: of four; 0 ends */
    const char *text;
  } cases[] = {
    { { 1, 2, 3 }, NULL },
    { { 2, 3 }, NULL },
    { { 3, 1, 2, 3 }, NULL },
    { { 1 }, "ends after part 1 of 3" },
    { { 1, 2 }, "ends after part 2 of 3" },
    { { 1, 3 }, "something is missing" },
    { { 1, 1 }, "something is missing" },
    { { 3, 2 }, "something is missing" },
    { { 1, 12, 13, 14 }, "something is missing" },
  };
  struct status status;
  int fd, r;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    fd = make_file ();
    for (size_t j = 0; j < 4 && cases[i].numbers[j]; j++)
      write_part (fd, cases[i].numbers[j] % 10, 3 + cases[i].numbers[j] / 10);
    assert_int_equal (lseek (fd, 0, SEEK_SET), 0);
    r = read_all (fd, &status);
    if (cases[i].text)
      assert_fails (r, &status, EINVAL, cases[i].text);
    else
      assert_ok (r, &status);
    close (fd);
  }
}

/* Each bit of a sequence changed, and each end cut off. */
static void
test_sequence_damage (void **state)
{
  const int fd = make_file (), changed = make_file ();
  struct status status;
  unsigned char *bytes;
  size_t size;

  (void)state;
  write_part (fd, 1, 2);
  write_part (fd, 2, 2);
  size = lseek (fd, 0, SEEK_END);
  bytes = malloc (size);
  assert_non_null (bytes);
  assert_int_equal (pread (fd, bytes, size, 0), size);
  for (size_t i = 0; i < size * 8; i++) {
    bytes[i / 8] ^= 1 << (i % 8);
    set_file (changed, bytes, size);
    assert_int_equal (read_all (changed, &status), -1);
    bytes[i / 8] ^= 1 << (i % 8);
  }
  for (size_t i = 0; i < size; i++) {
    set_file (changed, bytes, i);
    assert_int_equal (read_all (changed, &status), -1);
    assert_int_equal (status.error, EINVAL);
  }
  free (bytes);
  close (fd);
  close (changed);
}

/* The beginning of one of version 3, of two blocks, with these numbers. */
static void
forge_begin_3 (struct forgery *f, const uint32_t more[8], bool base)
{
  unsigned char payload[100];
  const uint64_t numbers[5] = { htole64 (2 * BLOCK), htole64 (BLOCK),
                                htole64 (1), 0, htole64 (base ? 2 : 0) };
  const uint16_t lengths[4] = { htole16 (3), 0, htole16 (1), htole16 (base) };
  uint32_t words[8];

  for (int i = 0; i < 8; i++)
    words[i] = htole32 (more[i]);
  memcpy (payload, numbers, 40);
  memcpy (payload + 40, lengths, 8);
  memcpy (payload + 48, words, 32);
  memcpy (payload + 80, base ? "websbold" : "webs", base ? 8 : 4);
  forge_preamble (f, 3);
  forge (f, BEGIN, 0, 0, base ? 88 : 84, payload, base ? 88 : 84);
}

static void
test_hostile_sequences (void **state)
{
  static const struct {
    uint32_t more[8];
    bool base;
    int error;
    const char *text;
  } cases[] = {
    { { 0, 0, 0, 0, 0, 0, 0, 0 }, false, 0, NULL },
    { { 1, 1, 1, 0, 3, 0, 1, 0 }, false, 0, NULL },
    { { 1, 1, 1, 1, 3, 0, 1, 3 }, true, 0, NULL },
    { { 2, 1, 1, 0, 0, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 0, 1, 1, 0, 0, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 1, 1, 2, 0, 0, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 1, 1, 0, 0, 0, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 0, 0, 1, 0, 0, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 1, 1, 1, 0, UINT32_MAX, 0, 0, 0 }, false, EINVAL, "no sense" },
    { { 1, 1, 1, 0, 1, UINT32_MAX, 0, 0 }, false, EINVAL, "no sense" },
    { { 1, 1, 1, 0, 1, 0, 3, 0 }, false, EINVAL, "no sense" },
    { { 0, 0, 0, 4, 0, 0, 0, 0 }, false, ENOTSUP, "flags 4" },
    { { 0, 0, 0, 1, 0, 0, 0, 0 }, false, EINVAL, "empty" },
    { { 0, 0, 0, 0, 0, 0, 0, 3 }, true, EINVAL, "no sense" },
    { { 0, 0, 0, 1, 0, 0, 0, 4 }, true, EINVAL, "name is impossible" },
    { { 0, 0, 0, 1, 0, 0, 0, UINT32_MAX }, true, EINVAL, "impossible" },
    { { 0, 0, 0, 1, 0, 0, 0, 2 }, true, EINVAL, "too long" },
  };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    forge_begin_3 (&f, cases[i].more, cases[i].base);
    forge_end (&f, 1, 0, 0);
    expect (&f, cases[i].error, cases[i].text);
  }
}

static void
test_hostile_blocks (void **state)
{
  static const uint32_t more[8] = { 1, 1, 1, 0, 3 };
  static const struct {
    uint32_t words[2]; /* codec, and 256 times the length */
    uint64_t count;
    size_t size;
    const char *text;
  } cases[] = {
    { { 3 | 20 << 8, 0 }, 2 * BLOCK, 28, NULL },
    { { 1 | BLOCK << 8, 3 | 1 << 8 }, 2 * BLOCK, 8 + BLOCK + 1, NULL },
    { { 3 | 20 << 8, 0 }, 2 * BLOCK, 27, "fill their range" },
    { { 3 | 20 << 8, 0 }, 2 * BLOCK, 29, "fill their range" },
    { { 3 | 20 << 8, 1 }, 2 * BLOCK, 28, "fill their range" },
    { { 0 | 20 << 8, 0 }, 2 * BLOCK, 28, "fill their range" },
    { { 3 | (BLOCK + 1) << 8, 0 }, 2 * BLOCK, 9 + BLOCK, "fill their range" },
    { { UINT32_MAX, UINT32_MAX }, 2 * BLOCK, 28, "fill their range" },
    { { 3 | 20 << 8, 0 }, 2 * BLOCK, 7, "fill their range" },
    { { 3 | 20 << 8, 0 }, BLOCK, 28, "fill their range" },
    { { 3 | 20 << 8, 0 }, 3 * BLOCK, 28, "impossible" },
  };
  unsigned char payload[4 * BLOCK] = { 0 };
  struct forgery f;

  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    for (size_t j = 0; j < 8; j++)
      payload[j] = cases[i].words[j / 4] >> j % 4 * 8;
    forge_begin_3 (&f, more, false);
    forge (&f, 7 | UINT64_C (1) << 32, 0, cases[i].count, cases[i].size,
           payload, cases[i].size);
    forge_end (&f, 2, cases[i].count, 0);
    expect (&f, EINVAL, cases[i].text);
  }
  /* Other versions have none. */
  forge_begin_2 (&f, false, 0);
  forge (&f, 7 | UINT64_C (1) << 32, 0, BLOCK, 4, payload, 4);
  expect (&f, ENOTSUP, "kind 7");
}

/* Give all records of the streams in BYTES checksums that are right, as far as
 * what they say leads to records.
 */
static void
seal (unsigned char *bytes, size_t size)
{
  uint64_t chained = 0, length, words[6];
  size_t at = 0;

  while (at + 24 <= size) {
    if (chained == 0) {
      chained = checksum_bytes (bytes + at, 24);
      at += 24;
      continue;
    }
    if (size - at < 48)
      return;
    memcpy (&length, bytes + at + 24, 8);
    length = le64toh (length);
    if (length > size - at - 48)
      return;
    words[0] = htole64 (checksum_bytes (bytes + at + 48, length));
    memcpy (bytes + at + 32, words, 8);
    words[0] = htole64 (chained);
    memcpy (words + 1, bytes + at, 40);
    chained = checksum_bytes (words, 48);
    words[0] = htole64 (chained);
    memcpy (bytes + at + 40, words, 8);
    if (bytes[at] == 4)
      chained = 0;
    at += 48 + length;
  }
}

/* Bytes changed at random in a sequence whose checksums then are right: it is
 * read or refused, and no more is believed than read_all looks at.
 */
static void
test_fuzzed (void **state)
{
  const unsigned seed = (unsigned)time (NULL);
  const int fd = make_file (), changed = make_file ();
  unsigned char *bytes, *copy;
  struct status status;
  size_t size, read = 0;

  (void)state;
  printf ("seed %u\n", seed);
  srandom (seed);
  write_part (fd, 1, 2);
  write_part (fd, 2, 2);
  size = lseek (fd, 0, SEEK_END);
  bytes = malloc (size);
  copy = malloc (size);
  assert_true (bytes && copy);
  assert_int_equal (pread (fd, bytes, size, 0), size);
  for (int i = 0; i < 20000; i++) {
    memcpy (copy, bytes, size);
    for (int j = random () % 4; j >= 0; j--)
      copy[random () % size] = random () % 2 ? random () : 0;
    seal (copy, size);
    set_file (changed, copy, random () % 8 ? size : random () % size);
    read += read_all (changed, &status) == 0;
  }
  assert_true (read > 0);
  free (copy);
  free (bytes);
  close (fd);
  close (changed);
}

/* What goes nowhere has as many bytes. */
static void
test_nowhere (void **state)
{
  struct stream_header begins = header;
  struct stream stream;
  struct status status;
  size_t size;

  (void)state;
  free (make_stream (&size));
  assert_ok (
      stream_begin (&stream, STREAM_NOWHERE, NULL, &begins, NULL, &status),
      &status);
  for (size_t i = 0; i < RANGES; i++)
    assert_ok (stream_write (&stream, &ranges[i], &status), &status);
  assert_ok (stream_end (&stream, &status), &status);
  assert_int_equal (stream.bytes, size);
  stream_close (&stream);
}

/* Signals: asked whether to go on, and the answer counts. */
static int
do_stop (void)
{
  return 1;
}

static void
ignore_signal (int signal)
{
  (void)signal;
}

static void
test_interrupted (void **state)
{
  const struct sigaction action = { .sa_handler = ignore_signal };
  struct status status;
  struct stream stream;
  int fds[2];

  (void)state;
  assert_int_equal (pipe (fds), 0);
  assert_int_equal (sigaction (SIGALRM, &action, NULL), 0);
  alarm (1);
  assert_fails (stream_open (&stream, fds[0], do_stop, &status), &status,
                ECANCELED, "reading the stream");
  stream_close (&stream);
  signal (SIGALRM, SIG_DFL);
  close (fds[0]);
  close (fds[1]);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_round_trip),
    unit_test (test_format),
    unit_test (test_large_data),
    unit_test (test_pipe),
    unit_test (test_each_bit),
    unit_test (test_each_end),
    unit_test (test_moved_records),
    unit_test (test_other_versions),
    unit_test (test_hostile_headers),
    unit_test (test_hostile_lengths),
    unit_test (test_hostile_ranges),
    unit_test (test_hostile_order),
    unit_test (test_interrupted),
    unit_test (test_optional),
    unit_test (test_hostile_properties),
    unit_test (test_hostile_features),
    unit_test (test_hostile_lists),
    unit_test (test_hostile_counts),
    unit_test (test_sequence),
    unit_test (test_parts),
    unit_test (test_sequence_damage),
    unit_test (test_hostile_sequences),
    unit_test (test_hostile_blocks),
    unit_test (test_nowhere),
    unit_test (test_fuzzed),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
