/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Where a server listens: see listening.h. */

#include <config.h>

#include <arpa/inet.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "listening.h"
#include "tool.h"

/* What the kernel calls listening: a flag of Unix sockets, a state of others.
 */
#define UNIX_LISTENS 0x10000
#define TCP_LISTENS  0x0a

/* Has PROCESS the socket INODE? */
static bool
has_socket (pid_t process, unsigned long inode)
{
  char *pattern = tool_format ("/proc/%d/fd/*", process);
  char *wanted = tool_format ("socket:[%lu]", inode);
  glob_t links = { 0 };
  bool has = false;

  if (glob (pattern, GLOB_NOSORT, NULL, &links) == 0) {
    for (size_t i = 0; i < links.gl_pathc && !has; i++) {
      char link[64];
      const ssize_t length =
          readlink (links.gl_pathv[i], link, sizeof link - 1);

      link[length < 0 ? 0 : length] = '\0';
      has = strcmp (link, wanted) == 0;
    }
    globfree (&links);
  }
  free (wanted);
  free (pattern);
  return has;
}

/* The URI of DISK on the socket that a LINE of the kernel's table is about, and
 * its INODE; NULL where nobody listens there.
 */
static char *
unix_uri (const char *line, const char *disk, unsigned long *inode)
{
  unsigned flags;
  int name = 0;
  char *where, *uri;

  if (sscanf (line, "%*s %*s %*s %x %*s %*s %lu %n", &flags, inode, &name) !=
          2 ||
      !(flags & UNIX_LISTENS) || line[name] != '/')
    return NULL;
  where = tool_encode (line + name);
  uri = tool_format ("nbd+unix:///%s?socket=%s", disk, where);
  free (where);
  return uri;
}

static char *
tcp_uri (const char *line, const char *disk, unsigned long *inode)
{
  struct in_addr address;
  char text[INET_ADDRSTRLEN];
  unsigned host, port, state;

  if (sscanf (line, " %*[^:]: %8x:%x %*s %x %*s %*s %*s %*s %*s %lu", &host,
              &port, &state, inode) != 4 ||
      state != TCP_LISTENS)
    return NULL;
  address.s_addr = host ? host : htonl (INADDR_LOOPBACK);
  inet_ntop (AF_INET, &address, text, sizeof text);
  return tool_format ("nbd://%s:%u/%s", text, port, disk);
}

bool
listening_find (pid_t process, const char *disk,
                bool (*try) (const char *uri, void *opaque), void *opaque)
{
  static const struct {
    const char *table;
    char *(*uri_of) (const char *line, const char *disk, unsigned long *inode);
  } kinds[] = { { "unix", unix_uri }, { "tcp", tcp_uri } };
  char *name = tool_encode (disk), line[1024];
  bool found = false;

  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !found; i++) {
    char *table = tool_format ("/proc/%d/net/%s", process, kinds[i].table);
    FILE *file = fopen (table, "re");

    while (file && !found && fgets (line, sizeof line, file)) {
      unsigned long inode;
      char *uri;

      line[strcspn (line, "\n")] = '\0';
      uri = kinds[i].uri_of (line, name, &inode);
      found = uri && has_socket (process, inode) && try (uri, opaque);
      free (uri);
    }
    if (file)
      fclose (file);
    free (table);
  }
  free (name);
  return found;
}
