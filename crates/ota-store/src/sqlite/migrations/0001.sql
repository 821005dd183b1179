CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    product TEXT NOT NULL,
    name TEXT NOT NULL,
    rev INTEGER NOT NULL,
    wake INTEGER,
    task INTEGER,
    disabled INTEGER NOT NULL,
    versions TEXT NOT NULL,
    tags TEXT NOT NULL,
    state BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX device_key ON device (product, name);
CREATE INDEX device_wake ON device (wake, product, name) WHERE wake IS NOT NULL;
CREATE INDEX device_task ON device (product, task, name);

-- What the rows say of versions and tags, once more, to be searched by. A device that has
-- reported nothing has one row with empty texts.
CREATE TABLE device_version (
    product TEXT NOT NULL,
    module TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (product, module, version, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE device_tag (
    product TEXT NOT NULL,
    tag TEXT NOT NULL,
    value TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (product, tag, value, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    rev INTEGER NOT NULL,
    wake INTEGER,
    body BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX item_wake ON item (kind, wake, id) WHERE wake IS NOT NULL;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    product TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX event_device ON event (product, name, seq);

CREATE TABLE count (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    bytes BLOB
) STRICT, WITHOUT ROWID;
