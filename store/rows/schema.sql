-- SPDX-License-Identifier: BSD-3-Clause
-- Copyright the sqlblock authors; see LICENSE.

-- The on-disk format of sqlblock, version 6.
--
-- A file is an SQLite database with
--   application_id  0x73716c62 ('sqlb')
--   user_version    6, the version of this format
--   encoding UTF-8, auto_vacuum INCREMENTAL, journal_mode WAL,
--   8 reserved bytes at the end of each page: its checksum, see the end,
--   schema_version 0x40000000 or more: what has less is a copy that SQLite's
--   backup API has just made, and complete without a log (mark.h).
-- It holds exactly the tables and indexes below, and beside them may have
--   - statistics (sqlite_stat1, sqlite_stat4) and views; ours may be missing
--   - the tables of Litestream, with the text that it gives them:
--     _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)
--     _litestream_lock (id INTEGER)
--     of which the page with the first may have the checksum of an earlier time
--   - tables and indexes of a feature, whose names begin with its name and "_"
--     (see feature), without triggers, and without REFERENCES
-- A file with anything else, or with changed definitions, is refused.
--
-- SQLite keeps the text of each statement below in the file, comments and
-- spaces included, and that is what a file is compared with.  So from the
-- first release on not a letter between CREATE and ";" may change without
-- a new format.  What is to grow therefore does not stand there: codecs,
-- kinds and classes are numbers of which no CHECK knows the last one, and
-- what is optional has rows in `property`.  How it grows:
--
--   a codec                    a number, and a row in feature
--   an option of a disk, ...   a key in property; if a program that does not
--                              know it must keep off, a row in feature as well
--   an index, a table          of a feature, as above
--   another shape of a table   a new format, and "sqlblock upgrade"
--
-- A program never changes, moves or deletes a row that it does not understand:
-- one with a codec, a kind or a class that it does not know, or of a disk with
-- a feature that keeps it off; nor a layer that has such a row or that such a
-- disk reads.  So reclaiming, history, repair and recompressing pass them by.
--
-- Formats 4 and 5 are read as they are, and become this one by "sqlblock
-- upgrade", which touches no row of blocks.
--
-- Reading it with the sqlite3 shell is welcome.  Changing it by hand is
-- not: every page and every row carries a checksum, and what does not fit
-- is answered with an I/O error.
--
-- How a disk is read, block by block (numbers count blocks of
-- disk.block_size bytes from 0):
--
--     disk 'web' ----> layer 7, generation 4
--                        |      number 0: generations 1, 3   -> row of 3
--                        |      number 1: generation 2, zero -> zeroes
--                        |      number 2: no row             -> ask parent
--                        v
--                      layer 5 as of generation 9
--                               number 2: generations 8, 11  -> row of 8
--                               number 3: no row, no parent  -> zeroes
--
-- Writes go to the disk's layer under its current generation.  A snapshot
-- remembers (layer, generation) and raises the layer's generation, so the
-- rows it sees are never written again.  A clone is a disk on a new layer
-- whose parent is what a snapshot remembers.  Rolling a disk back gives it a
-- new layer over what the snapshot remembers.
--
-- A layer is looked at, at a generation, by the disk whose layer it is (at
-- the layer's own generation), by snapshots and by child layers.  A row
-- whose number has a next newer row is needed if something looks at the
-- layer at a generation from the row's on and before the newer one's; what
-- nothing needs is deleted some time later.  A layer with a parent begins
-- with generation 2: rows of generation 1 are what it took over from its
-- parent, so that the parent can go.
--
-- Why one table has the blocks of all disks: a table for each disk would change
-- the schema with each disk, clone and snapshot, no prepared statement would
-- last, and a file from elsewhere could not be compared with a fixed text.
--
-- Why that table has rowids and an index, and is not WITHOUT ROWID: an index
-- b-tree spills what is longer than about a quarter of a page, and has data in
-- its inner nodes, so it gets deep.  Here data lies in leaves, and the index is
-- small and dense; maps are read from it alone.  (With the number of the block
-- as rowid reading would be 15 % faster, but there would be no room for
-- generations, and a map would walk over the data.)
--
-- Why rows have checksums beside those of pages: a row in the wrong place is
-- found, too, and so is a changed byte where no page has a checksum; SQLite's
-- integrity_check does not notice one in a blob, or in the size of a disk.
--
-- Why a row is one block: eight blocks of 4 KiB in a row take 0.71 of the
-- processor time of single rows for overwriting in order and 0.73 for filling,
-- hardly less than blocks of 16 KiB (0.76, 0.79), which there are already.
-- They cost 1.5 for a read of 4 KiB, 1.7 where a snapshot has left single rows
-- beside them, 1.4 times the log for a random write, and 2.1 with data that lz4
-- halves, which cannot be changed in place.  The price is a second meaning of a
-- row in all that looks at rows.  What writing in order costs is the log: data
-- that goes to a place of its own once takes 0.22.  A later feature can bring
-- either, with codecs of its own and tables named after it.
--
-- Why blocks have at most 1 MiB: from 16 KiB on, filling takes hardly less
-- processor time, each small write reads and writes a whole block, and a record
-- of a stream and what one transaction takes are bounded by it.  No CHECK says
-- so; a feature of a disk can lift it.
--
-- Why STRICT, and so few CHECKs: STRICT costs nothing and keeps foreign types
-- out.  A CHECK stands only where no later program can want another value (a
-- number is not negative, a parent is older).  What a list of today's values
-- would forbid is checked by the program that reads the row.
--
-- Why no triggers, ever: a file from elsewhere would run them.  What must change
-- with a row is done by temporary triggers of the connection that writes.
--
-- Why holds and texts of snapshots are no columns: so snapshot and disk have the
-- columns that they had in format 4, an upgrade touches none of their rows, and
-- salvage and backup know one shape.
--
-- Why bookmarks (a snapshot's identity without its data, the base of a later
-- increment) are no feature: generations tell which data is newer.  A trim leaves
-- no trace, so all that is zeroes counts as changed.  Then whoever writes need
-- not know of them.
--
-- Why several files cannot hold one disk: one log is one order of commits, and a
-- flush would have to sync two.  Nothing is in the way of a feature that says
-- that a layer stands in another file: layers have no REFERENCES from block,
-- copies share the guids of snapshots, and each file has an id.
--
-- Why block.id does not come from SQLite, which gives the ids of deleted rows
-- at the end again: what changed between two snapshots is a range of ids, and
-- needs no index of its own, which would take 32 % more log.  So the next one
-- comes behind the highest block.id and the highest snapshot.last_block.


-- Which write-ahead log belongs to the file, and whether one is missing.  The
-- first table: its root is page 3, which is read without SQL, from the file and
-- from the log.  It has one row, which always has the same length, so it is
-- rewritten in place, at the end of the page.  In state 4 salts are 'last' and the
-- number of the last page, which has a stamp; or the checksum of the log that
-- was to go; or something else, which says nothing (mark.h).
CREATE TABLE mark (
  number INTEGER PRIMARY KEY CHECK (number = 1),
  -- 2  open: the newest changes may be in the log
  -- 3  ended: the same, and the log starts over next
  -- 4  closed: the file is complete without a log
  -- One byte in the row, whatever it is.
  state INTEGER NOT NULL CHECK (state BETWEEN 2 AND 127),
  -- Random; each log begins with a new one, and the one before it.
  id BLOB NOT NULL CHECK (length (id) = 16),
  previous BLOB NOT NULL CHECK (length (previous) = 16),
  -- Of state 3: the salts in the header of the log that has ended.
  salts BLOB NOT NULL CHECK (length (salts) = 8)
) STRICT;


-- What a program must know to use this file, or one disk of it.  A program that
-- does not know the name of a row must, by its class:
--   1  ignorable   go on; what it does may undo the feature, and does no harm
--   2  read-only   change nothing: of the file, or of the disk, its snapshots
--                  and the layers that these read
--   3  refuse      not open the file; or neither show, copy, clone, send nor
--                  change the disk and its snapshots, but in lists
-- and the same as 3 for a class that it does not know.  The rows of a disk go
-- with it, and its clones get copies of them.  They are looked at whenever the
-- disk's row is: a feature may come while a server runs.  What other disks may
-- come to share, such as codecs and contents, is a feature of the file.  Of
-- settings, allow is one of class 3, and exclusive of class 2, of the disk or
-- the file that has it; where there is the feature and no setting, that was lost.
--
-- Tables of an ignorable feature can be lost at any time: backups and salvage
-- leave them out.
CREATE TABLE feature (
  id INTEGER PRIMARY KEY,
  -- Small letters and digits.
  name TEXT NOT NULL,
  -- 0: of the file.
  disk INTEGER NOT NULL,
  class INTEGER NOT NULL CHECK (class > 0),
  checksum INTEGER NOT NULL,
  UNIQUE (disk, name)
) STRICT;


-- Where blocks live.  Parents are older than their children, so following
-- them always ends.
CREATE TABLE layer (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- What shows through where this layer has no row: the parent's rows of
  -- at most this generation.
  parent INTEGER REFERENCES layer CHECK (parent < id),
  parent_generation INTEGER,
  -- New rows carry this generation.
  generation INTEGER NOT NULL CHECK (generation > 0),
  -- row_checksum of the columns above, see the end of this file.
  checksum INTEGER NOT NULL,
  CHECK ((parent IS NULL) = (parent_generation IS NULL))
) STRICT;

CREATE INDEX layer_by_parent ON layer (parent, parent_generation)
  WHERE parent IS NOT NULL;


-- A writable disk.  Its storage is its layer; rolling it back gives it
-- another one.
CREATE TABLE disk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- One with a '/' is hidden.  'DISK/receiving' is just being received, and
  -- goes when nobody receives it any more; others belong to those who know
  -- them, and stay.
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  -- In bytes; need not be a multiple of the block.
  size INTEGER NOT NULL CHECK (size > 0),
  -- In bytes: a power of two from 512 to 1 MiB, fixed for life.
  block_size INTEGER NOT NULL CHECK (block_size > 0),
  layer INTEGER NOT NULL UNIQUE REFERENCES layer,
  -- Grows when the disk jumps to other contents (a rollback).  Connections
  -- that were opened under another epoch fail rather than mix both.
  epoch INTEGER NOT NULL,
  -- The codec for new blocks (see block.codec) and its level.
  compression INTEGER NOT NULL,
  compression_level INTEGER NOT NULL,
  -- 1: store blocks that are equal only once.
  deduplicate INTEGER NOT NULL,
  -- The most bytes that the rows of this disk and its snapshots may take;
  -- NULL: as many as fit.
  quota INTEGER CHECK (quota >= 0),
  -- Seconds since 1970, UTC: datetime (created, 'unixepoch') shows it.
  created INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;


-- What a disk looked like at one moment.  Later ones have higher ids,
-- whatever the clock said.
CREATE TABLE snapshot (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  disk INTEGER NOT NULL REFERENCES disk,
  -- One with a '/' is hidden.  'copy/NUMBER' belongs to a copy that is being
  -- made, and goes when nobody copies any more; others stay.
  name TEXT NOT NULL,
  -- A random number that copies in other databases share: two snapshots
  -- with the same one have the same contents.
  guid INTEGER NOT NULL,
  -- The rows it sees: those of this layer of at most this generation.
  layer INTEGER NOT NULL REFERENCES layer,
  generation INTEGER NOT NULL,
  -- The disk's size then, in bytes.
  size INTEGER NOT NULL CHECK (size > 0),
  created INTEGER NOT NULL,
  -- 1: made by the server's own schedule, which may also remove it.
  automatic INTEGER NOT NULL,
  -- The highest block.id then.  What changed between two snapshots of one
  -- layer are the rows with ids between their last_block.
  last_block INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  UNIQUE (disk, name)
) STRICT;

CREATE INDEX snapshot_by_layer ON snapshot (layer, generation);
CREATE INDEX snapshot_by_last_block ON snapshot (last_block);


-- What is optional about the file, a disk, a snapshot and others.
--
--   key           of        value
--   id            file      16 random bytes, which copies share
--   description   snapshot  a text
--   user:...      any       a text that people give, by any name
--   encryption, encryption:slot:NUMBER
--                 disk      how it is encrypted, and what wraps its key: texts,
--                           see encryption.c
--   hold:...      snapshot  when it was made (since 1970): the snapshot is not
--                           deleted, replaced or thinned out, by anything,
--                           while it has one
--   default:...   file      compression, dedup, quota: what new disks get
--   local:bookmark:...
--                 disk      a bookmark: a text of layer, generation, size and
--                           time of a snapshot in decimal, its guid in 16
--                           digits of hex, and its name, with a space between
--                           them.  What the disk shows of rows that were there
--                           then is as it was, zeroes perhaps not
--   local:told    file      who told clients of it, and how often: a text, see
--                           lineage.h
--   local:shrunk  disk      a random number, another one each time that the
--                           disk gets smaller
--   local:resume  disk      it is DISK/receiving, and is kept although nobody
--                           receives it: a text, see partial.h
--   local:trash-...
--                 disk      trash-name, trash-since, trash-until: what a disk
--                           'trash/ID' was called, when it was deleted, and how
--                           long it stays (since 1970)
--   local:litestream
--                 file      Litestream replicates it; also a feature of class 2.
--                           A backup has neither
--   local:...     any       of this file only; auto-snapshot, keep, trash, allow,
--                           exclusive, limit-requests, limit-bytes: settings
--                           (settings.h), of the file what its disks inherit
--   others        any       of those who know them
--
-- Rows go with their owner.  A backup has all of them; a clone gets those of
-- the disk, and a stream those of its disk and snapshot, but for id, hold:...
-- and local:... (a clone gets local:allow and local:exclusive); a roll-back and a new snapshot change and copy none.  So a key
-- that is not known is kept and carried along, and one that must not be is
-- called local:...  Who must not miss a key that he does not know is told so
-- by feature.
CREATE TABLE property (
  id INTEGER PRIMARY KEY,
  -- 0 file, 1 disk, 2 snapshot, 3 layer
  kind INTEGER NOT NULL,
  -- The id of that; 0 for the file.
  owner INTEGER NOT NULL,
  -- At most 200 bytes, as names are.
  key TEXT NOT NULL,
  -- An integer, a text or bytes: at most 8192 of these.
  value ANY NOT NULL CHECK (typeof (value) <> 'real'),
  checksum INTEGER NOT NULL,
  UNIQUE (kind, owner, key)
) STRICT;


-- Layers that may have rows, or be as a whole, needed by nothing, and where
-- the search for such rows goes on.
CREATE TABLE reclaim (
  layer INTEGER PRIMARY KEY REFERENCES layer,
  number INTEGER NOT NULL CHECK (number >= 0),
  generation INTEGER NOT NULL CHECK (generation >= 0)
) STRICT;


-- The contents.  A block that is all zeroes has no row unless it must hide
-- an older or an inherited one; then it has a row of codec 0.  (There is
-- no REFERENCES on layer: it would cost a look-up for every block written.)
--
-- Codecs of later programs, with the features that tell of them: none yet.
--
-- Encrypted data is a number of the key (32 bits, little-endian), a nonce of 24
-- bytes, a tag of 16 bytes, and the bytes, which were compressed before.  All
-- checksums are of what is stored, so nobody needs the key to check or to move
-- a row.  In a row of content hash is a keyed one.  What identifies the block
-- to the tag (of XChaCha20-Poly1305) is its number (64 bits; 2^64-1 where the
-- lowest bit of the nonce's first byte is 1: others may share the bytes), its
-- length, the codec before, and the number of the key (32 bits each, all
-- little-endian).  A disk that has such rows has the feature 'encrypted', of
-- class 3, and no others but of zeroes; cipher.h and encryption.c say how keys
-- are derived and wrapped.
CREATE TABLE block (
  -- In the order of writing; see above where the next one comes from.
  id INTEGER PRIMARY KEY,
  layer INTEGER NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 0),
  generation INTEGER NOT NULL,
  -- How data holds the block's bytes:
  --   0  zeroes, no data        2  zstd
  --   1  as they are            3  lz4
  --   4  they are in a row of content, with others that are equal
  -- and 256 more: that, encrypted.  Others belong to features.
  codec INTEGER NOT NULL,
  -- Of the row's key and data, see below.
  checksum INTEGER NOT NULL,
  content INTEGER,
  data BLOB,
  CHECK (codec > 4 OR (codec IN (0, 4)) = (data IS NULL)),
  CHECK (codec > 4 OR (codec <> 4) = (content IS NULL))
) STRICT;

-- Every look-up goes through the first index.  The map of a disk (what is
-- stored, what is a hole) is read from both, without touching the data.
CREATE UNIQUE INDEX block_by_number ON block (layer, number, generation);
CREATE INDEX block_zero ON block (layer, number, generation)
  WHERE codec = 0;

-- The references to a row of content are counted here, which cannot be wrong.
CREATE INDEX block_content ON block (content) WHERE codec = 4;


-- What blocks of disks with deduplicate = 1 hold, each once.  A row to which
-- no block refers is deleted in the transaction that removes the last one.
-- Only rows of codec 4 count as references.  What rows of other codecs refer to
-- needs a codec here, too, that other programs do not know: then they keep it.
CREATE TABLE content (
  -- Ids are never used again.
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The XXH3 of the block's bytes.  Two rows may have the same one: what is
  -- equal is found by comparing bytes.
  hash INTEGER NOT NULL,
  -- The length of the block in bytes.
  size INTEGER NOT NULL,
  -- How data holds these bytes: as in block, but not 0 and 4.
  codec INTEGER NOT NULL,
  -- Of the other columns, see below.
  checksum INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE INDEX content_by_hash ON content (hash);


-- The layers whose data is counted, since a disk with a quota or a snapshot
-- of it looks at them.  Others have no row here.
CREATE TABLE counted (
  layer INTEGER PRIMARY KEY REFERENCES layer,
  -- Rows of lower numbers are counted, others are not yet.
  number INTEGER NOT NULL CHECK (number >= 0),
  -- What the data of these rows takes, in bytes; data that several rows
  -- share counts for each of them.
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;


-- Views for people who read the file with the sqlite3 shell.  The program
-- does not use them: a file may lack them, or have others.

-- From where layers are looked at: by a disk (snapshot is NULL), a snapshot,
-- or a child layer (disk is NULL, too).
CREATE VIEW viewer (layer, generation, disk, snapshot) AS
  SELECT disk.layer, layer.generation, disk.id, NULL
    FROM disk JOIN layer ON layer.id = disk.layer
  UNION ALL
  SELECT layer, generation, disk, id FROM snapshot
  UNION ALL
  SELECT parent, parent_generation, NULL, NULL FROM layer
    WHERE parent IS NOT NULL;

-- The layers that a disk (snapshot is NULL) or a snapshot reads, its own
-- first, each up to a generation.
CREATE VIEW reads_layer (disk, snapshot, depth, layer, generation) AS
  WITH RECURSIVE chain (disk, snapshot, depth, layer, generation) AS (
    SELECT disk, snapshot, 0, layer, generation FROM viewer
      WHERE disk IS NOT NULL
    UNION ALL
    SELECT chain.disk, chain.snapshot, chain.depth + 1, layer.parent,
           layer.parent_generation
      FROM chain JOIN layer ON layer.id = chain.layer
      WHERE layer.parent IS NOT NULL
  )
  SELECT * FROM chain;

-- Each row of a block with the generation of the next newer one, what its
-- data takes in bytes, and 1 where other rows have the same content.
CREATE VIEW version (id, layer, number, generation, newer, bytes, shared) AS
  SELECT block.id, layer, number, generation,
         lead (generation) OVER (PARTITION BY layer, number
                                 ORDER BY generation),
         ifnull (length (ifnull (block.data, content.data)), 0),
         EXISTS (SELECT 1 FROM block AS other
                   WHERE other.codec = 4 AND other.content = block.content
                     AND other.id <> block.id)
    FROM block LEFT JOIN content ON content.id = block.content;

-- The row that each block of a disk (snapshot is NULL) or a snapshot shows,
-- where it is not zeroes.
CREATE VIEW contents (disk, snapshot, number, offset, id) AS
  WITH visible (disk, snapshot, number, offset, id, codec, rank) AS (
    SELECT disk.name, snapshot.name, block.number,
           block.number * disk.block_size, block.id, block.codec,
           row_number () OVER (
             PARTITION BY disk.name, snapshot.name, block.number
             ORDER BY reads_layer.depth, block.generation DESC)
      FROM reads_layer JOIN disk ON disk.id = reads_layer.disk
           LEFT JOIN snapshot ON snapshot.id = reads_layer.snapshot
           JOIN block ON block.layer = reads_layer.layer
             AND block.generation <= reads_layer.generation
  )
  SELECT disk, snapshot, number, offset, id FROM visible
    WHERE rank = 1 AND codec <> 0;

-- What disks store: the blocks that are data, their bytes in the file, and
-- how many bytes deleting the disk without its snapshots would free at least:
-- those of its layer that nothing else sees.  What other blocks share counts
-- for each of them, and is nobody's alone.  Where there are clones, roll-backs
-- or shared contents more may be freed: "sqlblock info" says exactly how much.
CREATE VIEW disk_usage (disk, size, blocks, bytes, exclusive) AS
  SELECT disk.name, disk.size, count (block.id),
         ifnull (sum (length (ifnull (block.data, content.data))), 0),
         (SELECT ifnull (sum (version.bytes), 0) FROM version
            WHERE version.layer = disk.layer AND version.newer IS NULL
              AND NOT version.shared AND NOT EXISTS
              (SELECT 1 FROM viewer WHERE viewer.layer = version.layer
                 AND viewer.generation >= version.generation
                 AND viewer.generation < ifnull (version.newer, 1 << 62)
                 AND (viewer.disk IS NOT disk.id
                      OR viewer.snapshot IS NOT NULL)))
    FROM disk LEFT JOIN contents ON contents.disk = disk.name
           AND contents.snapshot IS NULL
         LEFT JOIN block ON block.id = contents.id
         LEFT JOIN content ON content.id = block.content
    GROUP BY disk.id;

-- What deleting one snapshot would free at least, in the same way.
CREATE VIEW snapshot_usage (disk, snapshot, created, automatic, blocks,
                            bytes) AS
  SELECT disk.name, snapshot.name, datetime (snapshot.created, 'unixepoch'),
         snapshot.automatic, count (version.id),
         ifnull (sum (iif (version.shared, 0, version.bytes)), 0)
    FROM snapshot JOIN disk ON disk.id = snapshot.disk
         LEFT JOIN version ON version.layer = snapshot.layer
           AND version.generation <= snapshot.generation
           AND snapshot.generation < ifnull (version.newer, 1 << 62)
           AND version.bytes > 0
           AND (SELECT count (*) FROM viewer
                  WHERE viewer.layer = version.layer
                    AND viewer.generation >= version.generation
                    AND viewer.generation < ifnull (version.newer, 1 << 62))
               = 1
    GROUP BY snapshot.id;

-- The blocks of a disk that were written, or trimmed, since a snapshot, by
-- number and byte.
CREATE VIEW changed_blocks (disk, snapshot, number, offset) AS
  WITH side (snapshot, layer, generation, now) AS (
    SELECT snapshot.id, reads_layer.layer, reads_layer.generation, 0
      FROM snapshot JOIN reads_layer ON reads_layer.snapshot = snapshot.id
    UNION ALL
    SELECT snapshot.id, reads_layer.layer, reads_layer.generation, 1
      FROM snapshot JOIN reads_layer ON reads_layer.disk = snapshot.disk
           AND reads_layer.snapshot IS NULL
  ),
  differing (snapshot, number) AS (
    SELECT side.snapshot, block.number
      FROM side JOIN block ON block.layer = side.layer
           AND block.generation <= side.generation
      GROUP BY side.snapshot, block.id
      HAVING count (*) = 1
  )
  SELECT DISTINCT disk.name, snapshot.name, differing.number,
         differing.number * disk.block_size
    FROM differing JOIN snapshot ON snapshot.id = differing.snapshot
         JOIN disk ON disk.id = snapshot.disk;


-- Checksums are XXH3 (64 bits), kept as signed integers.
--
-- The last 8 bytes of a page of the database file are the XXH3 of all bytes
-- before them, with the page's number as seed, little-endian (1 where that is
-- 0); or zeroes, which means that the page has no checksum; or the lowest 40
-- bits of it, inverted, and above them a stamp of 24 bits.  The last page of a
-- file that is closed has the first 24 bits of mark.id as its stamp (1 where
-- they are 0).  In the log they are zeroes.  For page 1 the bytes 18, 19, 24
-- to 27, 40 to 43 and 92 to 99 of the database header count as zeroes, since
-- other programs change them: the sqlite3 shell's .backup, and PRAGMA
-- journal_mode.
--
-- block.checksum is the XXH3 of 48 bytes: layer, number, generation,
-- codec, the length of data in bytes and the XXH3 of data (of no bytes,
-- where data is NULL), each as 64 bits, little-endian.  For codec 4 data
-- stands for the 8 bytes of content, little-endian.
--
-- content.checksum is the XXH3 of 40 bytes: id, hash, size, codec, and the
-- XXH3 of data, in the same way.
--
-- row_checksum (table, columns ...) is the XXH3 of its arguments in the
-- order in which they stand above, one after the other:
--   NULL     the byte 0
--   integer  the byte 1, then the value as 64 bits, little-endian
--   text     the byte 3, then its length in bytes as 64 bits,
--            little-endian, then the text in UTF-8
--   bytes    the byte 4, then their number as 64 bits, little-endian,
--            then they
