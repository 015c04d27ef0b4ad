/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Calls between a command and a server, as JSON: how the values of a call are
 * written and read, the same at both ends.
 *
 * A call has a name, such as manage_rename, and named arguments and results.
 * Those of a group of calls are members of one struct, which a table of fields
 * describes; a call type says which of them it takes and gives:
 *
 *   { "manage_rename", "target name", "", ... }
 *
 *   struct manage_call { .target = "web", .name = "shop" }
 *       ──► {"target": "web", "name": "shop"}  ──► the same struct
 *
 * Numbers are exact: those that JavaScript's cannot have, above 2^53, are
 * written as strings of digits, and both forms are read.  Texts are strings;
 * what is not UTF-8, or has a NUL, is {"hex": "ff00"}.  Nothing that is read is
 * trusted: each value is checked to fit its member.
 */

#ifndef SQLBLOCK_MESSAGE_H
#define SQLBLOCK_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "status.h"

enum field_kind {
  FIELD_TEXT,        /* const char * */
  FIELD_MAYBE,       /* the same, or NULL: null */
  FIELD_CHARS,       /* char[size] */
  FIELD_BYTES,       /* const char *, and how many: size_t */
  FIELD_UNSIGNED,    /* an integer of `size` bytes, 4 or 8 */
  FIELD_SIGNED,      /* the same */
  FIELD_BOOL,        /* bool */
  FIELD_CHOICE,      /* enum disk_choice: null, true or false */
  FIELD_COMPRESSION, /* struct compression; not said: null */
  FIELD_STRUCT,      /* a struct of `fields` */
  FIELD_LIST,        /* a pointer to structs of `size` bytes and `fields`, and
                        how many: size_t */
  FIELD_ARRAY,       /* the same for at most `most` of them in the struct */
};

/* A member of a struct.  A table of them ends with one without a kind. */
struct field {
  const char *name; /* NULL: the struct is written as this value alone */
  enum field_kind kind;
  size_t offset;
  size_t size;
  size_t count; /* the offset of how many there are */
  size_t most;
  const struct field *fields;
  bool may_be_missing; /* in its struct; then it is zeroes */
};

#define FIELD_END                                                              \
  {                                                                            \
    .size = 0                                                                  \
  }

/* MEMBER of the struct TYPE, called NAME, of KIND without the FIELD_. */
#define FIELD(type, member, label, what)                                       \
  {                                                                            \
    .name = label, .kind = FIELD_##what, .offset = offsetof (type, member),    \
    .size = sizeof (((type *)NULL)->member)                                    \
  }

/* The same for one that may be missing. */
#define FIELD_MAY(type, member, label, what)                                   \
  {                                                                            \
    .name = label, .kind = FIELD_##what, .offset = offsetof (type, member),    \
    .size = sizeof (((type *)NULL)->member), .may_be_missing = true            \
  }

/* The same for a struct of TABLE. */
#define FIELD_OF(type, member, label, table)                                   \
  {                                                                            \
    .name = label, .kind = FIELD_STRUCT, .offset = offsetof (type, member),    \
    .size = sizeof (((type *)NULL)->member), .fields = table                   \
  }

/* The same for bytes, or a list, of which there are NUMBER. */
#define FIELD_BYTES_OF(type, member, number, label)                            \
  {                                                                            \
    .name = label, .kind = FIELD_BYTES, .offset = offsetof (type, member),     \
    .size = sizeof (char), .count = offsetof (type, number)                    \
  }
#define FIELD_LIST_OF(type, member, number, label, table)                      \
  {                                                                            \
    .name = label, .kind = FIELD_LIST, .offset = offsetof (type, member),      \
    .size = sizeof (*((type *)NULL)->member),                                  \
    .count = offsetof (type, number), .fields = table                          \
  }
#define FIELD_ARRAY_OF(type, member, number, label, table)                     \
  {                                                                            \
    .name = label, .kind = FIELD_ARRAY, .offset = offsetof (type, member),     \
    .size = sizeof (((type *)NULL)->member[0]),                                \
    .count = offsetof (type, number),                                          \
    .most =                                                                    \
        sizeof (((type *)NULL)->member) / sizeof (((type *)NULL)->member[0]),  \
    .fields = table                                                            \
  }

/* What a call is: the fields that it takes and gives, by their names; one
 * with a "?" behind it may be missing, and is zeroes then.
 */
struct call_type {
  const char *name;
  const char *arguments, *results;
  const struct field *fields;
  size_t size; /* of the struct that they describe */
};

/* What reading values has allocated. */
struct message_memory {
  void **blocks;
  size_t count;
};
void message_memory_free (struct message_memory *memory);

/* Have BLOCK, which was allocated, or is NULL, go with MEMORY.  Where there is
 * no memory for that it goes at once.  Returns 0, or -1: ENOMEM.
 */
int message_keep (struct message_memory *memory, void *block,
                  struct status *status);

/* The JSON of the fields NAMES, of those in FIELDS, of the struct VALUES.
 * Returns a new object, or NULL where there is no memory.
 */
json_t *message_write (const struct field *fields, const char *names,
                       const void *values);

/* The same the other way round.  What VALUES then points to belongs to MEMORY
 * and to JSON.  STRICT refuses members that are not among NAMES.  Returns 0, or
 * -1: EINVAL with the name of the member that is wrong, ENOMEM.
 */
int message_read (const struct field *fields, const char *names, bool strict,
                  const json_t *json, void *values,
                  struct message_memory *memory, struct status *status);

/* A failure: its errno by name, its words, and what else a status knows.
 * Writing returns a new object, or NULL.  Reading always fills STATUS.
 */
json_t *message_write_status (const struct status *status);
void message_read_status (const json_t *json, struct status *status);

/* What many calls have.  A list of disk_info, or snapshot_info, is of those. */
extern const struct field message_disk_info[];
extern const struct field message_snapshot_info[];

/* A range of bytes. */
struct message_range {
  uint64_t offset, length;
  bool hole;
};
extern const struct field message_range[];

#endif /* SQLBLOCK_MESSAGE_H */
