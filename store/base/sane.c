/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What values may be: see sane.h. */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/optional.h"
#include "base/sane.h"
#include "base/times.h"
#include "base/types.h"

bool
sane_text (const char *text)
{
  const unsigned char *p = (const unsigned char *)text;

  while (*p) {
    const int more = *p < 0x80                  ? 0
                     : *p >= 0xc2 && *p <= 0xdf ? 1
                     : *p >= 0xe0 && *p <= 0xef ? 2
                     : *p >= 0xf0 && *p <= 0xf4 ? 3
                                                : -1;

    if (more == -1 || *p < 0x20 || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
      return false;
    /* Overlong forms, surrogates and what lies past U+10FFFF. */
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
        (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
      return false;
    p++;
    for (int i = 0; i < more; i++, p++)
      if ((*p & 0xc0) != 0x80)
        return false;
  }
  return true;
}

int
sane_check (const char *what, const char *text, size_t most,
            struct status *status)
{
  if (text[0] == '\0')
    return status_fail (status, EINVAL, "%s is empty", what);
  if (strlen (text) > most)
    return status_fail (status, EINVAL, "%s is longer than %zu bytes", what,
                        most);
  if (!sane_text (text) || strpbrk (text, "@/"))
    return status_fail (status, EINVAL,
                        "'%s' cannot be %s: it must be UTF-8 without '@', '/' "
                        "and control characters",
                        text, what);
  return 0;
}

bool
sane_name (const char *name, size_t most)
{
  return name && name[0] != '\0' && strlen (name) <= most && sane_text (name) &&
         strchr (name, '@') == NULL;
}

bool
sane_block_size (int64_t bytes)
{
  return bytes >= DISK_BLOCK_SIZE_MIN && bytes <= DISK_BLOCK_SIZE_MAX &&
         (bytes & (bytes - 1)) == 0;
}

bool
sane_geometry (int64_t size, int64_t block_size)
{
  return size > 0 && sane_block_size (block_size);
}

bool
sane_description (const char *text)
{
  return strlen (text) <= DISK_DESCRIPTION_MAX && sane_text (text);
}

bool
sane_key (const char *key)
{
  return key && *key && strlen (key) <= PROPERTY_KEY_MAX && sane_text (key);
}

int
sane_check_key (const char *key, struct status *status)
{
  const char *colon = strchr (key, ':');

  if (key[0] == '\0' || (colon && colon[1] == '\0'))
    return status_fail (status, EINVAL,
                        "the name of a property is missing behind '%s'", key);
  if (strlen (key) > PROPERTY_KEY_MAX)
    return status_fail (status, EINVAL,
                        "'%.40s...' is longer than the %d bytes that the name "
                        "of a property may have",
                        key, PROPERTY_KEY_MAX);
  if (!sane_text (key))
    return status_fail (status, EINVAL,
                        "'%s' cannot be the name of a property: it must be "
                        "UTF-8 without control characters",
                        key);
  return 0;
}

/* Check the properties that a user asks for. */
static int
check_settings (const struct disk_options *options, struct status *status)
{
  for (size_t i = 0; i < options->settings_count; i++) {
    const struct property_setting *setting = &options->settings[i];

    /* Whatever is there can be removed. */
    if (setting->text[0] && sane_check_key (setting->key, status) == -1)
      return -1;
    if (!sane_description (setting->text))
      return status_fail (status, EINVAL,
                          "the value of %s must be UTF-8 without control "
                          "characters, of at most %d bytes",
                          setting->key, DISK_DESCRIPTION_MAX);
  }
  return 0;
}

/* Can this be a text of encryption.h?  NULL is none. */
static bool
is_key_text (const char *text)
{
  return text == NULL || (text[0] && strlen (text) < ENCRYPTION_TEXT);
}

int
sane_check_options (const struct disk_options *options, struct status *status)
{
  const bool snapshot = options->name && strchr (options->name, '@');

  if (snapshot && (options->size || options->block_size ||
                   options->description || options->quota))
    return status_fail (status, EINVAL,
                        "'%s' is a snapshot, which cannot be made like a "
                        "disk: leave the size, block size, quota and "
                        "description out",
                        options->name);
  if (options->name && !snapshot &&
      sane_check ("the name of a disk", options->name, DISK_NAME_MAX, status) ==
          -1)
    return -1;
  if (options->description && !sane_description (options->description))
    return status_fail (status, EINVAL,
                        "the description must be UTF-8 without control "
                        "characters, of at most %d bytes",
                        DISK_DESCRIPTION_MAX);
  if (options->size > INT64_MAX)
    return status_fail (
        status, EINVAL,
        "the size is larger than the largest, %" PRId64 " bytes", INT64_MAX);
  if (options->quota > INT64_MAX)
    return status_fail (
        status, EINVAL,
        "the quota is larger than the largest, %" PRId64 " bytes", INT64_MAX);
  if ((options->encryption != NULL) != (options->slot != NULL) ||
      !is_key_text (options->encryption) || !is_key_text (options->slot))
    return status_fail (status, EINVAL,
                        "how the disk is to be encrypted is not whole");
  if (options->block_size && !sane_block_size (options->block_size))
    return status_fail (status, EINVAL,
                        "the block size %" PRIu32
                        " is not a power of two from 512 to 1M",
                        options->block_size);
  return check_settings (options, status);
}

int
sane_check_snapshot (const char *name, struct status *status)
{
  if (sane_check ("the name of a snapshot", name, SNAPSHOT_NAME_MAX, status) ==
      -1)
    return -1;
  if (times_resembles (name))
    return status_fail (status, EINVAL,
                        "'%s' cannot be the name of a snapshot: such names "
                        "mean the disk as it was at that time",
                        name);
  return 0;
}
