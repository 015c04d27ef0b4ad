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
#include <unistd.h>

#include "unit.h"

#include "block/checksum.h"
#include "stream.h"

#define BLOCK 512

/* XXH3 of the stream that make_stream makes. */
#define FORMAT_CHECKSUM UINT64_C (0x4f981ed8151af5a3)

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

/* A whole stream in a new buffer. */
static unsigned char *
make_stream (size_t *size)
{
  const int fd = make_file ();
  struct stream stream;
  struct status status;
  unsigned char *bytes;

  for (size_t i = 0; i < sizeof block; i++)
    block[i] = i * 7 + i / 256 + 1;
  assert_ok (stream_begin (&stream, fd, NULL, &header, &status), &status);
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

/* Read a stream from FD to its end.  Returns 0, or -1. */
static int
read_all (int fd, struct status *status)
{
  struct stream stream;
  struct stream_range range;
  int r = stream_open (&stream, fd, NULL, status);

  if (r == 0)
    while ((r = stream_read (&stream, &range, status)) == 1) {
      assert_true (range.count > 0 && range.offset < stream.header.size &&
                   range.count <= stream.header.size - range.offset);
      assert_true (!range.data || range.count <= STREAM_DATA_MAX);
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
  assert_ok (stream_begin (&stream, fd, NULL, &large, &status), &status);
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
test_each_bit (void **state)
{
  const int fd = make_file ();
  struct status status;
  unsigned char *bytes;
  size_t size;

  (void)state;
  bytes = make_stream (&size);
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
test_each_end (void **state)
{
  const int fd = make_file ();
  struct status status;
  unsigned char *bytes;
  size_t size;

  (void)state;
  bytes = make_stream (&size);
  for (size_t i = 0; i < size; i++) {
    set_file (fd, bytes, i);
    assert_int_equal (read_all (fd, &status), -1);
    assert_int_equal (status.error, EINVAL);
  }
  bytes[size] = '\0';
  set_file (fd, bytes, size + 1);
  assert_fails (read_all (fd, &status), &status, EINVAL, "follows its end");
  free (bytes);
  close (fd);
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
  unsigned char bytes[20000];
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
#define BEGIN  (1 | UINT64_C (1) << 32)
#define ZEROES UINT64_C (2)
#define DATA   (3 | UINT64_C (1) << 32)
#define END    (4 | UINT64_C (1) << 32)

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
  forge_preamble (&f, 2);
  expect (&f, ENOTSUP, "version 2");
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
    unit_test (test_round_trip),      unit_test (test_format),
    unit_test (test_large_data),      unit_test (test_pipe),
    unit_test (test_each_bit),        unit_test (test_each_end),
    unit_test (test_moved_records),   unit_test (test_other_versions),
    unit_test (test_hostile_headers), unit_test (test_hostile_lengths),
    unit_test (test_hostile_ranges),  unit_test (test_hostile_order),
    unit_test (test_interrupted),
  };

  return cmocka_run_group_tests (tests, NULL, NULL);
}
