/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Writing and reading streams: see stream.h. */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/packed.h"
#include "base/sane.h"
#include "block/checksum.h"
#include "base/count.h"
#include "stream.h"

#define MAGIC "sqlblock-stream\n"

struct preamble {
  char magic[16];
  uint32_t version;
  uint32_t zero;
};

enum kind {
  BEGIN = 1,
  ZEROES = 2,
  DATA = 3,
  END = 4,
  PROPERTY = 5,
  FEATURE = 6,
  BLOCKS = 7
};

enum payload_codec { PAYLOAD_NONE = 0, PAYLOAD_RAW = 1 };

struct head {
  uint32_t kind;
  uint8_t codec;
  uint8_t zero[3];
  uint64_t offset;
  uint64_t count;
  uint64_t length;
  uint64_t payload_checksum;
  uint64_t checksum;
};

/* The texts of BEGIN, in their order; the last is not in all. */
enum { DISK, DESCRIPTION, SNAPSHOT, BASE, TEXTS, BASE_DISK = TEXTS };

struct begin {
  uint64_t size;
  uint64_t block_size;
  uint64_t guid;
  uint64_t created;
  uint64_t base_guid;
  uint16_t lengths[TEXTS];
};

/* Behind it, from version 3 on. */
struct begin_more {
  uint32_t number, count, disks;
  uint32_t flags;
  uint32_t codec, level, deduplicate;
  uint32_t base_disk_length;
};

enum { FLAG_CLONE = 1, FLAG_RESUMED = 2 };

/* The key and the value stand behind it. */
struct property_head {
  uint32_t kind;
  uint16_t type;
  uint16_t key_length;
};

struct end {
  uint64_t records;
  uint64_t data;
  uint64_t zeroes;
};

_Static_assert(sizeof (struct preamble) == 24 && sizeof (struct head) == 48 &&
                   sizeof (struct begin) == 48 &&
                   sizeof (struct begin_more) == 32 &&
                   sizeof (struct end) == 24 &&
                   sizeof (struct property_head) == 8,
               "these have no gaps");

#define BEGIN_MAX                                                              \
  (sizeof (struct begin) + sizeof (struct begin_more) + 2 * DISK_NAME_MAX +    \
   DISK_DESCRIPTION_MAX + 2 * SNAPSHOT_NAME_MAX)
#define PROPERTY_RECORD_MAX                                                    \
  (sizeof (struct property_head) + PROPERTY_KEY_MAX + PROPERTY_VALUE_MAX)
#define FEATURE_RECORD_MAX (sizeof (uint64_t) + PROPERTY_KEY_MAX)

#define BLOCKS_MAX PACKED_ROOM (STREAM_DATA_MAX, DISK_BLOCK_SIZE_MIN)

/* As many PROPERTY and FEATURE can follow BEGIN. */
#define OPTIONAL_MAX (2 * PROPERTIES_MAX + FEATURES_MAX)

/* Where text I of a header lies, and the most bytes it may have. */
static char *
text_of (struct stream_header *header, int i, size_t *most)
{
  switch (i) {
  case DISK:
    *most = DISK_NAME_MAX;
    return header->disk;
  case DESCRIPTION:
    *most = DISK_DESCRIPTION_MAX;
    return header->description;
  case SNAPSHOT:
    *most = SNAPSHOT_NAME_MAX;
    return header->snapshot;
  case BASE:
    *most = SNAPSHOT_NAME_MAX;
    return header->base;
  default:
    *most = DISK_NAME_MAX;
    return header->base_disk;
  }
}

/* The checksum that HEAD should have; it becomes part of the next one. */
static uint64_t
head_checksum (const struct stream *stream, const struct head *head)
{
  unsigned char bytes[sizeof (uint64_t) + offsetof (struct head, checksum)];
  const uint64_t before = htole64 (stream->chained);

  memcpy (bytes, &before, sizeof before);
  memcpy (bytes + sizeof before, head, offsetof (struct head, checksum));
  return checksum_bytes (bytes, sizeof bytes);
}

static int
set_up (struct stream *stream, int fd, int (*interrupted) (void),
        struct status *status)
{
  *stream = (struct stream){
    .fd = fd,
    .interrupted = interrupted,
    .payload = malloc (BLOCKS_MAX),
  };
  if (stream->payload == NULL)
    return status_no_memory (status);
  return 0;
}

void
stream_close (struct stream *stream)
{
  free (stream->payload);
  stream->payload = NULL;
  optional_free (&stream->optional);
}

/* Is a call to be made again that a signal has interrupted? */
static bool
try_again (const struct stream *stream)
{
  return errno == EINTR && !(stream->interrupted && stream->interrupted ());
}

static int
fail_errno (const char *doing, struct status *status)
{
  if (errno == EINTR)
    return status_fail (status, ECANCELED, "%s the stream: interrupted", doing);
  return status_fail (status, errno, "%s the stream: %s", doing,
                      strerror (errno));
}

/*--------------------------------------------------------------------
 * Writing.
 */

static int
write_bytes (struct stream *stream, const void *data, size_t length,
             struct status *status)
{
  const char *bytes = data;
  ssize_t n;

  if (stream->fd == STREAM_NOWHERE) {
    stream->bytes += length;
    return 0;
  }
  while (length > 0) {
    n = write (stream->fd, bytes, length);
    if (n == -1 && try_again (stream))
      continue;
    if (n == -1)
      return fail_errno ("writing", status);
    bytes += n;
    length -= n;
    stream->bytes += n;
  }
  return 0;
}

/* Write a record: kind, codec and range are in HEAD, in this machine's byte
 * order, the rest is filled in.
 */
static int
write_record (struct stream *stream, const struct head *given,
              const void *payload, size_t length, struct status *status)
{
  struct head head = {
    .kind = htole32 (given->kind),
    .codec = given->codec,
    .offset = htole64 (given->offset),
    .count = htole64 (given->count),
    .length = htole64 (length),
  };

  if (stream->fd != STREAM_NOWHERE)
    head.payload_checksum = htole64 (checksum_bytes (payload, length));
  stream->chained = head_checksum (stream, &head);
  head.checksum = htole64 (stream->chained);
  stream->counts.records++;
  if (write_bytes (stream, &head, sizeof head, status) == -1)
    return -1;
  return write_bytes (stream, payload, length, status);
}

/* Add to BYTES, which have LENGTH, what only version 3 says, and the length of
 * the text that it adds.  Returns the new length.
 */
static size_t
add_more (const struct stream_header *header, unsigned char *bytes,
          size_t length)
{
  const struct begin_more more = {
    .number = htole32 (header->number),
    .count = htole32 (header->count),
    .disks = htole32 (header->disks),
    .flags = htole32 ((header->clone ? FLAG_CLONE : 0) |
                      (header->resumed ? FLAG_RESUMED : 0)),
    .codec = htole32 (header->storing.compression.codec),
    .level = htole32 (header->storing.compression.level),
    .deduplicate = htole32 (header->storing.deduplicate),
    .base_disk_length = htole32 (strlen (header->base_disk)),
  };

  memcpy (bytes + length, &more, sizeof more);
  return length + sizeof more;
}

static int
write_begin (struct stream *stream, uint64_t follow, struct status *status)
{
  struct stream_header *header = &stream->header;
  const int texts = stream->version < 3 ? TEXTS : TEXTS + 1;
  unsigned char bytes[BEGIN_MAX];
  struct begin begin = {
    .size = htole64 (header->size),
    .block_size = htole64 (header->block_size),
    .guid = htole64 (header->guid),
    .created = htole64 (header->created),
    .base_guid = htole64 (header->base_guid),
  };
  size_t length = sizeof begin, most;

  if (stream->version >= 3)
    length = add_more (header, bytes, length);
  for (int i = 0; i < texts; i++) {
    const char *text = text_of (header, i, &most);
    const size_t size = strlen (text);

    memcpy (bytes + length, text, size);
    if (i < TEXTS)
      begin.lengths[i] = htole16 (size);
    length += size;
  }
  memcpy (bytes, &begin, sizeof begin);
  return write_record (stream,
                       &(struct head){ .kind = BEGIN,
                                       .codec = PAYLOAD_RAW,
                                       .offset = header->resumed,
                                       .count = follow },
                       bytes, length, status);
}

static int
write_property (struct stream *stream, const struct property *property,
                struct status *status)
{
  const uint64_t integer = htole64 (property->integer);
  const bool is_integer = property->type == PROPERTY_INTEGER;
  const size_t key_length = strlen (property->key);
  const size_t length = is_integer ? sizeof integer : property->length;
  const struct property_head head = {
    .kind = htole32 (property->kind),
    .type = htole16 (property->type),
    .key_length = htole16 (key_length),
  };
  unsigned char *bytes = stream->payload;

  memcpy (bytes, &head, sizeof head);
  bytes += sizeof head;
  memcpy (bytes, property->key, key_length);
  bytes += key_length;
  if (length > 0)
    memcpy (bytes, is_integer ? (const void *)&integer : property->bytes,
            length);
  return write_record (
      stream, &(struct head){ .kind = PROPERTY, .codec = PAYLOAD_RAW },
      stream->payload, sizeof head + key_length + length, status);
}

static int
write_feature (struct stream *stream, const struct disk_feature *feature,
               struct status *status)
{
  const uint64_t class = htole64 (feature->class);
  const size_t length = strlen (feature->name);

  memcpy (stream->payload, &class, sizeof class);
  memcpy (stream->payload + sizeof class, feature->name, length);
  return write_record (stream,
                       &(struct head){ .kind = FEATURE, .codec = PAYLOAD_RAW },
                       stream->payload, sizeof class + length, status);
}

/* The lowest version that has all of it. */
static uint32_t
version_of (const struct stream_header *header, const struct optional *optional)
{
  if (header->clone || header->count > 0 || header->resumed > 0 ||
      header->storing.compression.codec != 0)
    return 3;
  return optional->property_count + optional->feature_count > 0 ? 2 : 1;
}

int
stream_begin (struct stream *stream, int fd, int (*interrupted) (void),
              const struct stream_header *header,
              const struct optional *optional, struct status *status)
{
  static const struct optional nothing = { 0 };
  struct preamble preamble;
  uint64_t follow;

  if (optional == NULL)
    optional = &nothing;
  follow = optional->property_count + optional->feature_count;
  if (set_up (stream, fd, interrupted, status) == -1)
    return -1;
  stream->header = *header;
  stream->version = version_of (header, optional);
  preamble = (struct preamble){ .version = htole32 (stream->version) };
  memcpy (preamble.magic, MAGIC, sizeof preamble.magic);
  stream->chained = checksum_bytes (&preamble, sizeof preamble);
  if (write_bytes (stream, &preamble, sizeof preamble, status) == -1 ||
      write_begin (stream, follow, status) == -1)
    return -1;
  for (size_t i = 0; i < optional->property_count; i++)
    if (write_property (stream, &optional->properties[i], status) == -1)
      return -1;
  for (size_t i = 0; i < optional->feature_count; i++)
    if (write_feature (stream, &optional->features[i], status) == -1)
      return -1;
  return 0;
}

int
stream_write (struct stream *stream, const struct stream_range *range,
              struct status *status)
{
  struct head head = {
    .kind = range->packed ? BLOCKS
            : range->data ? DATA
                          : ZEROES,
    .codec = range->data ? PAYLOAD_RAW : PAYLOAD_NONE,
    .offset = range->offset,
    .count = range->count,
  };
  const char *data = range->data;
  uint64_t left = range->count;

  if (range->packed) {
    stream->counts.data += range->count;
    return write_record (stream, &head, data, range->packed, status);
  }
  while (left > 0) {
    head.count = data && left > STREAM_DATA_MAX ? STREAM_DATA_MAX : left;
    if (write_record (stream, &head, data, data ? head.count : 0, status) == -1)
      return -1;
    *(data ? &stream->counts.data : &stream->counts.zeroes) += head.count;
    data = data ? data + head.count : NULL;
    head.offset += head.count;
    left -= head.count;
  }
  return 0;
}

int
stream_end (struct stream *stream, struct status *status)
{
  const struct end end = {
    .records = htole64 (stream->counts.records),
    .data = htole64 (stream->counts.data),
    .zeroes = htole64 (stream->counts.zeroes),
  };

  return write_record (stream,
                       &(struct head){ .kind = END, .codec = PAYLOAD_RAW },
                       &end, sizeof end, status);
}

/*--------------------------------------------------------------------
 * Reading.
 */

static int
fail_damaged (const struct stream *stream, const char *what,
              struct status *status)
{
  return status_fail (status, EINVAL,
                      "the stream is damaged near its byte %" PRIu64
                      " (%s); send it again",
                      stream->bytes, what);
}

/* How long nothing comes before that is told, in milliseconds. */
#define STALL 1000

/* Wait until something comes.  Returns 0, or -1 with errno set. */
static int
await_input (const struct stream *stream)
{
  struct pollfd input = { .fd = stream->fd, .events = POLLIN };
  int r = 1;

  while (stream->stalled && (r = poll (&input, 1, STALL)) == 0) {
    stream->stalled (stream->opaque);
    if (stream->interrupted && stream->interrupted ()) {
      errno = EINTR;
      return -1;
    }
  }
  return r == -1 ? -1 : 0;
}

/* Read at most LENGTH bytes, fewer only at the end.  Returns how many, or
 * -1.
 */
static ssize_t
read_some (struct stream *stream, void *buffer, size_t length,
           struct status *status)
{
  size_t got = 0;
  ssize_t n;

  while (got < length) {
    n = await_input (stream) == -1
            ? -1
            : read (stream->fd, (char *)buffer + got, length - got);
    if (n == 0)
      break;
    if (n == -1 && try_again (stream))
      continue;
    if (n == -1)
      return fail_errno ("reading", status);
    got += n;
  }
  stream->bytes += got;
  return got;
}

/* Read LENGTH bytes. */
static int
read_bytes (struct stream *stream, void *buffer, size_t length,
            struct status *status)
{
  const ssize_t got = read_some (stream, buffer, length, status);

  if (got == -1)
    return -1;
  if ((size_t)got < length)
    return status_fail (status, EINVAL,
                        "the stream ends too early, after %s; send it again",
                        COUNT (stream->bytes, "byte"));
  return 0;
}

/* The most bytes of payload that a record may have. */
static size_t
most_payload (uint32_t kind)
{
  switch (kind) {
  case BEGIN:
    return BEGIN_MAX;
  case DATA:
    return STREAM_DATA_MAX;
  case BLOCKS:
    return BLOCKS_MAX;
  case END:
    return sizeof (struct end);
  case PROPERTY:
    return PROPERTY_RECORD_MAX;
  case FEATURE:
    return FEATURE_RECORD_MAX;
  default:
    return 0;
  }
}

/* Check what the head of a record says by itself. */
static int
check_head (const struct stream *stream, const struct head *head,
            struct status *status)
{
  const uint32_t last = stream->version == 1   ? END
                        : stream->version == 2 ? FEATURE
                                               : BLOCKS;

  if (head->zero[0] || head->zero[1] || head->zero[2] || head->kind < BEGIN ||
      head->kind > last)
    return status_fail (status, ENOTSUP,
                        "the stream has a record of kind %" PRIu32
                        ", which this version does not know; use a newer one",
                        head->kind);
  if (head->codec > PAYLOAD_RAW)
    return status_fail (status, ENOTSUP,
                        "the stream is compressed (codec %d), which this "
                        "version cannot read; use a newer one",
                        head->codec);
  if ((head->codec == PAYLOAD_NONE) != (head->length == 0) ||
      (head->codec == PAYLOAD_NONE) != (head->kind == ZEROES) ||
      head->length > most_payload (head->kind))
    return fail_damaged (stream, "a record's length is impossible", status);
  return 0;
}

/* Read a record into HEAD, in this machine's byte order, and its payload
 * into stream->payload.  Nothing is believed before its checksum is right,
 * and no length even then.
 */
static int
read_record (struct stream *stream, struct head *head, struct status *status)
{
  if (read_bytes (stream, head, sizeof *head, status) == -1)
    return -1;
  stream->chained = head_checksum (stream, head);
  if (le64toh (head->checksum) != stream->chained)
    return fail_damaged (stream, "the checksum of a record does not match",
                         status);
  head->kind = le32toh (head->kind);
  head->offset = le64toh (head->offset);
  head->count = le64toh (head->count);
  head->length = le64toh (head->length);
  if (check_head (stream, head, status) == -1 ||
      read_bytes (stream, stream->payload, head->length, status) == -1)
    return -1;
  if (checksum_bytes (stream->payload, head->length) !=
      le64toh (head->payload_checksum))
    return fail_damaged (stream, "the checksum of data does not match", status);
  return 0;
}

/* Take the texts of BEGIN, which stand behind its numbers; BASE_DISK says how
 * long the last one is.
 */
static int
take_texts (struct stream *stream, const struct begin *begin,
            uint32_t base_disk, size_t length, struct status *status)
{
  const bool more = stream->version >= 3;
  size_t at = sizeof *begin + (more ? sizeof (struct begin_more) : 0), most;

  for (int i = 0; i < TEXTS + more; i++) {
    char *text = text_of (&stream->header, i, &most);
    const size_t size = i < TEXTS ? le16toh (begin->lengths[i]) : base_disk;

    if (size > most || size > length - at ||
        memchr (stream->payload + at, '\0', size))
      return fail_damaged (stream, "a name is impossible", status);
    memcpy (text, stream->payload + at, size);
    text[size] = '\0';
    at += size;
  }
  if (at != length)
    return fail_damaged (stream, "its header is too long", status);
  return 0;
}

/* Check that the header is one that a disk and a snapshot can have. */
static int
check_header (const struct stream *stream, struct status *status)
{
  const struct stream_header *header = &stream->header;
  const struct disk_options disk = {
    .name = header->disk,
    .description = header->description,
    .size = header->size,
    .block_size = header->block_size,
  };

  if (sane_check ("the name of a disk", header->disk, DISK_NAME_MAX, status) ==
          -1 ||
      sane_check_options (&disk, status) == -1 ||
      sane_check ("the name of a snapshot", header->snapshot, SNAPSHOT_NAME_MAX,
                  status) == -1 ||
      (header->base[0] && sane_check ("the name of a snapshot", header->base,
                                      SNAPSHOT_NAME_MAX, status) == -1) ||
      (header->clone && sane_check ("the name of a disk", header->base_disk,
                                    DISK_NAME_MAX, status) == -1))
    return status_prefix (status, "the stream");
  if (header->size == 0 || header->block_size == 0 || header->guid == 0 ||
      header->guid == header->base_guid ||
      (header->base_guid == 0) != (header->base[0] == '\0') ||
      header->clone != (header->base_disk[0] != '\0') ||
      (header->clone && header->base_guid == 0) ||
      header->number > header->count ||
      (header->number == 0) != (header->count == 0) ||
      (header->number == 0) != (header->disks == 0) ||
      header->disks > header->count || header->resumed > header->size ||
      (header->resumed % header->block_size && header->resumed != header->size))
    return fail_damaged (stream, "its header makes no sense", status);
  return 0;
}

/* Is A of KIND and KEY before B? */
static bool
is_before (const struct property *a, const struct property *b)
{
  return a->kind != b->kind ? a->kind < b->kind : strcmp (a->key, b->key) < 0;
}

/* Does the property, which is not in the list yet, fit what came before? */
static bool
property_fits (const struct stream *stream, const struct property *property)
{
  const struct optional *list = &stream->optional;
  const size_t count = list->property_count;

  return list->feature_count == 0 &&
         (property->kind == PROPERTY_SNAPSHOT ||
          (property->kind == PROPERTY_DISK &&
           (!stream->header.base_guid || stream->header.clone ||
            strcmp (property->key, PROPERTY_ENCRYPTION) == 0))) &&
         (count == 0 || is_before (&list->properties[count - 1], property)) &&
         (count < PROPERTIES_MAX ||
          list->properties[count - PROPERTIES_MAX].kind != property->kind);
}

/* Take a PROPERTY, of LENGTH bytes. */
static int
take_property (struct stream *stream, size_t length, struct status *status)
{
  struct property_head head;
  struct property property = { 0 };
  char key[PROPERTY_KEY_MAX + 1];
  size_t key_length;

  if (length < sizeof head)
    return fail_damaged (stream, "a property is too short", status);
  memcpy (&head, stream->payload, sizeof head);
  key_length = le16toh (head.key_length);
  length -= sizeof head;
  if (key_length > PROPERTY_KEY_MAX || key_length > length)
    return fail_damaged (stream, "the key of a property is impossible", status);
  memcpy (key, stream->payload + sizeof head, key_length);
  key[key_length] = '\0';
  property.kind = le32toh (head.kind);
  property.type = le16toh (head.type);
  property.key = key;
  property.bytes = (char *)stream->payload + sizeof head + key_length;
  property.length = length - key_length;
  if (strlen (key) != key_length || !sane_key (key) || optional_stays (key) ||
      !property_fits (stream, &property))
    return fail_damaged (stream, "a property does not belong there", status);
  if (property.type == PROPERTY_INTEGER &&
      property.length == sizeof (int64_t)) {
    memcpy (&property.integer, property.bytes, sizeof property.integer);
    property.integer = le64toh (property.integer);
    property.length = 0;
  }
  else if ((property.type != PROPERTY_TEXT &&
            property.type != PROPERTY_BYTES) ||
           property.length > PROPERTY_VALUE_MAX)
    return fail_damaged (stream, "the value of a property is impossible",
                         status);
  return optional_add_property (&stream->optional, &property, status);
}

/* Take a FEATURE, of LENGTH bytes. */
static int
take_feature (struct stream *stream, size_t length, struct status *status)
{
  const struct optional *list = &stream->optional;
  const size_t count = list->feature_count;
  char name[PROPERTY_KEY_MAX + 1];
  uint64_t class;

  if (length < sizeof class || count == FEATURES_MAX)
    return fail_damaged (stream, "a feature is impossible", status);
  memcpy (&class, stream->payload, sizeof class);
  length -= sizeof class;
  memcpy (name, stream->payload + sizeof class, length);
  name[length] = '\0';
  if (strlen (name) != length || !sane_key (name) ||
      (int64_t)le64toh (class) <= 0 ||
      (count > 0 && strcmp (list->features[count - 1].name, name) >= 0))
    return fail_damaged (stream, "a feature is impossible", status);
  return optional_add_feature (
      &stream->optional,
      &(struct disk_feature){ .name = name, .class = le64toh (class) }, status);
}

/* Read the PROPERTY and FEATURE that follow BEGIN, of which there are COUNT. */
static int
read_optional (struct stream *stream, uint64_t count, struct status *status)
{
  struct head head;
  int r = 0;

  if (count > OPTIONAL_MAX)
    return fail_damaged (stream, "it has too many properties", status);
  for (; r == 0 && count > 0; count--) {
    if (read_record (stream, &head, status) == -1)
      return -1;
    if (head.offset || head.count)
      return fail_damaged (stream, "a property has a range", status);
    stream->counts.records++;
    r = head.kind == PROPERTY ? take_property (stream, head.length, status)
        : head.kind == FEATURE
            ? take_feature (stream, head.length, status)
            : fail_damaged (stream, "properties are missing", status);
  }
  return r;
}

/* Take what only version 3 says, which is in the payload of LENGTH bytes;
 * OFFSET is that of the head.
 */
static int
take_more (struct stream *stream, struct begin_more *more, uint64_t offset,
           size_t length, struct status *status)
{
  struct stream_header *header = &stream->header;
  uint32_t flags;

  if (length < sizeof (struct begin) + sizeof *more)
    return fail_damaged (stream, "its header is missing", status);
  memcpy (more, stream->payload + sizeof (struct begin), sizeof *more);
  flags = le32toh (more->flags);
  if (flags & ~(FLAG_CLONE | FLAG_RESUMED))
    return status_fail (status, ENOTSUP,
                        "the stream uses something that this version does not "
                        "know (flags %" PRIu32 "); use a newer one",
                        flags);
  header->clone = flags & FLAG_CLONE;
  header->resumed = flags & FLAG_RESUMED ? offset : 0;
  if ((header->resumed == 0) != (offset == 0) ||
      (header->resumed == 0) != !(flags & FLAG_RESUMED))
    return fail_damaged (stream, "its header makes no sense", status);
  header->number = le32toh (more->number);
  header->count = le32toh (more->count);
  header->disks = le32toh (more->disks);
  header->storing.compression.codec = le32toh (more->codec);
  header->storing.compression.level = le32toh (more->level);
  header->storing.deduplicate = le32toh (more->deduplicate);
  more->base_disk_length = le32toh (more->base_disk_length);
  if (le32toh (more->codec) > INT32_MAX || le32toh (more->level) > INT32_MAX ||
      le32toh (more->deduplicate) > DISK_ON)
    return fail_damaged (stream, "its header makes no sense", status);
  return 0;
}

static int
read_begin (struct stream *stream, struct status *status)
{
  struct stream_header *header = &stream->header;
  struct begin_more more = { 0 };
  struct begin begin;
  struct head head;

  if (read_record (stream, &head, status) == -1)
    return -1;
  if (head.kind != BEGIN || (head.offset && stream->version < 3) ||
      (head.count && stream->version == 1) || head.length < sizeof begin)
    return fail_damaged (stream, "its header is missing", status);
  memcpy (&begin, stream->payload, sizeof begin);
  if (le64toh (begin.block_size) > DISK_BLOCK_SIZE_MAX)
    return fail_damaged (stream, "the block size is impossible", status);
  header->size = le64toh (begin.size);
  header->block_size = le64toh (begin.block_size);
  header->guid = le64toh (begin.guid);
  header->created = le64toh (begin.created);
  header->base_guid = le64toh (begin.base_guid);
  if ((stream->version >= 3 &&
       take_more (stream, &more, head.offset, head.length, status) == -1) ||
      take_texts (stream, &begin, more.base_disk_length, head.length, status) ==
          -1 ||
      check_header (stream, status) == -1)
    return -1;
  stream->counts.records++;
  stream->next = header->resumed;
  return read_optional (stream, head.count, status);
}

/* Say that it is no stream which begins with these GOT bytes. */
static int
fail_foreign (struct stream *stream, const struct preamble *preamble,
              size_t got, struct status *status)
{
  if (stream->begins > 0)
    return status_fail (status, EINVAL,
                        "something that is no stream follows the end of a "
                        "stream, from byte %" PRIu64 " on; what came before "
                        "that was complete",
                        stream->begins);
  stream->foreign_count =
      got < sizeof stream->foreign ? got : sizeof stream->foreign;
  memcpy (stream->foreign, preamble, stream->foreign_count);
  return status_fail (status, EINVAL, "this is not a stream of sqlblock send");
}

/* Take the first GOT bytes of a stream, and read the rest of its beginning. */
static int
take_preamble (struct stream *stream, const struct preamble *preamble,
               size_t got, struct status *status)
{
  const size_t least = stream->begins > 0 ? 1 : sizeof preamble->magic;
  const size_t known =
      got < sizeof preamble->magic ? got : sizeof preamble->magic;

  if (got < least || memcmp (preamble->magic, MAGIC, known) != 0)
    return fail_foreign (stream, preamble, got, status);
  stream->version = le32toh (preamble->version);
  if (got == sizeof *preamble && (stream->version < 1 || preamble->zero ||
                                  stream->version > STREAM_VERSION))
    return status_fail (status, ENOTSUP,
                        "the stream has version %" PRIu32 ", this program "
                        "knows only 1 to %d; use a newer one",
                        stream->version, STREAM_VERSION);
  if (got < sizeof *preamble)
    return fail_damaged (stream, "it ends in its first bytes", status);
  stream->chained = checksum_bytes (preamble, sizeof *preamble);
  return read_begin (stream, status);
}

int
stream_open (struct stream *stream, int fd, int (*interrupted) (void),
             struct status *status)
{
  struct preamble preamble = { .zero = 0 };
  ssize_t got;

  if (set_up (stream, fd, interrupted, status) == -1)
    return -1;
  got = read_some (stream, &preamble, sizeof preamble, status);
  if (got == -1)
    return -1;
  if (got == 0)
    return status_fail (status, EINVAL, "the stream is empty");
  return take_preamble (stream, &preamble, got, status);
}

/* Does the stream that follows BEFORE belong there? */
static int
check_follows (const struct stream *stream, const struct stream_header *before,
               struct status *status)
{
  const struct stream_header *header = &stream->header;
  const bool complete = before->number == before->count;

  if (complete ? header->number <= 1
               : header->number == before->number + 1 &&
                     header->count == before->count &&
                     header->disks == before->disks)
    return 0;
  return status_fail (status, EINVAL,
                      "part %" PRIu32 " of %" PRIu32 " is followed by part "
                      "%" PRIu32 " of %" PRIu32 ", so something is missing; "
                      "send it again",
                      before->number, before->count, header->number,
                      header->count);
}

int
stream_next (struct stream *stream, struct status *status)
{
  const struct stream_header before = stream->header;
  struct preamble preamble = { .zero = 0 };
  const uint64_t begins = stream->bytes;
  const ssize_t got = read_some (stream, &preamble, sizeof preamble, status);

  if (got == -1)
    return -1;
  if (got == 0 && before.number < before.count)
    return status_fail (status, EINVAL,
                        "the stream ends after part %" PRIu32 " of %" PRIu32
                        "; send the rest",
                        before.number, before.count);
  if (got == 0)
    return 0;
  optional_free (&stream->optional);
  stream->header = (struct stream_header){ .size = 0 };
  stream->counts = (struct stream_counts){ 0 };
  stream->next = 0;
  stream->ended = false;
  stream->begins = begins;
  if (take_preamble (stream, &preamble, got, status) == -1 ||
      check_follows (stream, &before, status) == -1)
    return -1;
  return 1;
}

/* Check the range of a ZEROES, DATA or BLOCKS record, and what is in it. */
static int
check_range (const struct stream *stream, const struct head *head,
             struct status *status)
{
  const uint64_t size = stream->header.size;
  const uint32_t block_size = stream->header.block_size;

  if (head->count == 0 || head->offset < stream->next || head->offset > size ||
      head->count > size - head->offset || head->offset % block_size ||
      ((head->offset + head->count) % block_size &&
       head->offset + head->count != size))
    return fail_damaged (stream, "a range is impossible", status);
  if (head->kind == DATA && head->length != head->count)
    return fail_damaged (stream, "data does not fill its range", status);
  if (head->kind == BLOCKS &&
      (head->count > STREAM_DATA_MAX ||
       !packed_fits (stream->payload, head->length,
                     (head->count - 1) / block_size + 1, block_size)))
    return fail_damaged (stream, "blocks do not fill their range", status);
  return 0;
}

/* Check the END record. */
static int
check_end (struct stream *stream, const struct head *head,
           struct status *status)
{
  struct end end;

  if (head->length != sizeof end || head->offset || head->count)
    return fail_damaged (stream, "its end is impossible", status);
  memcpy (&end, stream->payload, sizeof end);
  if (le64toh (end.records) != stream->counts.records ||
      le64toh (end.data) != stream->counts.data ||
      le64toh (end.zeroes) != stream->counts.zeroes)
    return fail_damaged (stream, "what its end counts is not there", status);
  stream->ended = true;
  return 0;
}

int
stream_read (struct stream *stream, struct stream_range *range,
             struct status *status)
{
  struct head head;

  if (stream->ended)
    return 0;
  if (read_record (stream, &head, status) == -1)
    return -1;
  if (head.kind == END)
    return check_end (stream, &head, status);
  if (head.kind == BEGIN)
    return fail_damaged (stream, "it begins twice", status);
  if (head.kind != ZEROES && head.kind != DATA && head.kind != BLOCKS)
    return fail_damaged (stream, "a property comes too late", status);
  if (check_range (stream, &head, status) == -1)
    return -1;
  stream->next = head.offset + head.count;
  stream->counts.records++;
  *(head.kind == ZEROES ? &stream->counts.zeroes : &stream->counts.data) +=
      head.count;
  *range = (struct stream_range){
    .offset = head.offset,
    .count = head.count,
    .data = head.kind == ZEROES ? NULL : stream->payload,
    .packed = head.kind == BLOCKS ? head.length : 0,
  };
  return 1;
}
