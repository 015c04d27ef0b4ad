/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* Times as people write them: ISO 8601.
 *
 *   2026-11-22T10:42:00+01:00    the zone as said
 *   2026-11-22T10:42             local time
 *   2026-11-22                   local time, the beginning of the day
 *
 * A space may stand for the T, and Z for the zone +00:00.
 */

#ifndef SQLBLOCK_TIMES_H
#define SQLBLOCK_TIMES_H

#include <stdbool.h>
#include <stdint.h>

/* Room for a time as text. */
#define TIMES_TEXT_MAX 40

/* Read TEXT as a time, in seconds since 1970, UTC.  Returns false where it
 * is none.  Thread rules: any thread.
 */
bool times_parse (const char *text, int64_t *seconds);

/* Does TEXT begin as a time does?  Such names are kept for times. */
bool times_resembles (const char *text);

/* SECONDS as local time with its zone, or for UTC with a Z; returns TEXT,
 * which has room for TIMES_TEXT_MAX bytes.  Thread rules: any thread.
 */
char *times_local (int64_t seconds, char *text);
char *times_utc (int64_t seconds, char *text);

/* Read a span such as 90s, 10m, 2h, 7d, 4w, in seconds; more than 0.
 * Returns false where it is none.
 */
bool times_parse_span (const char *text, int64_t *seconds);

#endif /* SQLBLOCK_TIMES_H */
