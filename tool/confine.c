/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Confining a program: see confine.h. */

#include <config.h>

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "confine.h"

#ifdef SYS_landlock_create_ruleset

/* As in linux/landlock.h, which may be older than the kernel. */
enum { ASK_VERSION = 1, PATH_BENEATH = 1 };
enum { EXECUTE = 1, READ_FILE = 4, READ_DIR = 8, ALL_OF_FILES = 0x1fff };
enum { ALL_OF_TCP = 3, TCP_SINCE = 4 };

struct ruleset {
  uint64_t files, tcp; /* what needs a rule */
};

struct rule {
  uint64_t allowed;
  int32_t fd;
} __attribute__ ((packed));

/* What programs need, and whoever may run them may read. */
static const char *const allowed[] = {
  "/usr",
  "/lib",
  "/lib32",
  "/lib64",
  "/bin",
  "/sbin",
  "/etc/ld.so.cache",
  "/etc/alternatives",
  "/sys/devices/system",
  "/proc/self",
  "/dev/urandom",
};

static void
allow (int ruleset, int fd, uint64_t what)
{
  const struct rule rule = { .allowed = what, .fd = fd };

  syscall (SYS_landlock_add_rule, ruleset, PATH_BENEATH, &rule, 0);
}

void
confine_to (int fd)
{
  const struct ruleset wanted = { .files = ALL_OF_FILES, .tcp = ALL_OF_TCP };
  const long version =
      syscall (SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
  const size_t size =
      version >= TCP_SINCE ? sizeof wanted : offsetof (struct ruleset, tcp);
  const int ruleset =
      version < 1 ? -1
                  : syscall (SYS_landlock_create_ruleset, &wanted, size, 0);
  int place;

  if (ruleset == -1)
    return;
  for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++) {
    place = open (allowed[i], O_PATH | O_CLOEXEC);
    /* What is for directories only is refused for a file. */
    allow (ruleset, place, EXECUTE | READ_FILE | READ_DIR);
    allow (ruleset, place, READ_FILE);
    close (place);
  }
  allow (ruleset, fd, READ_FILE);
  syscall (SYS_landlock_restrict_self, ruleset, 0);
  close (ruleset);
}

#else

void
confine_to (int fd)
{
  (void)fd;
}

#endif
