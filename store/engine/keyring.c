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

/* So many that nothing opens are kept. */
#define FAILED_MOST 1000

/* What was tried, and is in the list for good. */
struct tried {
  struct tried *next;
  struct cipher_key *key; /* NULL: nothing opens it */
  struct status why;
  char *texts; /* the header and all slots */
};

void
keyring_init (struct keyring *keyring, const struct secret *secrets,
              bool command)
{
  *keyring = (struct keyring){ .secrets = secrets, .command = command };
  pthread_mutex_init (&keyring->lock, NULL);
  pthread_mutex_init (&keyring->unwrapping, NULL);
}

void
keyring_destroy (struct keyring *keyring)
{
  struct tried *next;

  for (; keyring->tried; keyring->tried = next) {
    next = keyring->tried->next;
    cipher_key_free (keyring->tried->key);
    free (keyring->tried->texts);
    free (keyring->tried);
  }
  pthread_mutex_destroy (&keyring->unwrapping);
  pthread_mutex_destroy (&keyring->lock);
}

/* All texts of ENCRYPTION in one, a line for each, or NULL. */
static char *
join (const struct encryption *encryption)
{
  char *texts = malloc (sizeof *encryption + ENCRYPTION_SLOTS + 1), *end;

  if (texts == NULL)
    return NULL;
  end = stpcpy (texts, encryption->header);
  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    end = stpcpy (stpcpy (end, "\n"), encryption->slots[i]);
  return texts;
}

/* What was tried of TEXTS before, or NULL. */
static const struct tried *
find (struct keyring *keyring, const char *texts)
{
  const struct tried *tried;

  pthread_mutex_lock (&keyring->lock);
  for (tried = keyring->tried; tried; tried = tried->next)
    if (strcmp (tried->texts, texts) == 0)
      break;
  pthread_mutex_unlock (&keyring->lock);
  return tried;
}

/* Keep that the KEY, or for NULL nothing, and WHY, was found for TEXTS. */
static int
keep (struct keyring *keyring, const char *texts, struct cipher_key *key,
      const struct status *why, struct status *status)
{
  struct tried *tried = calloc (1, sizeof *tried);

  if (tried)
    tried->texts = strdup (texts);
  if (tried == NULL || tried->texts == NULL) {
    free (tried);
    return status_no_memory (status);
  }
  tried->key = key;
  if (key == NULL)
    tried->why = *why;
  pthread_mutex_lock (&keyring->lock);
  keyring->failed += key == NULL;
  tried->next = keyring->tried;
  keyring->tried = tried;
  pthread_mutex_unlock (&keyring->lock);
  return 0;
}

/* Unwrap the key of a disk that has TEXTS, and keep what comes of it.  Returns
 * NULL on failure.
 */
static const struct cipher_key *
unwrap (struct keyring *keyring, const struct encryption *encryption,
        const char *texts, struct status *status)
{
  struct cipher_key *key =
      encryption_derive (encryption, keyring->secrets, status);
  struct status ignored;

  if (key == NULL && status->error == EACCES && keyring->failed < FAILED_MOST)
    keep (keyring, texts, NULL, status, &ignored);
  if (key && keep (keyring, texts, key, NULL, status) == -1) {
    cipher_key_free (key);
    key = NULL;
  }
  return key;
}

/* The key if it was unwrapped before, or else now. */
static const struct cipher_key *
unlock (struct keyring *keyring, const struct encryption *encryption,
        struct status *status)
{
  const struct cipher_key *key = NULL;
  const struct tried *tried;
  char *texts = join (encryption);

  if (texts == NULL) {
    status_no_memory (status);
    return NULL;
  }
  tried = find (keyring, texts);
  if (tried == NULL) {
    pthread_mutex_lock (&keyring->unwrapping);
    tried = find (keyring, texts);
    if (tried == NULL)
      key = unwrap (keyring, encryption, texts, status);
    pthread_mutex_unlock (&keyring->unwrapping);
  }
  if (tried && tried->key == NULL)
    *status = tried->why;
  free (texts);
  return tried ? tried->key : key;
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
  info->key = unlock (keyring, encryption, status);
  return info->key || (status->error == EACCES && (!secrets || !command))
             ? 0
             : status_prefix (status, "disk '%s'", info->name);
}
