-- SPDX-License-Identifier: BSD-3-Clause
-- Copyright the sqlblock authors; see LICENSE.

-- The tables and indexes of formats 4 and 5, letter by letter: a file of these
-- is compared with them, read as it is, and made one of the format of today by
-- "sqlblock upgrade" (formats.h, manage/upgrade.c).  What they mean schema.sql
-- says.
--
--   format 5  all of this, in this order
--   format 4  the same without the table mark
--
-- Nothing below this line may ever change.

CREATE TABLE mark (
  number INTEGER PRIMARY KEY CHECK (number = 1),
  -- 2  open: the newest changes may be in the log
  -- 3  ended: the same, and the log starts over next
  -- 4  closed: the file is complete without a log
  state INTEGER NOT NULL CHECK (state IN (2, 3, 4)),
  -- Random; each log begins with a new one, and the one before it.
  id BLOB NOT NULL CHECK (length (id) = 16),
  previous BLOB NOT NULL CHECK (length (previous) = 16),
  -- Of state 3: the salts in the header of the log that has ended.
  salts BLOB NOT NULL CHECK (length (salts) = 8)
) STRICT;

CREATE TABLE feature (
  name TEXT NOT NULL PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('compatible', 'read-only',
                                     'incompatible'))
) STRICT;

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

CREATE TABLE disk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- One with a '/' is a disk that is being received.
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  -- In bytes; need not be a multiple of the block.
  size INTEGER NOT NULL CHECK (size > 0),
  -- In bytes: a power of two from 512 to 1 MiB, fixed for life.
  block_size INTEGER NOT NULL
    CHECK (block_size BETWEEN 512 AND 1048576
           AND block_size & (block_size - 1) = 0),
  layer INTEGER NOT NULL UNIQUE REFERENCES layer,
  -- Grows when the disk jumps to other contents (a rollback).  Connections
  -- that were opened under another epoch fail rather than mix both.
  epoch INTEGER NOT NULL,
  -- The codec for new blocks (see block.codec) and its level.
  compression INTEGER NOT NULL CHECK (compression IN (1, 2, 3)),
  compression_level INTEGER NOT NULL,
  -- 1: store blocks that are equal only once.
  deduplicate INTEGER NOT NULL CHECK (deduplicate IN (0, 1)),
  -- The most bytes that the rows of this disk and its snapshots may take;
  -- NULL: as many as fit.
  quota INTEGER CHECK (quota >= 0),
  -- Seconds since 1970, UTC: datetime (created, 'unixepoch') shows it.
  created INTEGER NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;

CREATE TABLE snapshot (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  disk INTEGER NOT NULL REFERENCES disk,
  -- One with a '/' belongs to a copy that is being made.
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
  automatic INTEGER NOT NULL CHECK (automatic IN (0, 1)),
  -- The highest block.id then.  What changed between two snapshots of one
  -- layer are the rows with ids between their last_block.
  last_block INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  UNIQUE (disk, name)
) STRICT;

CREATE INDEX snapshot_by_layer ON snapshot (layer, generation);

CREATE INDEX snapshot_by_last_block ON snapshot (last_block);

CREATE TABLE reclaim (
  layer INTEGER PRIMARY KEY REFERENCES layer,
  number INTEGER NOT NULL CHECK (number >= 0),
  generation INTEGER NOT NULL CHECK (generation >= 0)
) STRICT;

CREATE TABLE block (
  -- Ids grow in the order of writing and are never used again, not even
  -- when the highest row has been deleted.
  id INTEGER PRIMARY KEY,
  layer INTEGER NOT NULL,
  number INTEGER NOT NULL CHECK (number >= 0),
  generation INTEGER NOT NULL,
  -- How data holds the block's bytes:
  --   0  zeroes, no data        2  zstd
  --   1  as they are            3  lz4
  --   4  they are in a row of content, with others that are equal
  codec INTEGER NOT NULL,
  -- Of the row's key and data, see below.
  checksum INTEGER NOT NULL,
  content INTEGER,
  data BLOB,
  CHECK ((codec IN (0, 4)) = (data IS NULL)),
  CHECK ((codec <> 4) = (content IS NULL))
) STRICT;

CREATE UNIQUE INDEX block_by_number ON block (layer, number, generation);

CREATE INDEX block_zero ON block (layer, number, generation)
  WHERE codec = 0;

CREATE INDEX block_content ON block (content) WHERE codec = 4;

CREATE TABLE content (
  -- Ids are never used again.
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- The XXH3 of the block's bytes.  Two rows may have the same one: what is
  -- equal is found by comparing bytes.
  hash INTEGER NOT NULL,
  -- The length of the block in bytes.
  size INTEGER NOT NULL,
  -- How data holds these bytes: 1, 2 or 3 as in block.
  codec INTEGER NOT NULL CHECK (codec IN (1, 2, 3)),
  -- Of the other columns, see below.
  checksum INTEGER NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE INDEX content_by_hash ON content (hash);

CREATE TABLE counted (
  layer INTEGER PRIMARY KEY REFERENCES layer,
  -- Rows of lower numbers are counted, others are not yet.
  number INTEGER NOT NULL CHECK (number >= 0),
  -- What the data of these rows takes, in bytes; data that several rows
  -- share counts for each of them.
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
