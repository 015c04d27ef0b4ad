/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A program that reads what a stranger has made opens nothing else (Landlock,
 * Linux 5.13).  It is to be refused before if it names other files; this holds
 * also where that was not noticed.  Thread rules: one thread, before execve.
 */

#ifndef SQLBLOCK_CONFINE_H
#define SQLBLOCK_CONFINE_H

/* From now on this process opens the file FD, to be read, what programs and
 * libraries are made of, and no other file; and where the kernel knows that,
 * makes no TCP connection.  Nothing happens where the kernel cannot do it.  The
 * process must have PR_SET_NO_NEW_PRIVS.
 */
void confine_to (int fd);

#endif /* SQLBLOCK_CONFINE_H */
