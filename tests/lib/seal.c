/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* seal DATABASE: give its pages checksums, see seal.h. */

#include <config.h>

#include <err.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "seal.h"

int
main (int argc, char **argv)
{
  unsigned char *bytes;
  struct stat st;
  int fd;

  if (argc != 2)
    errx (EXIT_FAILURE, "give a database");
  fd = open (argv[1], O_RDWR | O_CLOEXEC);
  if (fd == -1 || fstat (fd, &st) == -1)
    err (EXIT_FAILURE, "%s", argv[1]);
  bytes = mmap (NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (bytes == MAP_FAILED)
    err (EXIT_FAILURE, "%s", argv[1]);
  seal_pages (bytes, st.st_size);
  return 0;
}
