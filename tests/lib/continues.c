/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* continues BEFORE NOW: print whether a client that was told the text in the
 * file BEFORE goes on when it is told NOW: "it goes on", or why not.
 */

#include <config.h>

#include <err.h>
#include <stdio.h>
#include <string.h>

#include "base/lineage.h"

static void
read_lineage (const char *name, struct lineage *lineage)
{
  char text[LINEAGE_TEXT + 1] = "";
  FILE *file = fopen (name, "re");

  if (file == NULL || fread (text, 1, LINEAGE_TEXT, file) == 0)
    err (2, "%s", name);
  fclose (file);
  memset (lineage, 0, sizeof *lineage);
  if (!lineage_parse (text, lineage))
    errx (2, "%s tells nothing", name);
}

int
main (int argc, char *argv[])
{
  struct lineage before, now;
  const char *why;

  if (argc != 3)
    errx (2, "usage: continues BEFORE NOW");
  read_lineage (argv[1], &before);
  read_lineage (argv[2], &now);
  why = lineage_broken (&before, &now);
  puts (why ? why : "it goes on");
  return 0;
}
