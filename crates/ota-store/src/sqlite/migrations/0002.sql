CREATE TABLE secret (
    table_name TEXT NOT NULL,
    column_name TEXT NOT NULL,
    row TEXT NOT NULL,
    key INTEGER NOT NULL,
    nonce BLOB NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (table_name, column_name, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX secret_key ON secret (key);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    body BLOB NOT NULL,
    key INTEGER NOT NULL,
    link BLOB NOT NULL
) STRICT;
