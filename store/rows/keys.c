/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The rows of encryption: see keys.h. */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows/features.h"
#include "rows/keys.h"
#include "rows/properties.h"

#define SLOT_KEY "encryption:slot:"

/* The number of the slot that a property with KEY is, or -1. */
static int
slot_number (const char *key)
{
  const char *number = optional_key_behind (key, SLOT_KEY);
  char *end;
  unsigned long value;

  if (number == NULL || number[0] < '0' || number[0] > '9')
    return -1;
  if (number[0] == '0' && number[1])
    return -1;
  value = strtoul (number, &end, 10);
  return *end == '\0' && value < ENCRYPTION_SLOTS ? (int)value : -1;
}

static int
take_property (const struct property *property, struct encryption *encryption,
               struct status *status)
{
  const bool header = strcmp (property->key, PROPERTY_ENCRYPTION) == 0;
  const int slot = slot_number (property->key);
  const bool whole = !property->damaged && property->type == PROPERTY_TEXT &&
                     property->length < ENCRYPTION_TEXT &&
                     strlen (property->bytes) == property->length;

  if (header && !whole)
    return status_fail (status, EIO,
                        "what says how it is encrypted is damaged; restore the "
                        "database from a backup");
  if (header)
    strcpy (encryption->header, property->bytes);
  else if (slot >= 0)
    strcpy (encryption->slots[slot],
            whole ? property->bytes : ENCRYPTION_DAMAGED);
  return 0;
}

/* Has disk ID the feature? */
static int
has_feature (struct connection *connection, int64_t id, struct status *status)
{
  static const char has_sql[] =
      "SELECT EXISTS (SELECT 1 FROM feature WHERE disk = ?1"
      " AND name = '" FEATURE_ENCRYPTED "')";
  int64_t has;

  return connection_integer_for (connection, has_sql, id, &has, status) == -1
             ? -1
             : has == 1;
}

int
keys_fail_lost (struct status *status)
{
  return status_fail (status, EIO,
                      "it is encrypted, and what says how is lost; restore the "
                      "database from a backup");
}

int
keys_gather (const struct optional *list, struct encryption *encryption,
             struct status *status)
{
  memset (encryption, 0, sizeof *encryption);
  for (size_t i = 0; i < list->property_count; i++)
    if (list->properties[i].kind == PROPERTY_DISK &&
        take_property (&list->properties[i], encryption, status) == -1)
      return -1;
  return 0;
}

int
keys_read (struct connection *connection, int64_t id,
           struct encryption *encryption, struct status *status)
{
  struct optional list = { 0 };
  int r = properties_read (connection, PROPERTY_DISK, id, &list, status);

  if (r == 0)
    r = keys_gather (&list, encryption, status);
  optional_free (&list);
  if (r == -1 || encryption_is_there (encryption))
    return r;
  r = has_feature (connection, id, status);
  return r == 1 ? keys_fail_lost (status) : r;
}

int
keys_read_to_open (struct connection *connection, const struct disk_info *info,
                   bool secret, struct encryption *encryption,
                   struct status *status)
{
  if (keys_read (connection, info->id, encryption, status) == 0)
    return 0;
  memset (encryption, 0, sizeof *encryption);
  return status->error == EIO && !info->encrypted && !secret ? 0 : -1;
}

static int
set_slot (struct connection *connection, int64_t id, unsigned number,
          const char *text, struct status *status)
{
  char key[sizeof SLOT_KEY + 10];

  snprintf (key, sizeof key, SLOT_KEY "%u", number);
  return properties_set_text (connection, PROPERTY_DISK, id, key, text, status);
}

int
keys_put (struct connection *connection, int64_t id, const char *header,
          const char *slot, struct status *status)
{
  if (set_slot (connection, id, 0, slot, status) == -1 ||
      properties_set_text (connection, PROPERTY_DISK, id, PROPERTY_ENCRYPTION,
                           header, status) == -1)
    return -1;
  return features_put (connection, id, FEATURE_ENCRYPTED, FEATURE_REFUSE,
                       status);
}

int
keys_has_header (struct connection *connection, int64_t id,
                 struct status *status)
{
  static const char has_sql[] =
      "SELECT EXISTS (SELECT 1 FROM property WHERE kind = 1 AND owner = ?1"
      " AND key = '" PROPERTY_ENCRYPTION "')";
  int64_t has;

  if (connection->writing)
    return 0;
  if (connection_integer_for (connection, has_sql, id, &has, status) == -1)
    return status->error == EIO ? 0 : -1;
  return has == 1;
}

/* The same as keys_read; EIO also where a slot is damaged. */
static int
read_whole (struct connection *connection, int64_t id,
            struct encryption *encryption, struct status *status)
{
  if (keys_read (connection, id, encryption, status) == -1)
    return -1;
  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    if (strcmp (encryption->slots[i], ENCRYPTION_DAMAGED) == 0)
      return status_fail (status, EIO,
                          "slot %u of its key is damaged, and a copy would not "
                          "have it; restore the database from a backup, or "
                          "\"sqlblock key remove\" it",
                          i);
  return 0;
}

int
keys_check (struct connection *connection, int64_t id, struct status *status)
{
  struct encryption encryption;

  return read_whole (connection, id, &encryption, status);
}

/* Disk ID has what ENCRYPTION says, and nothing else. */
static int
put_all (struct connection *connection, int64_t id,
         const struct encryption *encryption, struct status *status)
{
  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    if (set_slot (connection, id, i, encryption->slots[i], status) == -1)
      return -1;
  return keys_put (connection, id, encryption->header, encryption->slots[0],
                   status);
}

int
keys_copy (struct connection *connection, int64_t from, int64_t id,
           struct status *status)
{
  struct encryption encryption;

  if (read_whole (connection, from, &encryption, status) == -1)
    return -1;
  return encryption_is_there (&encryption)
             ? put_all (connection, id, &encryption, status)
             : 0;
}

int
keys_take (struct connection *connection, int64_t id,
           const struct optional *list, struct status *status)
{
  struct encryption encryption;

  if (keys_gather (list, &encryption, status) == -1)
    return -1;
  if (encryption_is_there (&encryption))
    return put_all (connection, id, &encryption, status);
  return optional_is_encrypted (list)
             ? status_fail (status, EINVAL,
                            "what comes is encrypted, and does not say how; "
                            "send it again")
             : 0;
}

int
keys_match (struct connection *connection, int64_t id,
            const struct optional *list, struct status *status)
{
  struct encryption is, comes;
  bool encrypted;

  if (keys_read (connection, id, &is, status) == -1 ||
      keys_gather (list, &comes, status) == -1)
    return -1;
  encrypted = encryption_is_there (&comes) || optional_is_encrypted (list);
  if (encrypted != encryption_is_there (&is))
    return status_fail (status, EINVAL, "%s; receive it as a new disk",
                        encrypted ? "what comes is encrypted, and what it goes "
                                    "to is not"
                                  : "what comes is not encrypted, and what it "
                                    "goes to is");
  return strcmp (is.header, comes.header) == 0
             ? 0
             : status_fail (status, EINVAL,
                            "what comes is encrypted with another key than "
                            "what it goes to; receive it as a new disk");
}

int
keys_set_slot (struct connection *connection, int64_t id, unsigned number,
               const char *before, const char *text, struct status *status)
{
  struct encryption encryption;
  unsigned others = 0;

  if (keys_read (connection, id, &encryption, status) == -1)
    return -1;
  if (!encryption_is_there (&encryption))
    return status_fail (status, EINVAL, "it is not encrypted");
  if (strlen (text) >= ENCRYPTION_TEXT ||
      (text[0] && encryption_kind (text) == 0))
    return status_fail (status, EINVAL, "what is to be put there is no slot");
  if (number >= ENCRYPTION_SLOTS ||
      strcmp (encryption.slots[number], before) != 0)
    return status_fail (status, EBUSY,
                        "slot %u has just been changed; look at it, and try "
                        "again",
                        number);
  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    others += i != number && encryption_kind (encryption.slots[i]) != 0;
  if (text[0] == '\0' && others == 0)
    return status_fail (status, EPERM,
                        "slot %u is the last one, and without any its data is "
                        "lost; add another one first",
                        number);
  return set_slot (connection, id, number, text, status);
}
