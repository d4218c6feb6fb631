//! No row is used that is not what was written.

use culex_codec::PacketId;
use rusqlite::types::Value;

use super::super::schema::TABLES;
use super::*;

/// Something in every table.
fn filled(directory: &Path) -> SqliteStore {
    let mut store = open(directory);
    store.load().unwrap();
    let mut author = Author::default();
    let session = SessionId(1);
    let mut records: Vec<_> = (0..8).map(|session| author.record(0, session, 20)).collect();
    // Without a connection, a subscription, how far its feed is, a QoS 2 message taken.
    records.extend([(3, 3), (5, 1), (6, 4)].map(|(kind, bits)| author.record(kind, 1, bits)));
    for id in 1..4 {
        let publication = Publication::new(
            PublicationId(id),
            TopicName::new("a").unwrap(),
            b"payload",
            QoS::ExactlyOnce,
            true,
        );
        let to = |session| Recipient { session: SessionId(session), qos: QoS::ExactlyOnce, is_retain: false };
        records.push(Record::Published {
            publication: Arc::new(publication),
            incoming: PacketId::new(7).map(|packet_id| (session, packet_id)),
            recipients: (0..8).map(to).collect(),
            retained: RetainedChange::Set(RetainedVersion(id)),
        });
    }
    let Some(Record::Published { publication, .. }) = records.last() else { panic!("it was pushed") };
    let publication = Arc::clone(publication);
    records.extend([
        Record::Queued { session, entry: PublicationId(9), publication, qos: QoS::AtLeastOnce },
        Record::InFlight { session, entry: PublicationId(1), ordinal: 70_000 },
        Record::Received { session, entry: PublicationId(2), ordinal: 70_001 },
    ]);
    store.commit(&records, NOW).unwrap();
    // Sessions that do not last for ever want to know when the broker lived.
    store.commit(&[], NOW).unwrap();
    store
}

#[test]
fn a_value_that_was_changed_is_damage_whichever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    assert_eq!(store.load().unwrap().sessions.len(), 8);
    for table in TABLES {
        let columns = store.connection.prepare(table.all).unwrap().column_count();
        for column in 0..columns {
            let transaction = store.connection.transaction().unwrap();
            let name = {
                let mut find = transaction.prepare(table.all).unwrap();
                let name = find.column_name(column).unwrap().to_owned();
                let mut rows = find.query([]).unwrap();
                let Some(row) = rows.next().unwrap() else { panic!("{} has no row", table.name) };
                let value: Value = row.get(column).unwrap();
                let changed = match value {
                    Value::Null => Value::Integer(1),
                    Value::Integer(value) => Value::Integer(value ^ (1 << 20)),
                    Value::Real(_) => panic!("no table has such values"),
                    Value::Text(text) => Value::Text(text + "x"),
                    Value::Blob(mut bytes) => {
                        bytes.push(0);
                        Value::Blob(bytes)
                    }
                };
                let key: Value = row.get(0).unwrap();
                let key_name = row.as_ref().column_name(0).unwrap().to_owned();
                let sql = format!("UPDATE {} SET {name}=?1 WHERE {key_name}=?2", table.name);
                drop(rows);
                transaction.execute(&sql, [changed, key]).unwrap();
                name
            };
            let loaded = load(&transaction).unwrap();
            let found = loaded.damages.iter().any(|damage| {
                damage.place.starts_with(&format!("table {}, row", table.name))
                    && damage.place.contains("checksum")
            });
            assert!(found, "{}.{name}: {:?}", table.name, loaded.damages);
            transaction.rollback().unwrap();
        }
    }
}

#[test]
fn a_row_that_is_gone_is_missed_by_those_that_name_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    for (table, what) in [
        ("session", "its session"),
        ("cursor", "its cursor"),
        ("subscription", "its subscription"),
        ("receivers", "its receivers"),
        ("message", "its message"),
    ] {
        let transaction = store.connection.transaction().unwrap();
        transaction.execute(&format!("DELETE FROM {table}"), []).unwrap();
        let damages = load(&transaction).unwrap().damages;
        assert!(damages.iter().any(|damage| damage.place.contains(what)), "{table}: {damages:?}");
        transaction.rollback().unwrap();
    }
}

#[test]
fn a_damaged_store_is_not_changed_by_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    store.connection.execute("UPDATE message SET messages=x'00' WHERE bundle=1", []).unwrap();
    let count = |store: &SqliteStore| {
        store.connection.query_row("SELECT count(*) FROM message", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = count(&store);
    let refused = store.load().unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("table message, row 1: its checksum is wrong"), "{refused}");
    assert_eq!(count(&store), before);
}

#[test]
fn a_message_that_is_damaged_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = filled(directory.path());
    let entries = [1, 3, 9].map(PublicationId);
    assert!(store.read(SessionId(1), &entries).unwrap().iter().all(Option::is_some));
    store.connection.execute("UPDATE message SET messages=x'00' WHERE bundle=1", []).unwrap();
    let refused = store.read(SessionId(1), &entries).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    assert!(store.read(SessionId(1), &entries[1..]).unwrap().iter().all(Option::is_some));
}
