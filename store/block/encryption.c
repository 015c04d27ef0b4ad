/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Keys of disks, and their slots: see encryption.h.
 *
 * The texts, with bytes as hexadecimal digits:
 *
 *   header  xchacha20-poly1305 NUMBER CHECK
 *   slot    passphrase argon2id PASSES KIB SALT NONCE WRAPPED
 *           key-file blake2b 0 0 SALT NONCE WRAPPED
 *
 * WRAPPED is the key of the disk, encrypted by XChaCha20-Poly1305, whose tag
 * covers the header, too: a slot of another disk is no slot of this one.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <linux/magic.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "block/cipher.h"
#include "encryption.h"

bool
encryption_is_built (void)
{
  return cipher_is_built ();
}

bool
encryption_is_there (const struct encryption *encryption)
{
  return encryption->header[0] != '\0';
}

#define CIPHER_NAME "xchacha20-poly1305"

/* How much work a passphrase is, and the most that is done for one: a file from
 * elsewhere may ask for any.
 */
#define PASSES      crypto_pwhash_OPSLIMIT_MODERATE
#define KIB         (crypto_pwhash_MEMLIMIT_MODERATE / 1024)
#define PASSES_MOST 4
#define KIB_MOST    (512 * 1024)

_Static_assert(PASSES <= PASSES_MOST && KIB <= KIB_MOST,
               "what is made here is not read");

/* One byte more than can be used, to notice that there are more. */
#define ROOM (SECRET_KEY_MAX + 1)

struct secret {
  struct secret *next;
  enum secret_kind kind;
  size_t length;
  unsigned char bytes[];
};

/* A text that was read. */
struct header {
  uint32_t number;
  unsigned char check[CIPHER_CHECK];
};

struct slot {
  enum secret_kind kind;
  unsigned long long passes, kib; /* of a passphrase */
  unsigned char salt[crypto_pwhash_SALTBYTES];
  unsigned char nonce[crypto_aead_xchacha20poly1305_ietf_NPUBBYTES];
  unsigned char wrapped[CIPHER_KEY + crypto_aead_xchacha20poly1305_ietf_ABYTES];
};

struct unwrapped {
  char header[ENCRYPTION_TEXT];
  uint32_t number;
  unsigned char key[CIPHER_KEY];
};

static const struct kind {
  enum secret_kind kind;
  const char *name, *derivation;
} kinds[] = {
  { SECRET_PASSPHRASE, "passphrase", "argon2id" },
  { SECRET_KEY_FILE, "key-file", "blake2b" },
};
#define KINDS (sizeof kinds / sizeof kinds[0])

/*--------------------------------------------------------------------
 * Secrets.
 */

int
secret_add (struct secret **list, enum secret_kind kind, const void *bytes,
            size_t length, struct status *status)
{
  struct secret *secret;

  if (kind == SECRET_PASSPHRASE && length == 0)
    return status_fail (status, EINVAL, "the passphrase is empty");
  if (kind == SECRET_PASSPHRASE && memchr (bytes, 0, length))
    return status_fail (status, EINVAL,
                        "the passphrase has a byte that is 0, so it is no "
                        "text; give it as --key-file or key-file=");
  if (kind == SECRET_KEY_FILE && length < SECRET_KEY_MIN)
    return status_fail (status, EINVAL,
                        "the key file has %zu bytes, and needs %d: make one by "
                        "\"head -c 32 /dev/urandom\", or use a passphrase",
                        length, SECRET_KEY_MIN);
  if (length > SECRET_KEY_MAX)
    return status_fail (status, EINVAL,
                        "what is given as a key has more than %d bytes",
                        SECRET_KEY_MAX);
  secret = cipher_memory (sizeof *secret + length, status);
  if (secret == NULL)
    return -1;
  secret->next = *list;
  secret->kind = kind;
  secret->length = length;
  memcpy (secret->bytes, bytes, length);
  *list = secret;
  return 0;
}

/* Can the file at FD be read to its end at once?  A pipe with a name, unlike
 * one of a shell's <(...), waits for whoever opens it.
 */
static int
check_file (int fd, struct status *status)
{
  struct statfs system;
  struct stat file;

  if (fstat (fd, &file) == -1 || fstatfs (fd, &system) == -1)
    return status_fail (status, errno, "%s", strerror (errno));
  if (S_ISDIR (file.st_mode))
    return status_fail (status, EISDIR, "it is a directory, and no key");
  if (S_ISFIFO (file.st_mode) && system.f_type != PIPEFS_MAGIC)
    return status_fail (status, EINVAL, "it is a pipe, and no file with a key");
  return fcntl (fd, F_SETFL, 0) == -1
             ? status_fail (status, errno, "%s", strerror (errno))
             : 0;
}

/* Read from FD to its end, or for a LINE up to that of the first one.  Returns
 * the length, or -1 and errno.
 */
static ssize_t
read_bytes (int fd, bool line, char *bytes)
{
  size_t length = 0;
  ssize_t got = 1;

  while (length < ROOM && got != 0) {
    /* What comes behind the line is somebody else's. */
    got = read (fd, bytes + length, line ? 1 : ROOM - length);
    if (got == -1 && errno != EINTR)
      return -1;
    if (line && got == 1 && bytes[length] == '\n')
      break;
    length += got > 0 ? got : 0;
  }
  return length;
}

static int
add_read (struct secret **list, enum secret_kind kind, int fd,
          struct status *status)
{
  char *bytes = cipher_memory (ROOM, status);
  ssize_t length;
  int r;

  if (bytes == NULL)
    return -1;
  length = read_bytes (fd, kind == SECRET_PASSPHRASE, bytes);
  r = length == -1
          ? status_fail (status, errno, "reading the key: %s", strerror (errno))
          : secret_add (list, kind, bytes, length, status);
  cipher_memory_free (bytes);
  return r;
}

int
secret_read (struct secret **list, enum secret_kind kind, const char *name,
             int fd, struct status *status)
{
  int opened, r;

  if (name == NULL)
    return add_read (list, kind, fd, status);
  opened = open (name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (opened == -1)
    return status_fail (status, errno, "opening the key %s: %s", name,
                        strerror (errno));
  r = check_file (opened, status);
  if (r == 0)
    r = add_read (list, kind, opened, status);
  close (opened);
  return r == -1 ? status_prefix (status, "%s", name) : 0;
}

int
secret_lock_again (struct secret *list, struct status *status)
{
  int r = 0;

  for (; r == 0 && list; list = list->next)
    r = cipher_lock (list, sizeof *list + list->length, status);
  return r;
}

void
secret_free (struct secret *list)
{
  struct secret *next;

  for (; list; list = next) {
    next = list->next;
    cipher_memory_free (list);
  }
}

bool
secret_is_equal (const struct secret *a, const struct secret *b)
{
  return a->length == b->length &&
         sodium_memcmp (a->bytes, b->bytes, a->length) == 0;
}

void
secret_wipe (void *bytes, size_t length)
{
  sodium_memzero (bytes, length);
}

/* Derive from SECRET what wraps, as SLOT says. */
static int
derive (const struct secret *secret, const struct slot *slot,
        unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES],
        struct status *status)
{
  const size_t length = crypto_aead_xchacha20poly1305_ietf_KEYBYTES;

  if (secret->kind == SECRET_KEY_FILE)
    crypto_generichash (key, length, secret->bytes, secret->length, slot->salt,
                        sizeof slot->salt);
  else if (crypto_pwhash (key, length, (const char *)secret->bytes,
                          secret->length, slot->salt, slot->passes,
                          slot->kib * 1024, crypto_pwhash_ALG_ARGON2ID13) == -1)
    return status_fail (status, ENOMEM,
                        "there are not the %llu MiB of memory that the "
                        "passphrase wants",
                        slot->kib / 1024);
  return 0;
}

/*--------------------------------------------------------------------
 * Texts.
 */

/* Read as many bytes as there are digits for; returns what comes behind them
 * and one blank, or NULL.
 */
static const char *
read_digits (const char *text, void *bytes, size_t length)
{
  const char *end;
  size_t got;

  if (text == NULL || sodium_hex2bin (bytes, length, text, strcspn (text, " "),
                                      NULL, &got, &end) == -1)
    return NULL;
  return got == length && (*end == ' ' || *end == '\0') ? end + (*end == ' ')
                                                        : NULL;
}

/* Write bytes, with a blank before them; returns the end. */
static char *
write_digits (char *end, const void *bytes, size_t length)
{
  *end++ = ' ';
  sodium_bin2hex (end, 2 * length + 1, bytes, length);
  return end + 2 * length;
}

static int
read_header (const struct encryption *encryption, struct header *header,
             struct status *status)
{
  const size_t length = strlen (CIPHER_NAME " ");
  const char *text = encryption->header;
  unsigned char number[4];

  if (strncmp (text, CIPHER_NAME " ", length) != 0)
    return status_fail (status, ENOTSUP,
                        "the disk is encrypted in a way that this program does "
                        "not know; use a newer one");
  text = read_digits (text + length, number, sizeof number);
  text = read_digits (text, header->check, sizeof header->check);
  if (text == NULL || *text != '\0')
    return status_fail (status, EIO,
                        "what says how the disk is encrypted is damaged; "
                        "restore the database from a backup");
  header->number =
      (uint32_t)number[0] << 24 | number[1] << 16 | number[2] << 8 | number[3];
  return 0;
}

/* Read SLOT; false where it is damaged, or of a newer program. */
static bool
read_slot (const char *text, struct slot *slot)
{
  char kind[20], derivation[20];
  int length = 0;

  if (sscanf (text, "%19s %19s %llu %llu %n", kind, derivation, &slot->passes,
              &slot->kib, &length) != 4 ||
      length == 0)
    return false;
  slot->kind = 0;
  for (size_t i = 0; i < KINDS; i++)
    if (strcmp (kind, kinds[i].name) == 0 &&
        strcmp (derivation, kinds[i].derivation) == 0)
      slot->kind = kinds[i].kind;
  text = read_digits (text + length, slot->salt, sizeof slot->salt);
  text = read_digits (text, slot->nonce, sizeof slot->nonce);
  text = read_digits (text, slot->wrapped, sizeof slot->wrapped);
  return text && *text == '\0' &&
         (slot->kind == SECRET_KEY_FILE ||
          (slot->kind == SECRET_PASSPHRASE && slot->passes >= 1 &&
           slot->passes <= PASSES_MOST && slot->kib >= 8 &&
           slot->kib <= KIB_MOST));
}

enum secret_kind
encryption_kind (const char *slot)
{
  struct slot read;

  return read_slot (slot, &read) ? read.kind : 0;
}

/*--------------------------------------------------------------------
 * Wrapping.
 */

static struct unwrapped *
unwrapped_new (const char *header, uint32_t number, struct status *status)
{
  struct unwrapped *unwrapped = cipher_memory (sizeof *unwrapped, status);

  if (unwrapped == NULL)
    return NULL;
  memset (unwrapped, 0, sizeof *unwrapped);
  snprintf (unwrapped->header, sizeof unwrapped->header, "%s", header);
  unwrapped->number = number;
  return unwrapped;
}

void
unwrapped_free (struct unwrapped *unwrapped)
{
  cipher_memory_free (unwrapped);
}

/* What encrypts with it. */
static struct cipher_key *
unwrapped_derive (const struct unwrapped *unwrapped, struct status *status)
{
  return cipher_key_new (unwrapped->key, unwrapped->number, status);
}

int
unwrapped_wrap (const struct unwrapped *unwrapped, const struct secret *secrets,
                char slot[ENCRYPTION_TEXT], struct status *status)
{
  const struct kind *kind = &kinds[secrets->kind == SECRET_KEY_FILE];
  const bool passphrase = secrets->kind == SECRET_PASSPHRASE;
  struct slot made = {
    .passes = passphrase ? PASSES : 0,
    .kib = passphrase ? KIB : 0,
  };
  unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  char *end;

  randombytes_buf (made.salt, sizeof made.salt);
  randombytes_buf (made.nonce, sizeof made.nonce);
  if (derive (secrets, &made, key, status) == -1)
    return -1;
  crypto_aead_xchacha20poly1305_ietf_encrypt (
      made.wrapped, NULL, unwrapped->key, sizeof unwrapped->key,
      (const unsigned char *)unwrapped->header, strlen (unwrapped->header),
      NULL, made.nonce, key);
  sodium_memzero (key, sizeof key);
  end = slot + snprintf (slot, ENCRYPTION_TEXT, "%s %s %llu %llu", kind->name,
                         kind->derivation, made.passes, made.kib);
  end = write_digits (end, made.salt, sizeof made.salt);
  end = write_digits (end, made.nonce, sizeof made.nonce);
  write_digits (end, made.wrapped, sizeof made.wrapped);
  return 0;
}

/* Write the header of a key that has NUMBER; what tells it from others is found
 * by deriving from it.
 */
static int
write_header (struct unwrapped *unwrapped, struct status *status)
{
  struct cipher_key *key = unwrapped_derive (unwrapped, status);
  unsigned char check[CIPHER_CHECK];
  char *end;

  if (key == NULL)
    return -1;
  cipher_key_check (key, check);
  cipher_key_free (key);
  end =
      unwrapped->header +
      sprintf (unwrapped->header, CIPHER_NAME " %08" PRIx32, unwrapped->number);
  write_digits (end, check, sizeof check);
  return 0;
}

int
encryption_make (const struct secret *secrets, struct encryption *encryption,
                 struct status *status)
{
  struct unwrapped *unwrapped = unwrapped_new ("", 0, status);
  int r;

  if (unwrapped == NULL)
    return -1;
  memset (encryption, 0, sizeof *encryption);
  randombytes_buf (unwrapped->key, sizeof unwrapped->key);
  unwrapped->number = randombytes_random ();
  r = write_header (unwrapped, status);
  if (r == 0)
    r = unwrapped_wrap (unwrapped, secrets, encryption->slots[0], status);
  strcpy (encryption->header, unwrapped->header);
  unwrapped_free (unwrapped);
  return r;
}

/* Is what was unwrapped the key that HEADER means?  Returns 1, 0, -1. */
static int
is_right (const struct unwrapped *unwrapped, const struct header *header,
          struct status *status)
{
  struct cipher_key *key = unwrapped_derive (unwrapped, status);
  unsigned char check[CIPHER_CHECK];

  if (key == NULL)
    return -1;
  cipher_key_check (key, check);
  cipher_key_free (key);
  return sodium_memcmp (check, header->check, sizeof check) == 0;
}

/* Unwrap what SLOT has by SECRET.  Returns 1, 0 where it is not for that, -1.
 */
static int
open_slot (const struct slot *slot, const struct secret *secret,
           const struct header *header, struct unwrapped *unwrapped,
           struct status *status)
{
  unsigned char key[crypto_aead_xchacha20poly1305_ietf_KEYBYTES];
  int r;

  if (slot->kind != secret->kind)
    return 0;
  if (derive (secret, slot, key, status) == -1)
    return -1;
  r = crypto_aead_xchacha20poly1305_ietf_decrypt (
      unwrapped->key, NULL, NULL, slot->wrapped, sizeof slot->wrapped,
      (const unsigned char *)unwrapped->header, strlen (unwrapped->header),
      slot->nonce, key);
  sodium_memzero (key, sizeof key);
  return r == 0 ? is_right (unwrapped, header, status) : 0;
}

/* Try all of SECRETS with all slots; what costs nothing first. */
static int
try_slots (const struct encryption *encryption, const struct secret *secrets,
           const struct header *header, enum secret_kind kind,
           struct unwrapped *unwrapped, unsigned *number, struct status *status)
{
  struct slot slot;
  int r = 0;

  for (unsigned i = 0; i < ENCRYPTION_SLOTS; i++)
    for (const struct secret *secret = secrets; secret; secret = secret->next) {
      if (secret->kind != kind || !read_slot (encryption->slots[i], &slot))
        continue;
      r = open_slot (&slot, secret, header, unwrapped, status);
      if (r != 0) {
        *number = i;
        return r;
      }
    }
  return 0;
}

struct unwrapped *
encryption_unwrap (const struct encryption *encryption,
                   const struct secret *secrets, unsigned *slot,
                   struct status *status)
{
  struct unwrapped *unwrapped;
  struct header header;
  unsigned number;
  int r;

  if (read_header (encryption, &header, status) == -1 ||
      (unwrapped = unwrapped_new (encryption->header, header.number, status)) ==
          NULL)
    return NULL;
  r = try_slots (encryption, secrets, &header, SECRET_KEY_FILE, unwrapped,
                 slot ? slot : &number, status);
  if (r == 0)
    r = try_slots (encryption, secrets, &header, SECRET_PASSPHRASE, unwrapped,
                   slot ? slot : &number, status);
  if (r == 1)
    return unwrapped;
  unwrapped_free (unwrapped);
  if (r == 0)
    status_fail (status, EACCES,
                 secrets ? "it is encrypted, and no key that was given fits "
                           "one of its slots"
                         : "it is encrypted; give its key: key-file=FILE or "
                           "passphrase=+FILE");
  return NULL;
}

struct cipher_key *
encryption_derive (const struct encryption *encryption,
                   const struct secret *secrets, struct status *status)
{
  struct unwrapped *unwrapped =
      encryption_unwrap (encryption, secrets, NULL, status);
  struct cipher_key *key =
      unwrapped ? unwrapped_derive (unwrapped, status) : NULL;

  unwrapped_free (unwrapped);
  return key;
}

int
encryption_try (const struct encryption *encryption,
                const struct secret *secrets, struct status *status)
{
  struct unwrapped *unwrapped =
      encryption_unwrap (encryption, secrets, NULL, status);

  unwrapped_free (unwrapped);
  return unwrapped ? 0 : -1;
}
