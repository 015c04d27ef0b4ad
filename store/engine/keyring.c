/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Keys that are unlocked: see keyring.h. */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/cipher.h"
#include "engine/keyring.h"

struct unlocked {
  struct unlocked *next;
  struct cipher_key *key;
  char header[ENCRYPTION_TEXT];
};

void
keyring_init (struct keyring *keyring, const struct secret *secrets,
              bool command)
{
  keyring->secrets = secrets;
  keyring->command = command;
  pthread_mutex_init (&keyring->lock, NULL);
  keyring->unlocked = NULL;
}

void
keyring_destroy (struct keyring *keyring)
{
  struct unlocked *next;

  for (; keyring->unlocked; keyring->unlocked = next) {
    next = keyring->unlocked->next;
    cipher_key_free (keyring->unlocked->key);
    free (keyring->unlocked);
  }
  pthread_mutex_destroy (&keyring->lock);
}

/* Unwrap the key, and keep it.  Returns NULL on failure. */
static const struct cipher_key *
unlock (struct keyring *keyring, const struct encryption *encryption,
        const struct secret *secrets, struct status *status)
{
  struct unwrapped *unwrapped =
      encryption_unwrap (encryption, secrets, NULL, status);
  struct unlocked *unlocked;

  if (unwrapped == NULL)
    return NULL;
  unlocked = calloc (1, sizeof *unlocked);
  if (unlocked)
    unlocked->key = unwrapped_derive (unwrapped, status);
  else
    status_no_memory (status);
  unwrapped_free (unwrapped);
  if (unlocked == NULL || unlocked->key == NULL) {
    free (unlocked);
    return NULL;
  }
  strcpy (unlocked->header, encryption->header);
  unlocked->next = keyring->unlocked;
  keyring->unlocked = unlocked;
  return unlocked->key;
}

/* The key if it was unlocked before, or else now. */
static const struct cipher_key *
find (struct keyring *keyring, const struct encryption *encryption,
      const struct secret *secrets, struct status *status)
{
  const struct cipher_key *key = NULL;

  pthread_mutex_lock (&keyring->lock);
  for (struct unlocked *unlocked = keyring->unlocked; unlocked && key == NULL;
       unlocked = unlocked->next)
    if (strcmp (unlocked->header, encryption->header) == 0)
      key = unlocked->key;
  if (key == NULL)
    key = unlock (keyring, encryption, secrets, status);
  pthread_mutex_unlock (&keyring->lock);
  return key;
}

int
keyring_unlock (struct keyring *keyring, const struct encryption *encryption,
                struct disk_info *info, struct status *status)
{
  const struct secret *secrets = keyring->secrets;
  const bool command = keyring->command;

  info->key = NULL;
  if (!encryption_is_there (encryption))
    return secrets && command
               ? status_fail (status, EACCES,
                              "disk '%s' is not encrypted, but a key was "
                              "given; leave it out",
                              info->name)
               : 0;
  info->encrypted = true;
  info->key = find (keyring, encryption, secrets, status);
  return info->key || (status->error == EACCES && (!secrets || !command))
             ? 0
             : status_prefix (status, "disk '%s'", info->name);
}
