/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What encrypts blocks, and what opens the keys of disks: nothing that was
 * changed is taken for what it was.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "block/cipher.h"
#include "encryption.h"

#define BLOCK 512

static const unsigned char master[CIPHER_KEY] =
    "0123456789abcdef0123456789abcde";
static const struct cipher_place usual = { 7, BLOCK, 1 };

static struct cipher_key *
new_key (const unsigned char bytes[CIPHER_KEY], uint32_t number)
{
  struct status status;
  struct cipher_key *key = cipher_key_new (bytes, number, &status);

  assert_non_null (key);
  return key;
}

/* Can what is stored be decrypted as PLACE to what was encrypted? */
static bool
opens (const struct cipher_key *key, const struct cipher_place *place,
       const unsigned char *stored, size_t length)
{
  unsigned char back[BLOCK];
  struct status status;

  if (cipher_decrypt (key, place, stored, length, back, &status) == -1) {
    assert_int_equal (status.error, EIO);
    return false;
  }
  for (size_t i = 0; i < length - CIPHER_ADDED; i++)
    assert_int_equal (back[i], i % 251);
  return true;
}

static void
encrypt (const struct cipher_key *key, bool shared,
         unsigned char stored[BLOCK + CIPHER_ADDED])
{
  unsigned char block[BLOCK];

  for (size_t i = 0; i < BLOCK; i++)
    block[i] = i % 251;
  cipher_encrypt (key, &usual, shared, block, BLOCK, stored);
  assert_memory_not_equal (stored + CIPHER_ADDED, block, 16);
}

/* Every byte counts, and so does each thing that the tag covers. */
static void
test_changed (void **state)
{
  struct cipher_key *key = new_key (master, 5);
  unsigned char stored[BLOCK + CIPHER_ADDED];

  (void)state;
  encrypt (key, false, stored);
  assert_true (opens (key, &usual, stored, sizeof stored));
  for (size_t i = 0; i < sizeof stored; i++)
    for (unsigned bit = 1; bit < 256; bit <<= 1) {
      stored[i] ^= bit;
      assert_false (opens (key, &usual, stored, sizeof stored));
      stored[i] ^= bit;
    }
  for (size_t length = 0; length < sizeof stored; length++)
    assert_false (opens (key, &usual, stored, length));
  assert_true (opens (key, &usual, stored, sizeof stored));
  cipher_key_free (key);
}

static void
test_place (void **state)
{
  unsigned char another[CIPHER_KEY];
  struct cipher_key *key = new_key (master, 5), *number, *bytes;
  unsigned char stored[BLOCK + CIPHER_ADDED];

  (void)state;
  memcpy (another, master, sizeof another);
  another[31] ^= 1;
  number = new_key (master, 6);
  bytes = new_key (another, 5);
  encrypt (key, false, stored);
  assert_false (opens (key, &(struct cipher_place){ 8, BLOCK, 1 }, stored,
                       sizeof stored));
  assert_false (opens (key, &(struct cipher_place){ 7, 2 * BLOCK, 1 }, stored,
                       sizeof stored));
  assert_false (opens (key, &(struct cipher_place){ 7, BLOCK, 3 }, stored,
                       sizeof stored));
  assert_false (opens (number, &usual, stored, sizeof stored));
  assert_false (opens (bytes, &usual, stored, sizeof stored));
  /* What is shared may be in the place of another block, and says so itself. */
  encrypt (key, true, stored);
  assert_true (opens (key, &usual, stored, sizeof stored));
  assert_true (opens (key, &(struct cipher_place){ 8, BLOCK, 1 }, stored,
                      sizeof stored));
  stored[4] ^= 1;
  assert_false (opens (key, &usual, stored, sizeof stored));
  assert_true (cipher_hash (key, master, 16) !=
               cipher_hash (bytes, master, 16));
  cipher_key_free (key);
  cipher_key_free (number);
  cipher_key_free (bytes);
}

/* What was stored once is read for ever: this row was made by the first program
 * that could.
 */
static void
test_known (void **state)
{
  static const char known[] =
      "0500000044480855100f124b917067398a77d25b6ab62eddeafd28975218963884bcde9a"
      "4e3c8db8284f819aa1e25967991464fb1ae5a91b0ee63692ddd6031df211b3f40d35323d"
      "72353b1987572d1a2e8e4fe3cdcf68adb403db65a53c255df5ace2cd53fb63de55cf4fda"
      "20a6fb1bdf2cd064805bb9b34b4e183bcef408bcdb56ff1ad3020593ce8f476a6788890d"
      "007d5677e723b9b4598a78d2001d49ee67dd56b8d30e2383902f234a39c3b5c18e960f83"
      "08153c54307fc2764f7883f2f4983c44f2fc019d3e72315cc1595bd548c66dac0906a513"
      "89ae07ece0131bccd0b9bcda8a708a932eca98529069c2319affba4f3d66e1a569d4500b"
      "9468d3576aec680ec8dd510b9880e6318c93cdc558ab7c7bf0757e33ae4245fe9b81e4f8"
      "f02d592c2a8ca163f93f1dfc3741e8cf18ec71ec56d205f6c36f225f7efc838bf9c18033"
      "91ea0c554a815c3d0781e9e00de72206645e8562d0c8a86b7519711efbdf84391bfb097d"
      "6f9b141a82dd07251147dd0e90d622f297be37e466923e60643ebb3ea1e97660b8300f40"
      "3174254182c7c7c7a52851451a80626b900d25aa286c7cba44533d078d6d1a99b4f52c74"
      "b08daeb2613d354ca205a83a3672f1737ec82cfedc70db3a8b574878acac4733ff60034b"
      "24176f13c2508a39c4a061f5790b3f5335d06fc94f3e841b0e49b8b02d66fe1040d2cd1b"
      "2c2fa65d5a543886d5928bc994e0ec1bab4c6fc4cc815673626abb2ca0854c14ad26ab7b"
      "93d33632882fdd96a328186e8401bd20";
  struct cipher_key *key = new_key (master, 5);
  const struct cipher_place place = { 7, BLOCK, 1 };
  unsigned char stored[sizeof known / 2], back[BLOCK], check[CIPHER_CHECK];
  struct status status;
  unsigned byte;

  (void)state;
  for (size_t i = 0; i < sizeof stored; i++) {
    assert_int_equal (sscanf (known + 2 * i, "%2x", &byte), 1);
    stored[i] = byte;
  }
  assert_ok (cipher_decrypt (key, &place, stored, sizeof stored, back, &status),
             &status);
  assert_memory_equal (back, "what is known\n", 14);
  assert_int_equal (cipher_hash (key, "equal", 5),
                    UINT64_C (0xd4f428bf2aa875aa));
  cipher_key_check (key, check);
  assert_int_equal (check[0], 224);
  assert_int_equal (check[15], 162);
  cipher_key_free (key);
}

/*--------------------------------------------------------------------
 * Slots.
 */

static struct secret *
new_secret (enum secret_kind kind, const char *text)
{
  struct secret *list = NULL;
  struct status status;

  assert_ok (secret_add (&list, kind, text, strlen (text), &status), &status);
  return list;
}

#define KEY_FILE "a key file of more than 32 bytes, which is enough"

/* Does the disk open with what has KIND and TEXT? */
static bool
unwraps (const struct encryption *encryption, enum secret_kind kind,
         const char *text)
{
  struct secret *secrets = new_secret (kind, text);
  struct status status;
  struct unwrapped *unwrapped =
      encryption_unwrap (encryption, secrets, NULL, &status);

  unwrapped_free (unwrapped);
  secret_free (secrets);
  return unwrapped != NULL;
}

static void
make (struct encryption *encryption)
{
  struct secret *secrets = new_secret (SECRET_KEY_FILE, KEY_FILE);
  struct status status;

  assert_ok (encryption_make (secrets, encryption, &status), &status);
  secret_free (secrets);
}

static void
test_secrets (void **state)
{
  struct encryption encryption;
  struct secret *secrets = NULL;
  struct status status;

  (void)state;
  make (&encryption);
  assert_true (encryption_is_there (&encryption));
  assert_int_equal (encryption_kind (encryption.slots[0]), SECRET_KEY_FILE);
  assert_true (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE));
  assert_false (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE "."));
  assert_false (unwraps (&encryption, SECRET_PASSPHRASE, KEY_FILE));
  assert_null (encryption_unwrap (&encryption, NULL, NULL, &status));
  assert_int_equal (status.error, EACCES);
  assert_int_equal (
      secret_add (&secrets, SECRET_KEY_FILE, KEY_FILE, 31, &status), -1);
  assert_int_equal (secret_add (&secrets, SECRET_PASSPHRASE, "", 0, &status),
                    -1);
  assert_int_equal (status.error, EINVAL);
  assert_null (secrets);
}

/* Another slot opens the same key; one of another disk does not. */
static void
test_slots (void **state)
{
  struct secret *old = new_secret (SECRET_KEY_FILE, KEY_FILE);
  struct secret *new = new_secret (SECRET_PASSPHRASE, "secret");
  struct encryption encryption, other;
  struct unwrapped *unwrapped;
  struct status status;
  unsigned slot;

  (void)state;
  make (&encryption);
  unwrapped = encryption_unwrap (&encryption, old, &slot, &status);
  assert_non_null (unwrapped);
  assert_int_equal (slot, 0);
  assert_ok (unwrapped_wrap (unwrapped, new, encryption.slots[5], &status),
             &status);
  unwrapped_free (unwrapped);
  assert_true (unwraps (&encryption, SECRET_PASSPHRASE, "secret"));
  assert_false (unwraps (&encryption, SECRET_PASSPHRASE, "Secret"));
  unwrapped = encryption_unwrap (&encryption, new, &slot, &status);
  assert_non_null (unwrapped);
  assert_int_equal (slot, 5);
  unwrapped_free (unwrapped);
  make (&other);
  memcpy (other.slots, encryption.slots, sizeof other.slots);
  assert_false (unwraps (&other, SECRET_KEY_FILE, KEY_FILE));
  secret_free (old);
  secret_free (new);
}

/* Whatever a slot says, it opens nothing else, and asks for no more than there
 * may be.
 */
static void
test_hostile_slots (void **state)
{
  static const char *const derivations[] = {
    "passphrase argon2id 4294967295 1024",
    "passphrase argon2id 3 4294967295",
    "passphrase argon2id 0 1024",
    "passphrase argon2id -1 8",
    "passphrase blake2b 1 1024",
    "key-file argon2id 1 1024",
    "",
  };
  struct encryption encryption;
  char slot[ENCRYPTION_TEXT];
  size_t length;

  (void)state;
  make (&encryption);
  strcpy (slot, encryption.slots[0]);
  length = strlen (slot);
  for (size_t i = 0; i < length; i++) {
    encryption.slots[0][i] = slot[i] == '0' ? '1' : '0';
    assert_false (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE) &&
                  i >= strlen ("key-file blake2b 0 0 "));
    encryption.slots[0][i] = '\0';
    assert_false (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE));
    encryption.slots[0][i] = slot[i];
  }
  for (size_t i = 0; i < sizeof derivations / sizeof derivations[0]; i++) {
    snprintf (encryption.slots[0], ENCRYPTION_TEXT, "%s %s", derivations[i],
              slot + strlen ("key-file blake2b 0 0 "));
    assert_int_equal (encryption_kind (encryption.slots[0]), 0);
  }
  strcpy (encryption.slots[0], slot);
  length = strlen (encryption.header);
  for (size_t i = 0; i < length; i++) {
    const char was = encryption.header[i];

    encryption.header[i] = was == '0' ? '1' : '0';
    assert_false (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE));
    encryption.header[i] = was;
  }
  assert_true (unwraps (&encryption, SECRET_KEY_FILE, KEY_FILE));
}

int
main (void)
{
  const struct CMUnitTest tests[] = {
    cmocka_unit_test (test_changed), cmocka_unit_test (test_place),
    cmocka_unit_test (test_known),   cmocka_unit_test (test_secrets),
    cmocka_unit_test (test_slots),   cmocka_unit_test (test_hostile_slots),
  };

  if (!cipher_is_built ())
    return 77;
  return cmocka_run_group_tests (tests, NULL, NULL);
}
