/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Statistics for Prometheus: a file that is always complete.
 *
 * A thread writes what the server has counted as text, in the manner of
 * node_exporter's textfile collector: into FILE.new, which is then renamed
 * to FILE.  When the server ends, FILE goes; after kill -9 it stays, and
 * the time of its last change tells how old it is.
 *
 * The names of all series are stable.  Each has the label "server", made of
 * the name of the file: so the files of several servers in one directory
 * never have the same series.  A server that was given a name has it in the
 * label "name".
 */

#ifndef SQLBLOCK_PROMETHEUS_H
#define SQLBLOCK_PROMETHEUS_H

#include "status.h"

struct statistics;

/* How often a server writes its file, in milliseconds. */
#define PROMETHEUS_INTERVAL 5000

struct prometheus_options {
  const char *file;     /* its name */
  const char *database; /* the name of the database, to be told */
  const char *name;     /* the server's own, or NULL */
  int interval;         /* milliseconds */
  /* Takes lines for the server's log; called from the thread. */
  void (*warn) (const char *message);
};

/* Check that FILE can be written, and is not something else that would be
 * overwritten.  Changes nothing.  Returns 0, or -1.
 */
int prometheus_check (const char *file, struct status *status);

struct prometheus;

/* Write the file for the first time, and start the thread; STATISTICS and
 * what OPTIONS points to outlive it.  Returns NULL on failure.
 */
struct prometheus *prometheus_start (struct statistics *statistics,
                                     const struct prometheus_options *options,
                                     struct status *status);

/* End the thread and remove the file. */
void prometheus_stop (struct prometheus *prometheus);

#endif /* SQLBLOCK_PROMETHEUS_H */
