/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Values as JSON: see message.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "base/types.h"
#include "block/codec.h"
#include "engine/message.h"

/* What a number in JSON may be for everybody to read it exactly. */
#define NUMBER_MAX (INT64_C (1) << 53)

/* At most this many are in a list that is read. */
#define LIST_MAX 10000000

/* That of a disk which only another program can use may be any. */
static const struct field stored_compression[] = {
  FIELD (struct compression, codec, "codec", UNSIGNED),
  FIELD (struct compression, level, "level", SIGNED),
  FIELD_END,
};

const struct field message_disk_info[] = {
  FIELD (struct disk_info, id, "id", SIGNED),
  FIELD (struct disk_info, name, "name", CHARS),
  FIELD (struct disk_info, description, "description", CHARS),
  FIELD (struct disk_info, size, "size", UNSIGNED),
  FIELD (struct disk_info, block_size, "block_size", UNSIGNED),
  FIELD_OF (struct disk_info, storing.compression, "compression",
            stored_compression),
  FIELD (struct disk_info, storing.deduplicate, "dedup", CHOICE),
  FIELD (struct disk_info, epoch, "epoch", SIGNED),
  FIELD (struct disk_info, created, "created", SIGNED),
  FIELD (struct disk_info, quota, "quota", UNSIGNED),
  FIELD (struct disk_info, access, "access", UNSIGNED),
  FIELD_MAY (struct disk_info, encrypted, "encrypted", BOOL),
  FIELD (struct disk_info, snapshot, "snapshot", SIGNED),
  FIELD_END,
};

const struct field message_snapshot_info[] = {
  FIELD (struct snapshot_info, id, "id", SIGNED),
  FIELD (struct snapshot_info, disk, "disk", SIGNED),
  FIELD (struct snapshot_info, disk_name, "disk_name", CHARS),
  FIELD (struct snapshot_info, name, "name", CHARS),
  FIELD (struct snapshot_info, guid, "guid", SIGNED),
  FIELD (struct snapshot_info, size, "size", UNSIGNED),
  FIELD (struct snapshot_info, block_size, "block_size", UNSIGNED),
  FIELD (struct snapshot_info, created, "created", SIGNED),
  FIELD (struct snapshot_info, automatic, "automatic", BOOL),
  FIELD (struct snapshot_info, access, "access", UNSIGNED),
  FIELD (struct snapshot_info, layer, "layer", SIGNED),
  FIELD (struct snapshot_info, generation, "generation", SIGNED),
  FIELD_END,
};

const struct field message_range[] = {
  FIELD (struct message_range, offset, "offset", UNSIGNED),
  FIELD (struct message_range, length, "length", UNSIGNED),
  FIELD (struct message_range, hole, "hole", BOOL),
  FIELD_END,
};

/*--------------------------------------------------------------------
 * Memory.
 */

void
message_memory_free (struct message_memory *memory)
{
  for (size_t i = 0; i < memory->count; i++)
    free (memory->blocks[i]);
  free (memory->blocks);
  *memory = (struct message_memory){ 0 };
}

int
message_keep (struct message_memory *memory, void *block, struct status *status)
{
  void **blocks = grow (memory->blocks, memory->count, sizeof *blocks);

  if (blocks == NULL) {
    free (block);
    return status_no_memory (status);
  }
  memory->blocks = blocks;
  blocks[memory->count++] = block;
  return 0;
}

/* COUNT times SIZE bytes of zeroes, which go with MEMORY. */
static void *
allocate (struct message_memory *memory, size_t count, size_t size,
          struct status *status)
{
  void *block = calloc (count ? count : 1, size);

  if (block == NULL)
    status_no_memory (status);
  else if (message_keep (memory, block, status) == 0)
    return block;
  return NULL;
}

/*--------------------------------------------------------------------
 * Lists of names: "target name description?".
 */

/* The next name in NAMES, which goes on behind it; *LENGTH is 0 at the end. */
static const char *
next_name (const char **names, size_t *length, bool *may_be_missing)
{
  const char *name = *names + strspn (*names, " ");

  *length = strcspn (name, " ");
  *names = name + *length;
  *may_be_missing = *length > 0 && name[*length - 1] == '?';
  *length -= *may_be_missing;
  return name;
}

/* The field of that name.  It is a fault of the tables if there is none. */
static const struct field *
find_field (const struct field *fields, const char *name, size_t length)
{
  while (fields->size != 0 && (strncmp (fields->name, name, length) != 0 ||
                               fields->name[length] != '\0'))
    fields++;
  if (fields->size == 0)
    abort ();
  return fields;
}

/*--------------------------------------------------------------------
 * Writing.
 */

static json_t *write_value (const struct field *field, const void *values);

/* Bytes as a string, or in hex. */
static json_t *
write_bytes (const char *bytes, size_t length)
{
  json_t *string = memchr (bytes, '\0', length) == NULL
                       ? json_stringn (bytes, length)
                       : NULL;
  char *hex;

  if (string)
    return string;
  hex = malloc (2 * length + 1);
  if (hex == NULL)
    return NULL;
  hex[0] = '\0';
  for (size_t i = 0; i < length; i++)
    sprintf (hex + 2 * i, "%02x", (unsigned char)bytes[i]);
  string = json_pack ("{s:s}", "hex", hex);
  free (hex);
  return string;
}

static json_t *
write_signed (int64_t value)
{
  char digits[24];

  if (value >= -NUMBER_MAX && value <= NUMBER_MAX)
    return json_integer (value);
  snprintf (digits, sizeof digits, "%" PRId64, value);
  return json_string (digits);
}

static json_t *
write_unsigned (uint64_t value)
{
  char digits[24];

  if (value <= NUMBER_MAX)
    return json_integer (value);
  snprintf (digits, sizeof digits, "%" PRIu64, value);
  return json_string (digits);
}

/* The struct VALUES of all FIELDS. */
static json_t *
write_struct (const struct field *fields, const void *values)
{
  json_t *object;

  if (fields->name == NULL)
    return write_value (fields, values);
  object = json_object ();
  for (; object && fields->size != 0; fields++)
    if (json_object_set_new (object, fields->name,
                             write_value (fields, values)) == -1) {
      json_decref (object);
      object = NULL;
    }
  return object;
}

static json_t *
write_list (const struct field *field, const char *items, size_t count)
{
  json_t *list = json_array ();

  for (size_t i = 0; list && i < count; i++)
    if (json_array_append_new (
            list, write_struct (field->fields, items + i * field->size)) ==
        -1) {
      json_decref (list);
      list = NULL;
    }
  return list;
}

static json_t *
write_compression (const struct compression *compression)
{
  char text[COMPRESSION_TEXT];

  if (compression->codec == 0)
    return json_null ();
  compression_print (compression, text);
  return json_string (text);
}

/* How many the list, or the bytes, of a field are. */
static size_t
count_of (const struct field *field, const void *values)
{
  return *(const size_t *)((const char *)values + field->count);
}

static json_t *
write_value (const struct field *field, const void *values)
{
  const char *const member = (const char *)values + field->offset;
  const void *pointer;

  switch (field->kind) {
  case FIELD_TEXT:
  case FIELD_MAYBE:
    pointer = *(const void *const *)member;
    return pointer ? write_bytes (pointer, strlen (pointer)) : json_null ();
  case FIELD_CHARS:
    return write_bytes (member, strnlen (member, field->size));
  case FIELD_BYTES:
    pointer = *(const void *const *)member;
    return write_bytes (pointer ? pointer : "", count_of (field, values));
  case FIELD_UNSIGNED:
    return field->size == 4 ? write_unsigned (*(const uint32_t *)member)
                            : write_unsigned (*(const uint64_t *)member);
  case FIELD_SIGNED:
    return field->size == 4 ? write_signed (*(const int32_t *)member)
                            : write_signed (*(const int64_t *)member);
  case FIELD_BOOL:
    return json_boolean (*(const bool *)member);
  case FIELD_CHOICE:
    return *(const enum disk_choice *)member == DISK_UNSAID
               ? json_null ()
               : json_boolean (*(const enum disk_choice *)member == DISK_ON);
  case FIELD_COMPRESSION:
    return write_compression ((const struct compression *)member);
  case FIELD_STRUCT:
    return write_struct (field->fields, member);
  case FIELD_LIST:
    return write_list (field, *(const void *const *)member,
                       count_of (field, values));
  case FIELD_ARRAY:
    return write_list (field, member, count_of (field, values));
  }
  abort ();
}

json_t *
message_write (const struct field *fields, const char *names,
               const void *values)
{
  json_t *object = json_object ();
  const struct field *field;
  const char *name;
  size_t length;
  bool may_be_missing;

  while (object) {
    name = next_name (&names, &length, &may_be_missing);
    if (length == 0)
      return object;
    field = find_field (fields, name, length);
    if (json_object_set_new (object, field->name,
                             write_value (field, values)) == -1) {
      json_decref (object);
      object = NULL;
    }
  }
  return NULL;
}

/*--------------------------------------------------------------------
 * Reading.
 */

static int read_value (const struct field *field, const json_t *json,
                       void *values, struct message_memory *memory,
                       struct status *status);

static int
fail_kind (const char *wanted, struct status *status)
{
  return status_fail (status, EINVAL, "is not %s", wanted);
}

static int
hex_digit (char digit)
{
  static const char digits[] = "0123456789abcdef";
  const char *found = digit ? strchr (digits, digit) : NULL;

  return found ? (int)(found - digits) : -1;
}

/* Read what is in hex. */
static int
read_hex (const json_t *json, const char **bytes, size_t *length,
          struct message_memory *memory, struct status *status)
{
  const char *hex = json_string_value (json);
  char *result;

  *length = json_string_length (json) / 2;
  if (hex == NULL || json_string_length (json) % 2 != 0)
    return fail_kind ("a text", status);
  result = allocate (memory, *length + 1, 1, status);
  if (result == NULL)
    return -1;
  for (size_t i = 0; i < *length; i++) {
    const int high = hex_digit (hex[2 * i]), low = hex_digit (hex[2 * i + 1]);

    if (high == -1 || low == -1)
      return fail_kind ("a text", status);
    result[i] = high << 4 | low;
  }
  *bytes = result;
  return 0;
}

/* Read bytes, behind which there is a NUL. */
static int
read_bytes (const json_t *json, const char **bytes, size_t *length,
            struct message_memory *memory, struct status *status)
{
  if (json_is_object (json) && json_object_size (json) == 1)
    return read_hex (json_object_get (json, "hex"), bytes, length, memory,
                     status);
  if (!json_is_string (json))
    return fail_kind ("a text", status);
  *bytes = json_string_value (json);
  *length = json_string_length (json);
  return 0;
}

/* The same for what has no NUL. */
static int
read_text (const json_t *json, const char **text, size_t *length,
           struct message_memory *memory, struct status *status)
{
  if (read_bytes (json, text, length, memory, status) == -1)
    return -1;
  return strlen (*text) == *length ? 0 : fail_kind ("a text", status);
}

/* Is it all digits, with a "-" before them where SIGN says so? */
static bool
is_number (const char *text, bool sign)
{
  text += sign && *text == '-';
  return *text && strspn (text, "0123456789") == strlen (text);
}

static int
read_unsigned (const json_t *json, uint64_t most, uint64_t *value,
               struct status *status)
{
  const char *text = json_string_value (json);

  errno = 0;
  if (json_is_integer (json) && json_integer_value (json) >= 0)
    *value = json_integer_value (json);
  else if (text && is_number (text, false))
    *value = strtoull (text, NULL, 10);
  else
    return fail_kind ("a number", status);
  return errno == 0 && *value <= most ? 0 : fail_kind ("in its range", status);
}

static int
read_signed (const json_t *json, int64_t most, int64_t *value,
             struct status *status)
{
  const char *text = json_string_value (json);

  errno = 0;
  if (json_is_integer (json))
    *value = json_integer_value (json);
  else if (text && is_number (text, true))
    *value = strtoll (text, NULL, 10);
  else
    return fail_kind ("a number", status);
  return errno == 0 && *value <= most && *value >= -most - 1
             ? 0
             : fail_kind ("in its range", status);
}

/* Read a number into a MEMBER of SIZE bytes. */
static int
read_number (const struct field *field, const json_t *json, void *member,
             struct status *status)
{
  const bool is_short = field->size == 4;
  uint64_t number = 0;
  int64_t value = 0;

  if (field->kind == FIELD_UNSIGNED) {
    if (read_unsigned (json, is_short ? UINT32_MAX : UINT64_MAX, &number,
                       status) == -1)
      return -1;
    if (is_short)
      *(uint32_t *)member = number;
    else
      *(uint64_t *)member = number;
    return 0;
  }
  if (read_signed (json, is_short ? INT32_MAX : INT64_MAX, &value, status) ==
      -1)
    return -1;
  if (is_short)
    *(int32_t *)member = value;
  else
    *(int64_t *)member = value;
  return 0;
}

/* Read all FIELDS of a struct. */
static int
read_struct (const struct field *fields, const json_t *json, void *values,
             struct message_memory *memory, struct status *status)
{
  if (fields->name == NULL)
    return read_value (fields, json, values, memory, status);
  if (!json_is_object (json))
    return fail_kind ("an object", status);
  for (; fields->size != 0; fields++)
    if (read_value (fields, json_object_get (json, fields->name), values,
                    memory, status) == -1)
      return status_prefix (status, "%s", fields->name);
  return 0;
}

/* Read the items of a list into ITEMS, which has room for them. */
static int
read_items (const struct field *field, const json_t *json, char *items,
            struct message_memory *memory, struct status *status)
{
  const size_t count = json_array_size (json);

  for (size_t i = 0; i < count; i++)
    if (read_struct (field->fields, json_array_get (json, i),
                     items + i * field->size, memory, status) == -1)
      return -1;
  return 0;
}

static int
read_list (const struct field *field, const json_t *json, void *values,
           struct message_memory *memory, struct status *status)
{
  char *const member = (char *)values + field->offset;
  const size_t count = json_array_size (json);
  const bool is_list = field->kind == FIELD_LIST;
  char *items = member;

  if (!json_is_array (json))
    return fail_kind ("a list", status);
  if (count > (is_list ? LIST_MAX : field->most))
    return status_fail (status, EINVAL, "is too long");
  if (is_list)
    items = allocate (memory, count, field->size, status);
  if (items == NULL || read_items (field, json, items, memory, status) == -1)
    return -1;
  if (is_list)
    *(void **)member = items;
  *(size_t *)((char *)values + field->count) = count;
  return 0;
}

static int
read_chars (const struct field *field, const json_t *json, char *chars,
            struct message_memory *memory, struct status *status)
{
  const char *text;
  size_t length;

  if (read_text (json, &text, &length, memory, status) == -1)
    return -1;
  if (length >= field->size)
    return status_fail (status, EINVAL, "is too long");
  memcpy (chars, text, length + 1);
  return 0;
}

static int
read_compression (const json_t *json, struct compression *compression,
                  struct status *status)
{
  const char *text = json_string_value (json);

  if (json_is_null (json))
    return 0;
  return text ? compression_parse (text, compression, status)
              : fail_kind ("a compression", status);
}

static int
read_value (const struct field *field, const json_t *json, void *values,
            struct message_memory *memory, struct status *status)
{
  char *const member = (char *)values + field->offset;
  size_t length;

  if (json == NULL)
    return field->may_be_missing ? 0
                                 : status_fail (status, EINVAL, "is missing");
  switch (field->kind) {
  case FIELD_MAYBE:
    if (json_is_null (json))
      return 0;
    /* Fall through. */
  case FIELD_TEXT:
    return read_text (json, (const char **)member, &length, memory, status);
  case FIELD_CHARS:
    return read_chars (field, json, member, memory, status);
  case FIELD_BYTES:
    return read_bytes (json, (const char **)member,
                       (size_t *)((char *)values + field->count), memory,
                       status);
  case FIELD_UNSIGNED:
  case FIELD_SIGNED:
    return read_number (field, json, member, status);
  case FIELD_BOOL:
    *(bool *)member = json_is_true (json);
    return json_is_boolean (json) ? 0 : fail_kind ("true or false", status);
  case FIELD_CHOICE:
    *(enum disk_choice *)member = json_is_true (json)    ? DISK_ON
                                  : json_is_false (json) ? DISK_OFF
                                                         : DISK_UNSAID;
    return json_is_boolean (json) || json_is_null (json)
               ? 0
               : fail_kind ("true, false or null", status);
  case FIELD_COMPRESSION:
    return read_compression (json, (struct compression *)member, status);
  case FIELD_STRUCT:
    return read_struct (field->fields, json, member, memory, status);
  case FIELD_LIST:
  case FIELD_ARRAY:
    return read_list (field, json, values, memory, status);
  }
  abort ();
}

int
message_read (const struct field *fields, const char *names, bool strict,
              const json_t *json, void *values, struct message_memory *memory,
              struct status *status)
{
  const struct field *field;
  size_t length, known = 0;
  const json_t *value;
  bool may_be_missing;
  const char *name;

  for (;;) {
    name = next_name (&names, &length, &may_be_missing);
    if (length == 0)
      break;
    field = find_field (fields, name, length);
    value = json_object_get (json, field->name);
    known += value != NULL;
    if (may_be_missing && (value == NULL || json_is_null (value)))
      continue;
    if (read_value (field, value, values, memory, status) == -1)
      return status_prefix (status, "%s", field->name);
  }
  if (strict && known != json_object_size (json))
    return status_fail (status, EINVAL,
                        "something was said that this does not know");
  return 0;
}

/*--------------------------------------------------------------------
 * Failures.
 */

/* The same number need not mean the same to a program that was built for
 * another system, or for people.
 */
#define ERROR(name)                                                            \
  {                                                                            \
    name, #name                                                                \
  }
static const struct error {
  int number;
  const char *name;
} errors[] = {
  ERROR (E2BIG),        ERROR (EACCES),  ERROR (EADDRINUSE), ERROR (EAGAIN),
  ERROR (EBADF),        ERROR (EBUSY),   ERROR (ECANCELED),  ERROR (ECONNRESET),
  ERROR (EDQUOT),       ERROR (EEXIST),  ERROR (EFBIG),      ERROR (EINTR),
  ERROR (EINVAL),       ERROR (EIO),     ERROR (EISDIR),     ERROR (ELOOP),
  ERROR (EMFILE),       ERROR (ENFILE),  ERROR (ENODEV),     ERROR (ENOENT),
  ERROR (ENAMETOOLONG), ERROR (ENOMEM),  ERROR (ENOSPC),     ERROR (ENOTDIR),
  ERROR (ENOTEMPTY),    ERROR (ENOTSUP), ERROR (ENXIO),      ERROR (EOVERFLOW),
  ERROR (EPERM),        ERROR (EPIPE),   ERROR (EROFS),      ERROR (ESHUTDOWN),
  ERROR (EXDEV),        ERROR (ESTALE),  ERROR (ETIMEDOUT)
};

#define ERRORS (sizeof errors / sizeof errors[0])

json_t *
message_write_status (const struct status *status)
{
  json_t *message = write_bytes (status->message, strlen (status->message));
  size_t i = 0;

  while (i < ERRORS && errors[i].number != status->error)
    i++;
  return json_pack ("{s:o, s:o, s:i, s:b, s:b}", "errno",
                    i < ERRORS ? json_string (errors[i].name)
                               : json_integer (status->error),
                    "message", message, "sqlite", status->sqlite, "known",
                    status->known, "changed", status->changed);
}

void
message_read_status (const json_t *json, struct status *status)
{
  const json_t *error = json_object_get (json, "errno");
  const char *name = json_string_value (error);
  struct message_memory memory = { 0 };
  const char *message = "the server has failed, and does not say why";
  struct status ignored;
  size_t i = 0, length;

  read_text (json_object_get (json, "message"), &message, &length, &memory,
             &ignored);
  while (name && i < ERRORS && strcmp (errors[i].name, name) != 0)
    i++;
  status_fail (status,
               name == NULL && json_integer_value (error) > 0
                   ? (int)json_integer_value (error)
               : name && i < ERRORS ? errors[i].number
                                    : EIO,
               "%s", message);
  status->sqlite = json_integer_value (json_object_get (json, "sqlite"));
  status->known = json_is_true (json_object_get (json, "known"));
  status->changed = json_is_true (json_object_get (json, "changed"));
  message_memory_free (&memory);
}
