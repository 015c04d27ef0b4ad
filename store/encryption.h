/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The key of an encrypted disk, and who may have it.
 *
 * A disk has one random key for life (block/cipher.h), which nobody sees.  It
 * is in the database once for each of its slots, wrapped by what a user has:
 *
 *   passphrase ──► Argon2id ──┐
 *   key file   ──► BLAKE2b  ──┴► unwraps the key of the disk ──► its blocks
 *
 * So slots are added, changed and removed without touching a block.  They are
 * properties of the disk, which a clone and a stream take along; from then on
 * those of the copy are its own.  A removed slot stays in what was copied
 * before, and in old pages: who had the key may have it still.
 *
 * Secrets stay in this process: what goes through a server's control socket is
 * wrapped.
 */

#ifndef SQLBLOCK_ENCRYPTION_H
#define SQLBLOCK_ENCRYPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/optional.h"
#include "status.h"

/* Was this program built with encryption?  If not, all that can fail here does.
 */
bool encryption_is_built (void);

/*--------------------------------------------------------------------
 * What users have.  Thread rules, here and below: one thread for each list.
 */

/* A list of them, in memory that is locked; NULL is an empty one. */
struct secret;

enum secret_kind { SECRET_PASSPHRASE = 1, SECRET_KEY_FILE };

/* The fewest and the most bytes of a key file. */
#define SECRET_KEY_MIN 32
#define SECRET_KEY_MAX 8192

/* Put the LENGTH bytes that are the passphrase, or in the key file, in front of
 * LIST; the caller wipes BYTES.  Returns 0, or -1: EINVAL where it is empty,
 * too short or too long, or a passphrase has a NUL, ENOTSUP, ENOMEM.
 */
int secret_add (struct secret **list, enum secret_kind kind, const void *bytes,
                size_t length, struct status *status);

/* The same for what can be read from the file NAME, or where that is NULL from
 * the descriptor FD: all of it, of a passphrase the first line.  Returns 0, or
 * -1: also what opening and reading give.
 */
int secret_read (struct secret **list, enum secret_kind kind, const char *name,
                 int fd, struct status *status);

/* This process was forked from the one that made LIST: lock it again.  Returns
 * 0, or -1: ENOMEM.
 */
int secret_lock_again (struct secret *list, struct status *status);

/* Are the first ones of both lists the same? */
bool secret_is_equal (const struct secret *a, const struct secret *b);

/* Wipe and free a list. */
void secret_free (struct secret *list);

/* Overwrite LENGTH bytes so that no compiler leaves it out. */
void secret_wipe (void *bytes, size_t length);

/*--------------------------------------------------------------------
 * What the database has.
 */

/* How many slots a disk can have. */
#define ENCRYPTION_SLOTS 32

/* What stands for a slot whose row is damaged. */
#define ENCRYPTION_DAMAGED "damaged"

/* The properties of one disk. */
struct encryption {
  char header[ENCRYPTION_TEXT]; /* cipher, number of the key, what tells it */
  char slots[ENCRYPTION_SLOTS][ENCRYPTION_TEXT]; /* "": there is none */
};

/* Make a new key, with slot 0 for the first of SECRETS.  Returns 0 or -1. */
int encryption_make (const struct secret *secrets,
                     struct encryption *encryption, struct status *status);

/* Is it encrypted at all? */
bool encryption_is_there (const struct encryption *encryption);

/* Which kind of secret does a SLOT want?  0: it is damaged, or of a newer
 * program.
 */
enum secret_kind encryption_kind (const char *slot);

/* A disk's own key, unwrapped. */
struct cipher_key;
struct unwrapped;

/* Unwrap the key by any of SECRETS; *SLOT becomes the number of the slot that
 * it opens, unless that is NULL.  Returns NULL on failure: EACCES where none
 * does, EIO where what the database has is damaged, ENOTSUP, ENOMEM.  It takes
 * a second for each slot of a passphrase.
 */
struct unwrapped *encryption_unwrap (const struct encryption *encryption,
                                     const struct secret *secrets,
                                     unsigned *slot, struct status *status);

/* The same where only what encrypts is wanted, which the caller frees
 * (block/cipher.h), or whether any of SECRETS fits; that returns 0 or -1.
 */
struct cipher_key *encryption_derive (const struct encryption *encryption,
                                      const struct secret *secrets,
                                      struct status *status);
int encryption_try (const struct encryption *encryption,
                    const struct secret *secrets, struct status *status);

/* Wipe and free it. */
void unwrapped_free (struct unwrapped *unwrapped);

/* Write to SLOT what wraps it for the first of SECRETS.  Returns 0 or -1. */
int unwrapped_wrap (const struct unwrapped *unwrapped,
                    const struct secret *secrets, char slot[ENCRYPTION_TEXT],
                    struct status *status);

#endif /* SQLBLOCK_ENCRYPTION_H */
