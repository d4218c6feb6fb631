//! The tables.
//!
//! Every row ends with a checksum and is written as a whole, so what changes by itself is a table by itself: a cursor
//! moves without its session's row being written again.

/// "CULX": the file says whose it is, see `PRAGMA application_id`.
pub(super) const APPLICATION_ID: u32 = 0x4355_4C58;
/// The format of the tables, `PRAGMA user_version`. Format 1 had a row for each receiver and no checksums, format 2 a row
/// for each message; format 3 knew neither options of sessions nor when and by whom a
/// message was published.
pub(super) const FORMAT: u32 = 4;
/// The oldest format that is read: its tables are the same. A start makes the newest of it.
pub(super) const FORMAT_MIN: u32 = 3;

/// A table whose rows end with a checksum.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name; part of every row's checksum, so that a row of one table is none of another.
    pub(super) name: &'static str,
    /// What is lost with a row.
    pub(super) holds: &'static str,
    /// Columns that name the row; they come first.
    pub(super) keys: usize,
    pub(super) put: &'static str,
    /// As `put`, for a key that is new: cheaper, and an error if it is not.
    pub(super) add: &'static str,
    pub(super) all: &'static str,
}

impl Table {
    /// Whether its rows belong to the session that their first column names.
    pub(super) fn is_of_session(&self) -> bool {
        ![SESSION.name, RECEIVERS.name, MESSAGE.name, RETAINED.name, ALIVE.name].contains(&self.name)
    }
}

macro_rules! tables {
    ($($constant:ident $name:literal $keys:literal $values:literal $order:literal $holds:literal)*) => {
        $(pub(super) const $constant: Table = Table {
            name: $name,
            holds: $holds,
            keys: $keys,
            put: concat!("INSERT OR REPLACE INTO ", $name, " VALUES (", $values, ")"),
            add: concat!("INSERT INTO ", $name, " VALUES (", $values, ")"),
            all: concat!("SELECT * FROM ", $name, " ORDER BY ", $order),
        };)*
        /// All of them.
        pub(super) const TABLES: &[&Table] = &[$(&$constant),*];
    };
}

tables! {
    SESSION "session" 1 "?,?,?,?,?,?" "id" "a session"
    WILL "will" 1 "?,?,?,?,?,?" "session" "a Will Message"
    ALONE "alone" 1 "?,?,?" "session" "since when a session has no connection"
    CURSOR "cursor" 1 "?,?,?" "session" "how far a session's queue is done"
    DONE "done" 2 "?,?,?" "session, seq" "that a session is done with a message"
    SUBSCRIPTION "subscription" 2 "?,?,?,?" "session, filter" "a subscription"
    FEED "feed" 2 "?,?,?,?,?" "session, filter" "Retained Messages for a new subscription"
    RECEIVERS "receivers" 1 "?,?,?" "id" "who receives the messages that name it"
    MESSAGE "message" 1 "?,?,?,?" "bundle" "messages, for all who have not received them"
    JOINED "joined" 2 "?,?,?,?,?,?" "session, entry" "a message, for one session"
    IN_FLIGHT "in_flight" 2 "?,?,?,?" "session, entry" "the Packet Identifier of a QoS 2 message"
    RECEIVED "received" 2 "?,?,?" "session, ordinal" "that a client has a QoS 2 message"
    INCOMING "incoming" 2 "?,?,?" "session, packet_id" "that a QoS 2 message of a client was accepted"
    RETAINED "retained" 1 "?,?,?,?" "topic" "a Retained Message"
    ALIVE "alive" 1 "?,?,?" "id" "when the broker lived last"
}

/// `receivers` has no type, because it is nothing, a number or bytes, and must stay what it is.
pub(super) const SCHEMA: &str = "
CREATE TABLE session(id INTEGER PRIMARY KEY, client_id TEXT, user_name TEXT, is_trusted INTEGER, expiry_s INTEGER, crc INTEGER);
CREATE TABLE will(session INTEGER PRIMARY KEY, topic TEXT, payload BLOB, qos INTEGER, is_retain INTEGER, crc INTEGER);
CREATE TABLE alone(session INTEGER PRIMARY KEY, since INTEGER, crc INTEGER);
CREATE TABLE cursor(session INTEGER PRIMARY KEY, seq INTEGER, crc INTEGER);
CREATE TABLE done(session INTEGER, seq INTEGER, crc INTEGER, PRIMARY KEY(session, seq)) WITHOUT ROWID;
CREATE TABLE subscription(session INTEGER, filter TEXT, qos INTEGER, crc INTEGER, PRIMARY KEY(session, filter)) WITHOUT ROWID;
CREATE TABLE feed(session INTEGER, filter TEXT, up_to INTEGER, after TEXT, crc INTEGER, PRIMARY KEY(session, filter)) WITHOUT ROWID;
CREATE TABLE receivers(id INTEGER PRIMARY KEY, members BLOB, crc INTEGER);
CREATE TABLE message(bundle INTEGER PRIMARY KEY, receivers, messages BLOB, crc INTEGER);
CREATE TABLE joined(session INTEGER, entry INTEGER, message INTEGER, qos INTEGER, is_retain INTEGER, crc INTEGER,
  PRIMARY KEY(session, entry)) WITHOUT ROWID;
CREATE TABLE in_flight(session INTEGER, entry INTEGER, ordinal INTEGER, crc INTEGER, PRIMARY KEY(session, entry)) WITHOUT ROWID;
CREATE TABLE received(session INTEGER, ordinal INTEGER, crc INTEGER, PRIMARY KEY(session, ordinal)) WITHOUT ROWID;
CREATE TABLE incoming(session INTEGER, packet_id INTEGER, crc INTEGER, PRIMARY KEY(session, packet_id)) WITHOUT ROWID;
CREATE TABLE retained(topic TEXT PRIMARY KEY, version INTEGER, message INTEGER, crc INTEGER) WITHOUT ROWID;
CREATE TABLE alive(id INTEGER PRIMARY KEY, at INTEGER, crc INTEGER);
";
