/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Another program that does a part of the work: qemu-nbd, qemu-img, xz.
 *
 * It is looked for in the directories of the system alone, not in those of
 * $PATH, gets an environment with nothing of ours, and of our files those that
 * it is given.  It does not get new privileges, and it is killed when this
 * process ends, however that ends.  What it says on stderr is kept, for the
 * message when it fails.
 *
 * Thread rules: one thread, which lives as long as the process.
 */

#ifndef SQLBLOCK_PROGRAM_H
#define SQLBLOCK_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "status.h"

/* What the program gets as its descriptors 0, 1, 3 and 4; -1: none, which is
 * /dev/null for the first two.  Where LISTENS, 3 is a socket that listens, and
 * the program is told of it as systemd does.  Where CONFINED, the program opens
 * no other file than 4 (confine.h).
 */
struct program_files {
  int input, output, third, fourth;
  bool listens, confined;
};

struct program {
  const char *name;
  pid_t pid;  /* 0: it has ended */
  int errors; /* what it says */
};

/* Start ARGV[0], which Debian has in PACKAGE.  Returns 0, or -1: ENOTSUP where
 * it is not installed.
 */
int program_start (struct program *program, const char *const argv[],
                   const char *package, const struct program_files *files,
                   struct status *status);

/* Wait until it has ended, for at most so many SECONDS.  Returns 0 where it
 * says that all went well, or -1 with what it said.
 */
int program_end (struct program *program, unsigned seconds,
                 struct status *status);

/* It may have ended by itself, and this is why something fails: STATUS then
 * says what it said.  Returns -1.
 */
int program_explain (struct program *program, struct status *status);

/* Kill it if it is still there.  A PROGRAM of zeroes is left alone. */
void program_kill (struct program *program);

/* Start, and wait for the end.  Where CODE is not NULL, the program's exit code
 * goes there, and only 1 is a failure.
 */
int program_run (const char *const argv[], const char *package,
                 const struct program_files *files, unsigned seconds, int *code,
                 struct status *status);

#endif /* SQLBLOCK_PROGRAM_H */
