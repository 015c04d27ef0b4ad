/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional about a disk or a snapshot, when it has been read or is on
 * its way: properties and features (schema.sql says what they mean).
 */

#ifndef SQLBLOCK_OPTIONAL_H
#define SQLBLOCK_OPTIONAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* Bytes of a key, or of the name of a feature, and of a value that is a text or
 * bytes; how many properties or features one owner may have.  So all of an
 * owner has a bound.  Features are few, since they are looked at for each disk
 * of a list, and for each transaction.
 */
#define PROPERTY_KEY_MAX   200
#define PROPERTY_VALUE_MAX 8192
#define PROPERTIES_MAX     1000
#define FEATURES_MAX       100

/* What keys begin with, or are. */
#define PROPERTY_USER        "user:"
#define PROPERTY_HOLD        "hold:"
#define PROPERTY_LOCAL       "local:"
#define PROPERTY_DESCRIPTION "description"
#define PROPERTY_ENCRYPTION  "encryption"
#define PROPERTY_BOOKMARK    PROPERTY_LOCAL "bookmark:"

/* Keys that stay in their file, but that clones get: who may not use a disk
 * must not be able to read it through one.
 */
#define PROPERTY_ALLOW      PROPERTY_LOCAL "allow"
#define PROPERTY_EXCLUSIVE  PROPERTY_LOCAL "exclusive"
#define PROPERTY_LITESTREAM PROPERTY_LOCAL "litestream"

/* Room for a text about encryption (encryption.h). */
#define ENCRYPTION_TEXT 400

/* The feature of an encrypted disk (class 3). */
#define FEATURE_ENCRYPTED "encrypted"

/* What properties are about. */
enum property_kind {
  PROPERTY_FILE,
  PROPERTY_DISK,
  PROPERTY_SNAPSHOT,
  PROPERTY_LAYER
};

/* As row_checksum has them (schema.sql). */
enum property_type {
  PROPERTY_INTEGER = 1,
  PROPERTY_TEXT = 3,
  PROPERTY_BYTES = 4
};

struct property {
  enum property_kind kind;
  const char *key;
  enum property_type type;
  int64_t integer;   /* or */
  const char *bytes; /* a text or bytes, with a NUL behind them */
  size_t length;
  bool damaged; /* its row is: what it says is not to be believed */
};

struct disk_feature {
  const char *name;
  int64_t class;
};

/* Lists of them; all zeroes are empty ones. */
struct optional {
  struct property *properties;
  size_t property_count;
  struct disk_feature *features;
  size_t feature_count;
};

/* Add a copy.  Thread rules: those of the list.  Returns 0, or -1: ENOMEM. */
int optional_add_property (struct optional *list,
                           const struct property *property,
                           struct status *status);
int optional_add_feature (struct optional *list,
                          const struct disk_feature *feature,
                          struct status *status);

/* The property KEY of LIST, which are those of one owner, or NULL; the second
 * one only if it is of TYPE, and not damaged.
 */
const struct property *optional_find (const struct optional *list,
                                      const char *key);
const struct property *optional_find_whole (const struct optional *list,
                                            const char *key,
                                            enum property_type type);

/* Free what the lists have. */
void optional_free (struct optional *list);

/* Does a property of this key stay where it is, and is not carried to a clone
 * or into another file?
 */
bool optional_stays (const char *key);

/* What stands behind BEGINNING in the KEY of a property, such as the tag of a
 * hold, or NULL where it begins otherwise.
 */
const char *optional_key_behind (const char *key, const char *beginning);

/* Is KEY one of those that say how a disk is encrypted? */
bool optional_key_encrypts (const char *key);

/* Has LIST, of a disk, the feature of those that are encrypted? */
bool optional_is_encrypted (const struct optional *list);

#endif /* SQLBLOCK_OPTIONAL_H */
