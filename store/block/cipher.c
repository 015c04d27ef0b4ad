/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Encryption: see cipher.h. */

#include <config.h>

#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "block/cipher.h"

bool
cipher_is_built (void)
{
  return true;
}

struct cipher_key {
  uint32_t number;
  unsigned char check[CIPHER_CHECK];
  unsigned char encrypts[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  unsigned char hashes[crypto_shorthash_KEYBYTES];
};

_Static_assert(CIPHER_KEY == crypto_kdf_KEYBYTES, "keys have other lengths");

/* The parts of what is stored of a block. */
enum {
  NONCE_AT = sizeof (uint32_t),
  NONCE = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
  TAG_AT = NONCE_AT + NONCE,
  TAG = crypto_aead_xchacha20poly1305_ietf_ABYTES,
  DATA_AT = TAG_AT + TAG,
};

_Static_assert(DATA_AT == CIPHER_ADDED, "what is added has another length");

/* Keys of what is derived are told apart by numbers, and by this. */
#define CONTEXT "sqlblock"

/* The number of all blocks that are shared. */
#define SHARED UINT64_MAX

/* What the tag covers beside the data. */
#define COVERED 20

static void
put_little_endian (unsigned char *bytes, uint64_t value, size_t length)
{
  for (size_t i = 0; i < length; i++, value >>= 8)
    bytes[i] = value;
}

static uint32_t
little_endian (const unsigned char *bytes)
{
  return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
         (uint32_t)bytes[3] << 24;
}

int
cipher_lock (void *memory, size_t length, struct status *status)
{
  return sodium_mlock (memory, length) == 0
             ? 0
             : status_fail (status, ENOMEM,
                            "there is no memory that can be locked for a key, "
                            "so that it is in no swap space; raise "
                            "\"ulimit -l\" to 64 or more");
}

void *
cipher_memory (size_t length, struct status *status)
{
  void *memory;

  /* It can be called again, and by several threads. */
  if (sodium_init () == -1) {
    status_fail (status, EIO, "libsodium cannot begin: no random numbers");
    return NULL;
  }
  memory = sodium_malloc (length);
  if (memory == NULL)
    status_no_memory (status);
  /* Where it could not be locked, sodium_malloc does not tell. */
  else if (cipher_lock (memory, length, status) == -1) {
    sodium_free (memory);
    memory = NULL;
  }
  return memory;
}

struct cipher_key *
cipher_key_new (const void *master, uint32_t number, struct status *status)
{
  struct cipher_key *key = cipher_memory (sizeof *key, status);

  if (key == NULL)
    return NULL;
  key->number = number;
  crypto_kdf_derive_from_key (key->encrypts, sizeof key->encrypts, 1, CONTEXT,
                              master);
  crypto_kdf_derive_from_key (key->hashes, sizeof key->hashes, 2, CONTEXT,
                              master);
  crypto_kdf_derive_from_key (key->check, sizeof key->check, 3, CONTEXT,
                              master);
  sodium_mprotect_readonly (key);
  return key;
}

void
cipher_key_free (struct cipher_key *key)
{
  sodium_free (key);
}

void
cipher_key_check (const struct cipher_key *key,
                  unsigned char check[CIPHER_CHECK])
{
  memcpy (check, key->check, CIPHER_CHECK);
}

uint64_t
cipher_hash (const struct cipher_key *key, const void *bytes, size_t length)
{
  uint64_t hash;

  _Static_assert(sizeof hash == crypto_shorthash_BYTES, "another hash");
  crypto_shorthash ((unsigned char *)&hash, bytes, length, key->hashes);
  return hash;
}

/* Write what the tag of PLACE covers. */
static void
cover (const struct cipher_key *key, const struct cipher_place *place,
       bool shared, unsigned char covered[COVERED])
{
  put_little_endian (covered, shared ? SHARED : place->number, 8);
  put_little_endian (covered + 8, place->block_size, 4);
  put_little_endian (covered + 12, place->codec, 4);
  put_little_endian (covered + 16, key->number, 4);
}

void
cipher_encrypt (const struct cipher_key *key, const struct cipher_place *place,
                bool shared, const void *data, size_t length, void *room)
{
  unsigned char *stored = room, covered[COVERED];

  put_little_endian (stored, key->number, NONCE_AT);
  randombytes_buf (stored + NONCE_AT, NONCE);
  stored[NONCE_AT] = (stored[NONCE_AT] & ~1) | shared;
  cover (key, place, shared, covered);
  crypto_aead_xchacha20poly1305_ietf_encrypt_detached (
      stored + DATA_AT, stored + TAG_AT, NULL, data, length, covered, COVERED,
      NULL, stored + NONCE_AT, key->encrypts);
}

int
cipher_decrypt (const struct cipher_key *key, const struct cipher_place *place,
                const void *stored, size_t length, void *buffer,
                struct status *status)
{
  const unsigned char *bytes = stored;
  unsigned char covered[COVERED];

  if (length < DATA_AT || little_endian (bytes) != key->number)
    return status_fail (status, EIO,
                        "it is encrypted with another key than that of the "
                        "disk; restore the block from a backup");
  cover (key, place, bytes[NONCE_AT] & 1, covered);
  if (crypto_aead_xchacha20poly1305_ietf_decrypt_detached (
          buffer, NULL, bytes + DATA_AT, length - DATA_AT, bytes + TAG_AT,
          covered, COVERED, bytes + NONCE_AT, key->encrypts) == -1)
    return status_fail (status, EIO,
                        "it was changed by who has not the key, or is in the "
                        "place of another block; restore the block from a "
                        "backup");
  return 0;
}
