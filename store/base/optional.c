/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What is optional: see optional.h. */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "base/grow.h"
#include "base/optional.h"

/* A new copy of LENGTH bytes, with a NUL behind them. */
static char *
copy_bytes (const char *bytes, size_t length)
{
  char *copy = malloc (length + 1);

  if (copy == NULL)
    return NULL;
  if (length > 0)
    memcpy (copy, bytes, length);
  copy[length] = '\0';
  return copy;
}

int
optional_add_property (struct optional *list, const struct property *property,
                       struct status *status)
{
  struct property *properties =
      grow (list->properties, list->property_count, sizeof *list->properties);
  char *key = copy_bytes (property->key, strlen (property->key));
  char *bytes = copy_bytes (property->bytes, property->length);

  if (properties)
    list->properties = properties;
  if (properties == NULL || key == NULL || bytes == NULL) {
    free (key);
    free (bytes);
    return status_no_memory (status);
  }
  properties[list->property_count] = *property;
  properties[list->property_count].key = key;
  properties[list->property_count++].bytes = bytes;
  return 0;
}

int
optional_add_feature (struct optional *list, const struct disk_feature *feature,
                      struct status *status)
{
  struct disk_feature *features =
      grow (list->features, list->feature_count, sizeof *list->features);
  char *name = copy_bytes (feature->name, strlen (feature->name));

  if (features)
    list->features = features;
  if (features == NULL || name == NULL) {
    free (name);
    return status_no_memory (status);
  }
  features[list->feature_count++] = (struct disk_feature){
    .name = name,
    .class = feature->class,
  };
  return 0;
}

const struct property *
optional_find (const struct optional *list, const char *key)
{
  for (size_t i = 0; i < list->property_count; i++)
    if (strcmp (list->properties[i].key, key) == 0)
      return &list->properties[i];
  return NULL;
}

const struct property *
optional_find_whole (const struct optional *list, const char *key,
                     enum property_type type)
{
  const struct property *property = optional_find (list, key);

  return property && property->type == type && !property->damaged ? property
                                                                  : NULL;
}

void
optional_free (struct optional *list)
{
  for (size_t i = 0; i < list->property_count; i++) {
    free ((char *)list->properties[i].key);
    free ((char *)list->properties[i].bytes);
  }
  for (size_t i = 0; i < list->feature_count; i++)
    free ((char *)list->features[i].name);
  free (list->properties);
  free (list->features);
  *list = (struct optional){ 0 };
}

const char *
optional_key_behind (const char *key, const char *beginning)
{
  const size_t length = strlen (beginning);

  return strncmp (key, beginning, length) == 0 ? key + length : NULL;
}

bool
optional_stays (const char *key)
{
  return strcmp (key, "id") == 0 || optional_key_behind (key, PROPERTY_HOLD) ||
         optional_key_behind (key, PROPERTY_LOCAL);
}

bool
optional_key_encrypts (const char *key)
{
  return strcmp (key, PROPERTY_ENCRYPTION) == 0 ||
         optional_key_behind (key, PROPERTY_ENCRYPTION ":");
}

bool
optional_is_encrypted (const struct optional *list)
{
  for (size_t i = 0; i < list->feature_count; i++)
    if (strcmp (list->features[i].name, FEATURE_ENCRYPTED) == 0)
      return true;
  return false;
}
