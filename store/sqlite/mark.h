/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright the sqlblock authors; see LICENSE.
 */

/* A log that belongs to its file.
 *
 * A database that is in use is two files, of which each alone is wrong: one
 * that lost its log may be half of the newest state and half of an older one,
 * and one that is put beside another's log is mixed with that, without a word
 * from SQLite.  So each file carries a mark, the only row of the table mark,
 * which the log carries, too.  It is read without SQL, since what would have
 * to be queried may be half: its page is always page 3.
 *
 *   page 3   header ... 0 0 0 0 0 0 ... | state, id, previous, salts | checksum
 *                                       |-------- the last 512 bytes ---------|
 *
 * All that changes lies in one sector, so a power cut leaves the old mark or
 * the new one.  A mark that ends a log gets into the file when all the rest of
 * that log is there, and durable: see vfs-restart.h.
 *
 * States: an id is random, and belongs to one log, or to several that follow
 * each other while other programs do not take part.
 *
 *   open      the log may have the newest changes
 *   ended     the same, all of it is in the file, and the log starts over:
 *             the mark remembers the salts in the log's header
 *   closed    the file alone is everything
 *
 *           first commit            log is long          first commit after it
 *   closed(X) ──► open(Y, after X) ──► ended(Y, salts) ──► open(Z, after Y) ...
 *      ▲                │                   │
 *      └── closed(Y) ◄──┴───────────────────┘  idle for a second, or the end
 *
 * What writes it is marking.c, which also has the rules for when the log may
 * start over.  What is left behind, whenever everything stops:
 *
 *   file       log                            fits
 *   closed(X)  none, or nothing valid in it   yes: it was closed; if page N has
 *                                             the stamp of X
 *   closed(X)  has X                          yes: it was to be removed
 *   closed(X)  has X, not closed, and there   yes: the same, where there was
 *              the checksum that X names      no room in it for a mark
 *   closed(X)  begins with "after X"          yes: it was just opened
 *   open(X)    has X                          yes: in use
 *   ended(X)   has X                          yes: not yet started over
 *   ended(X)   begins with "after X"          yes: has started over
 *   ended(X)   nothing valid, but a header    yes: has started over, and
 *              with other salts               nothing of it was synced: SQLite
 *                                             syncs the header before frames,
 *                                             and it lies within one sector
 *                                             (but see below)
 *   open(X)    was begun by Litestream        yes: see below
 *   open(X)    none, or nothing valid         no: the log is missing
 *   ended(X)   none, or with the old header   no: the log is missing
 *   any        anything else                  no: the log is another's
 *
 * - A log "has X" if one of the marks that are committed in it has that id, and
 *   is as far: what ends a log is in the log before it is in the file.  So a
 * log that was copied before the file, and lacks what the file has since got
 * from it, is another's: it would put old pages over new ones. Each log of ours
 * begins with a mark.
 * - On a full file system the log may have no room for the mark that closes it.
 *   When all of it is in the file and durable, that is written into the file
 *   alone, and names the log by the checksum of its last frame, which is one of
 *   all before it, too; then the log goes.  A log which has that checksum at
 *   the end of a transaction has all that the file got from it.
 * - A copy of the main file alone, begun while the file was closed and gone on
 *   with while somebody wrote, says "closed" too, and is torn.  So the file
 * says so a second time, at its end, which a copy comes to last:
 *
 *     page 3: closed(X), with N pages | ... | page N: stamp X (vfs-checksum.h)
 *
 *   Who closes stamps page N before page 3 is written.  Who opens stamps it
 *   otherwise before page 3 says "open", and so before anything gets into the
 *   file, and no id comes again.  A copy made in the order of the file that has
 *   X in page 3 and as stamp has read the stamp before X was opened, thus all
 *   between them while the file was closed.  Any other stamp than X, or no page
 *   N, and it is refused, if there is no log.  With a log nobody looks at the
 *   stamp: it may not have been durable where page 3 was, and a log that begins
 *   after X has all that the file got since.
 *   The stamp 0 says nothing: so it is where another program has moved page N
 *   out of the log, which we must not take for a torn copy; or page 3, and then
 *   no stamp is asked for.  Neither do marks of files that
 *   were just made, or given a new mark, or closed where the log had no room,
 *   ask for a stamp.  What a copy in another order got before page 3 and what
 *   it got after page N is not known; nor is one for which 24 bits happen to be
 *   the same, of some 17 million.
 *   (A number of the opening in each page, which a page of later times would
 *   have, would find such pages when they are read; but once the copy is opened
 *   it counts on, and takes them for its own.)
 * - Litestream (litestream.h) lets the log start over when all of it is in the
 *   file, whatever the mark says.  Its log begins with a transaction of one
 * page, on which the number is one higher than it was in the log before.  So it
 * fits a file with the number before, or, when the page was moved meanwhile,
 * with a number that is in the log; if it has no mark yet, or its first one is
 * after that of the file.  Each log of ours counts the number on as well, where
 * it begins: so a file that has not got the log before is two behind.  One that
 * was copied in the middle of Litestream's checkpoint, after that page was
 * moved, and a log that was copied after it, pass.
 * - "Nothing valid" is judged as SQLite's recovery does it: by checksums and
 *   salts, up to the last commit.
 * - Damage in the log hides what is behind it, without a word: SQLite takes it
 *   for the end.  So does damage in the first transaction of a log that has
 *   started over behind ended(X).  It cannot be told from one that a power cut
 *   has kept from the disk: without a sync the system may write any of its
 *   sectors and not others, so that later frames are there and fit each other,
 *   and the first does not.  Nothing in the files says that there was a sync
 *   meanwhile.  If the file said open(Y), durably, before the first flush
 * behind each start, it would; that takes two syncs more each time a log starts
 *   over, half as many again as a checkpoint makes.  What is lost is what was
 *   written since the last checkpoint has ended, no more than the bound of the
 *   log, and the file is as it was then.  Who finds such damage by other means
 *   has 'sqlblock check --salvage', which says that the log is damaged.
 * - A file in rollback mode (bytes 18 and 19 of its header) was made by
 *   VACUUM INTO, or was switched to that by journal_mode=delete.  It is
 *   complete without a log, whatever its mark says; a log beside it is
 *   another's.
 * - So is a copy by SQLite's backup API (.backup in the sqlite3 shell,
 *   Connection.backup in Python), which has the mark and the mode of its
 *   source.  It is known by the counter of the schema (bytes 40 to 43): the API
 *   writes that of the file that was overwritten, and one more; in a new file
 *   1.  In a database of ours it begins with MARK_SCHEMA, and it never falls.
 *   Who opens such a copy for writing gives it a new mark and a counter as it
 *   should be, and has both in the file before he goes on.  A log that begins
 *   with a closed mark is of that, and fits whatever mark is before it.
 *   A backup over a file that was one of ours, and not a copy just made, is not
 *   known as one, and refused if it was made while others wrote.
 *   A backup that was killed has its journal; without that it passes only if it
 *   was made over another file and has as many pages as its header says.
 * - A mark that cannot be read, since its page does not fit its checksum, fits
 *   nothing.  No power cut does that.  But a file of format 4 without one has
 *   none yet, and any log of that format passes for its own, as it then did.
 *   An upgrade puts the first mark, closed and after none, into that log, and
 *   then page 1, with the counter of the schema, into the file before it.  So
 *   with such a counter there must be a log, and one with another first mark is
 *   of another time.
 *
 * Where a server or a command of ours has the file open for writing nobody
 * looks: the log is in use, and theirs.
 *
 * What is not noticed: a file and its log that are both of another time, which
 * is a copy like any other; and a file in rollback mode that was cut off from
 * its journal.
 */

#ifndef SQLBLOCK_MARK_H
#define SQLBLOCK_MARK_H

#include <stdbool.h>
#include <stdint.h>

#include "sqlite/log-walk.h"
#include "status.h"

/* The least counter of the schema of a database of ours. */
#define MARK_SCHEMA 0x40000000

#define MARK_PAGE    3
#define MARK_ID_SIZE 16

/* As the table has them. */
enum mark_state { MARK_OPEN = 2, MARK_ENDED = 3, MARK_CLOSED = 4 };

struct mark {
  enum mark_state state;
  unsigned char id[MARK_ID_SIZE], previous[MARK_ID_SIZE];
  unsigned char salts[LOG_SALTS_SIZE]; /* or one of the two that follow */
};

/* The bytes of the row and the page's checksum, at the end of the page. */
#define MARK_CELL_SIZE 49

/* Take the mark from PAGE, page 3 as it stands in the file or in the log.
 * Returns false where that is not the page of a mark.  Thread rules: any
 * thread.
 */
bool mark_parse (struct mark *mark, const unsigned char *page,
                 uint32_t page_size);

/* The same, the other way round: the bytes of the row, which stand before the
 * checksum.
 */
void mark_format (const struct mark *mark, unsigned char cell[MARK_CELL_SIZE]);

/* Have MARK, which is closed, name the log that ends with the checksum SUMS. */
void mark_set_sums (struct mark *mark, const uint32_t sums[2]);

/* Have MARK, which is closed, say that page LAST, the last one, has its stamp.
 */
void mark_set_last (struct mark *mark, uint32_t last);

/* That page, or 0 where MARK does not say so; and its stamp. */
uint32_t mark_last (const struct mark *mark);
uint32_t mark_stamp (const struct mark *mark);

enum mark_fit {
  MARK_FITS,
  MARK_MISSING, /* a log is missing */
  MARK_FOREIGN, /* there is one of another file, or of another time */
  MARK_TORN,    /* a copy of other times than its mark */
  MARK_DAMAGED, /* the mark of the file cannot be read */
};

/* What was seen of a file and its log. */
struct mark_look {
  enum mark_fit fit;
  bool alone;    /* it fits, and the file alone is everything: nothing is in a
                    log */
  bool unmarked; /* the file is of format 4, and has none */
  bool moving;   /* the same, and its first one is in a log that was being moved
                    into it */
  bool rollback; /* the file is in rollback mode */
  bool copied;   /* SQLite's backup API has made it */
  bool readable; /* `mark` is that of the file */
  bool torn;     /* the stamp is not that of `mark`, which is closed */
  struct mark mark;

  /* The log beside it. */
  bool log_exists;       /* and is not empty */
  bool log_has_header;   /* a valid one */
  uint64_t log_frames;   /* that are committed */
  struct log_walk walk;  /* at its end */
  bool log_has_marks;    /* committed ones */
  struct mark log_first; /* the first of them */
  struct mark log_last;  /* the last of them */
  bool log_has_id;       /* one is that of the file, or a later one of the
                            same id */
  bool log_has_sums;     /* it has the checksum that the file's mark names */

  /* Where the first transaction in it is one of Litestream (litestream.h). */
  uint32_t litestream;      /* the page that it has written; 0: it is none */
  int64_t litestream_first; /* the number that is on it, */
  int64_t litestream_last;  /* and the last one of that page */
  bool litestream_fits;     /* the file has the one before, or one of these */
};

/* Look at the database PATH, which database_examine has found to be ours, and
 * at its log, and change nothing.  Returns 0, whatever it sees, or -1 where the
 * files cannot be read.  While somebody writes to them it means nothing.
 * Thread rules: any thread.
 */
int mark_look (const char *path, struct mark_look *look, struct status *status);

/* Fail, unless the log fits the database PATH: EIO, with the cause and the ways
 * out.  Returns 0 or -1.
 */
int mark_check_fit (const char *path, const struct mark_look *look,
                    struct status *status);

#endif /* SQLBLOCK_MARK_H */
