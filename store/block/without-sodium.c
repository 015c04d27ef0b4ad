/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A program that was built without libsodium: nobody can give it a secret, and
 * features.c keeps it off encrypted disks.  So what follows cipher_key_new,
 * secret_add and encryption_unwrap is never called; it is here to be linked.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "block/cipher.h"
#include "encryption.h"

static int
fail (struct status *status)
{
  return status_fail (status, ENOTSUP,
                      "this program was built without encryption; use one that "
                      "was built with libsodium");
}

bool
cipher_is_built (void)
{
  return false;
}

bool
cipher_is_shared (const void *stored, size_t length)
{
  (void)stored;
  return length == 0;
}

struct cipher_key *
cipher_key_new (const void *master, uint32_t number, struct status *status)
{
  (void)master;
  (void)number;
  fail (status);
  return NULL;
}

void
cipher_key_free (struct cipher_key *key)
{
  (void)key;
}

void
cipher_key_check (const struct cipher_key *key,
                  unsigned char check[CIPHER_CHECK])
{
  (void)key;
  memset (check, 0, CIPHER_CHECK);
}

uint64_t
cipher_hash (const struct cipher_key *key, const void *bytes, size_t length)
{
  (void)key;
  (void)bytes;
  return length;
}

void
cipher_encrypt (const struct cipher_key *key, const struct cipher_place *place,
                bool shared, const void *data, size_t length, void *room)
{
  (void)key;
  (void)place;
  (void)shared;
  (void)data;
  memset (room, 0, length + CIPHER_ADDED);
}

int
cipher_decrypt (const struct cipher_key *key, const struct cipher_place *place,
                const void *stored, size_t length, void *buffer,
                struct status *status)
{
  (void)key;
  (void)place;
  (void)stored;
  (void)length;
  (void)buffer;
  return fail (status);
}

int
secret_add (struct secret **list, enum secret_kind kind, const void *bytes,
            size_t length, struct status *status)
{
  (void)list;
  (void)kind;
  (void)bytes;
  (void)length;
  return fail (status);
}

int
secret_read (struct secret **list, enum secret_kind kind, const char *name,
             int fd, struct status *status)
{
  (void)list;
  (void)kind;
  (void)name;
  (void)fd;
  return fail (status);
}

int
secret_lock_again (struct secret *list, struct status *status)
{
  (void)list;
  (void)status;
  return 0;
}

void
secret_free (struct secret *list)
{
  (void)list;
}

bool
secret_is_equal (const struct secret *a, const struct secret *b)
{
  return a == b;
}

void
secret_wipe (void *bytes, size_t length)
{
  explicit_bzero (bytes, length);
}

int
encryption_make (const struct secret *secrets, struct encryption *encryption,
                 struct status *status)
{
  (void)secrets;
  (void)encryption;
  return fail (status);
}

bool
encryption_is_built (void)
{
  return false;
}

bool
encryption_is_there (const struct encryption *encryption)
{
  return encryption->header[0] != '\0';
}

enum secret_kind
encryption_kind (const char *slot)
{
  (void)slot;
  return 0;
}

struct unwrapped *
encryption_unwrap (const struct encryption *encryption,
                   const struct secret *secrets, unsigned *slot,
                   struct status *status)
{
  (void)encryption;
  (void)secrets;
  (void)slot;
  fail (status);
  return NULL;
}

void
unwrapped_free (struct unwrapped *unwrapped)
{
  (void)unwrapped;
}

struct cipher_key *
encryption_derive (const struct encryption *encryption,
                   const struct secret *secrets, struct status *status)
{
  (void)encryption;
  (void)secrets;
  fail (status);
  return NULL;
}

int
encryption_try (const struct encryption *encryption,
                const struct secret *secrets, struct status *status)
{
  (void)encryption;
  (void)secrets;
  return fail (status);
}

int
unwrapped_wrap (const struct unwrapped *unwrapped, const struct secret *secrets,
                char slot[ENCRYPTION_TEXT], struct status *status)
{
  (void)unwrapped;
  (void)secrets;
  (void)slot;
  return fail (status);
}
