/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* The keys of encrypted disks that this process has, until the store is closed.
 *
 * A disk is unlocked when it is opened, by the secrets that the store was given
 * (store_options).  To try a passphrase takes a second, so what it has opened
 * is kept, by all that the disk has of it: a slot that is removed opens nothing
 * any more.  What nothing opens is kept, too: a file from elsewhere may ask for
 * much work.
 */

#ifndef SQLBLOCK_KEYRING_H
#define SQLBLOCK_KEYRING_H

#include <pthread.h>
#include <stdbool.h>

#include "base/types.h"
#include "encryption.h"
#include "status.h"

struct keyring {
  const struct secret *secrets; /* the caller's */
  bool command;                 /* it is no server's */
  pthread_mutex_t lock;         /* a leaf: of `tried` */
  pthread_mutex_t unwrapping;   /* taken before it: one at a time */
  struct tried *tried;
  unsigned failed; /* how many of these nothing opens */
};

void keyring_init (struct keyring *keyring, const struct secret *secrets,
                   bool command);
void keyring_destroy (struct keyring *keyring);

/* Have INFO->key be the key of that disk, which has ENCRYPTION; NULL where it
 * is not encrypted, or no secret fits: then it can be read and written only as
 * it is stored, as by who sends and receives it, and a server lets no client
 * open it.  A command that was given a secret fails then, and for a disk that
 * is not encrypted, with EACCES.  Returns 0 or -1.  Thread rules: any thread.
 */
int keyring_unlock (struct keyring *keyring,
                    const struct encryption *encryption, struct disk_info *info,
                    struct status *status);

#endif /* SQLBLOCK_KEYRING_H */
