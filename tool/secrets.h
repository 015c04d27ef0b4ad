/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* What users have for encrypted disks, from --key-file and --passphrase.  It is
 * read into memory that is locked, and is in no argument, where others see it.
 *
 *   --key-file=FILE     the whole file
 *   --passphrase=+FILE  its first line
 *   --passphrase=-FD    the first line from a descriptor
 *   --passphrase=-      asked for at the terminal
 */

#ifndef SQLBLOCK_SECRETS_H
#define SQLBLOCK_SECRETS_H

#include "encryption.h"

/* What the user gave, or NULL; what is NEW is asked for twice.  It is read by
 * the first call, which ends the program where that cannot be done.
 */
const struct secret *secrets_given (bool new);

/* Read what KEY_FILE and PASSPHRASE say, which may be NULL.  The same
 * otherwise; the caller frees it.
 */
struct secret *secrets_read (const char *key_file, const char *passphrase,
                             bool new);

/* What the user gave, as the parameter of a server that is to be started, also
 * later and again: a new string, or NULL where nothing is given.  Returns an
 * exit code: what can be read only once, or by this process, is refused.
 */
int secrets_parameter (char **parameter);

/* Make the key of a new disk, which what the user gave opens: the texts go to
 * *HEADER and *SLOT, and stay.  Returns 0, or -1: EINVAL where nothing is
 * given.
 */
int secrets_make_key (const char **header, const char **slot,
                      struct status *status);

#endif /* SQLBLOCK_SECRETS_H */
