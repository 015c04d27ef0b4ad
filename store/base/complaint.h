/* Complaints: what a thread of the server tells of work that fails again and
 * again.  The same failure is told once a day; another one, or the same after
 * the work has succeeded, at once.
 */

#ifndef SQLBLOCK_COMPLAINT_H
#define SQLBLOCK_COMPLAINT_H

#include <stdbool.h>
#include <stdint.h>

/* All zeroes: there was no failure. */
struct complaint {
  char *message; /* of the last failure, or NULL */
  uint64_t told; /* when, by clock_now */
};

/* The work has failed with MESSAGE.  Returns whether that is to be told.
 * Thread rules, here and below: one thread at a time.
 */
bool complaint_is_due (struct complaint *complaint, const char *message);

/* The work has succeeded, or there is none any more: frees what it holds. */
void complaint_end (struct complaint *complaint);

#endif /* SQLBLOCK_COMPLAINT_H */
