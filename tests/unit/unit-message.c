/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Values of calls as JSON: what was written is read, exactly, and nothing else
 * is believed.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "engine/message.h"

struct inner {
  char name[8];
  const char *bytes;
  size_t length;
};

struct values {
  const char *text, *maybe;
  uint64_t number;
  int64_t sign;
  uint32_t small;
  int32_t less;
  bool flag;
  enum disk_choice choice;
  struct compression compression;
  struct inner inner;
  const struct inner *list;
  size_t list_count;
  struct inner array[2];
  size_t array_count;
};

static const struct field inner_fields[] = {
  FIELD (struct inner, name, "name", CHARS),
  FIELD_BYTES_OF (struct inner, bytes, length, "bytes"),
  FIELD_END,
};

static const struct field fields[] = {
  FIELD (struct values, text, "text", TEXT),
  FIELD (struct values, maybe, "maybe", MAYBE),
  FIELD (struct values, number, "number", UNSIGNED),
  FIELD (struct values, sign, "sign", SIGNED),
  FIELD (struct values, small, "small", UNSIGNED),
  FIELD (struct values, less, "less", SIGNED),
  FIELD (struct values, flag, "flag", BOOL),
  FIELD (struct values, choice, "choice", CHOICE),
  FIELD (struct values, compression, "compression", COMPRESSION),
  FIELD_OF (struct values, inner, "inner", inner_fields),
  FIELD_LIST_OF (struct values, list, list_count, "list", inner_fields),
  FIELD_ARRAY_OF (struct values, array, array_count, "array", inner_fields),
  FIELD_END,
};

#define ALL                                                                    \
  "text maybe number sign small less flag choice compression inner list array"

/* Write VALUES, and read that into another one, through a line of text. */
static void
pass (const struct values *values, struct values *other, json_t **json,
      struct message_memory *memory)
{
  json_t *written = message_write (fields, ALL, values);
  char *line = json_dumps (written, JSON_COMPACT);
  struct status status;

  assert_non_null (line);
  *json = json_loads (line, 0, NULL);
  *other = (struct values){ 0 };
  assert_ok (message_read (fields, ALL, true, *json, other, memory, &status),
             &status);
  json_decref (written);
  free (line);
}

static void
test_exact (void **state)
{
  static const uint64_t numbers[] = { 0,
                                      1,
                                      UINT64_C (1) << 53,
                                      (UINT64_C (1) << 53) + 1,
                                      INT64_MAX,
                                      (uint64_t)INT64_MAX + 1,
                                      UINT64_MAX };
  static const char *const texts[] = { "",         "web",      "J\xc3\xbcrgen",
                                       "\xff\xfe", "a\nb\"\\", "\xc3" };
  struct message_memory memory = { 0 };
  struct values other;
  json_t *json;

  (void)state;
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    const struct values values = {
      .text = texts[i % 6],
      .maybe = i % 2 ? texts[i % 6] : NULL,
      .number = numbers[i],
      .sign = (int64_t)(0 - numbers[i]),
      .small = (uint32_t)numbers[i],
      .less = i % 2 ? INT32_MIN : INT32_MAX,
      .flag = i % 2,
      .choice = i % 3,
    };

    pass (&values, &other, &json, &memory);
    assert_string_equal (other.text, values.text);
    assert_int_equal (other.maybe != NULL, values.maybe != NULL);
    if (values.maybe)
      assert_string_equal (other.maybe, values.maybe);
    assert_true (other.number == values.number);
    assert_true (other.sign == values.sign);
    assert_int_equal (other.small, values.small);
    assert_int_equal (other.less, values.less);
    assert_int_equal (other.flag, values.flag);
    assert_int_equal (other.choice, values.choice);
    assert_int_equal (other.compression.codec, 0);
    json_decref (json);
  }
  message_memory_free (&memory);
}

static void
test_structs (void **state)
{
  static const struct inner list[] = { { "one", "a\0b", 3 },
                                       { "two", NULL, 0 },
                                       { "1234567", "\xff", 1 } };
  const struct values values = {
    .text = "",
    .inner = list[0],
    .list = list,
    .list_count = 3,
    .array = { list[1], list[2] },
    .array_count = 2,
    .compression = { CODEC_RAW, 0 },
  };
  struct message_memory memory = { 0 };
  struct values other;
  json_t *json;

  (void)state;
  pass (&values, &other, &json, &memory);
  assert_string_equal (other.inner.name, "one");
  assert_int_equal (other.inner.length, 3);
  assert_memory_equal (other.inner.bytes, "a\0b", 3);
  assert_int_equal (other.list_count, 3);
  assert_string_equal (other.list[2].name, "1234567");
  assert_int_equal (other.list[1].length, 0);
  assert_int_equal (other.array_count, 2);
  assert_memory_equal (other.array[1].bytes, "\xff", 1);
  assert_int_equal (other.compression.codec, CODEC_RAW);
  json_decref (json);
  message_memory_free (&memory);
}

/* Is TEXT refused as a value of NAME? */
static void
refused (const char *name, const char *text)
{
  struct message_memory memory = { 0 };
  struct values values = { 0 };
  struct status status;
  json_t *object = json_object ();
  json_error_t error;

  json_object_set_new (object, name,
                       json_loads (text, JSON_DECODE_ANY, &error));
  assert_non_null (json_object_get (object, name));
  assert_fails (
      message_read (fields, name, true, object, &values, &memory, &status),
      &status, EINVAL, name);
  json_decref (object);
  message_memory_free (&memory);
}

static void
test_refused (void **state)
{
  struct message_memory memory = { 0 };
  struct values values = { 0 };
  struct status status;
  json_t *object;

  (void)state;
  refused ("text", "null");
  refused ("text", "7");
  refused ("text", "{\"hex\": \"0\"}");
  refused ("text", "{\"hex\": \"0g\"}");
  refused ("text", "{\"hex\": \"610062\"}");
  refused ("number", "-1");
  refused ("number", "1.0");
  refused ("number", "\"18446744073709551616\"");
  refused ("number", "\" 1\"");
  refused ("number", "\"\"");
  refused ("sign", "\"9223372036854775808\"");
  refused ("sign", "\"-\"");
  refused ("small", "4294967296");
  refused ("less", "2147483648");
  refused ("less", "-2147483649");
  refused ("flag", "1");
  refused ("choice", "0");
  refused ("compression", "\"best\"");
  refused ("inner", "{\"name\": \"12345678\", \"bytes\": \"\"}");
  refused ("inner", "{\"name\": \"1234567\"}");
  refused ("inner", "[]");
  refused ("list", "{}");
  refused ("list", "[7]");
  refused ("array", "[{\"name\": \"\", \"bytes\": \"\"},"
                    " {\"name\": \"\", \"bytes\": \"\"},"
                    " {\"name\": \"\", \"bytes\": \"\"}]");
  object = json_pack ("{s:s, s:s}", "text", "a", "other", "b");
  assert_fails (
      message_read (fields, "text", true, object, &values, &memory, &status),
      &status, EINVAL, "does not know");
  assert_ok (
      message_read (fields, "text", false, object, &values, &memory, &status),
      &status);
  assert_fails (
      message_read (fields, "flag", false, object, &values, &memory, &status),
      &status, EINVAL, "flag: is missing");
  assert_ok (
      message_read (fields, "flag?", false, object, &values, &memory, &status),
      &status);
  json_decref (object);
  message_memory_free (&memory);
}

/* All that a failure says arrives. */
static void
test_status (void **state)
{
  static const int known[] = { ENOENT, EEXIST, EBUSY,     EIO,      ENOSPC,
                               EROFS,  EINVAL, ENOTEMPTY, ECANCELED };
  struct status status, other;
  json_t *json;

  (void)state;
  for (int error = 1; error < 134; error++) {
    status_fail (&status, error, "disk '\xff': %d", error);
    status.sqlite = 11;
    status.changed = error % 2;
    status.known = error % 3 == 0;
    json = message_write_status (&status);
    assert_non_null (json);
    message_read_status (json, &other);
    assert_int_equal (other.error, error);
    assert_int_equal (other.sqlite, 11);
    assert_int_equal (other.changed, status.changed);
    assert_int_equal (other.known, status.known);
    assert_string_equal (other.message, status.message);
    json_decref (json);
  }
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    status_fail (&status, known[i], "x");
    json = message_write_status (&status);
    assert_true (json_is_string (json_object_get (json, "errno")));
    json_decref (json);
  }
  json = json_object ();
  message_read_status (json, &other);
  assert_int_equal (other.error, EIO);
  json_decref (json);
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    unit_test (test_exact),
    unit_test (test_structs),
    unit_test (test_refused),
    unit_test (test_status),
  };

  unit_alarm (60);
  return cmocka_run_group_tests (tests, NULL, NULL);
}
