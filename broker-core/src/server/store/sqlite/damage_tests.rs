//! Files that were damaged in every way: a store starts with what it had, or says why not, and is repaired. Nothing is
//! ever altered or invented.
//!
//! `CULEX_DAMAGES` says how many cases (default 300); `CULEX_DAMAGE=n` tries case n alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use culex_codec::{PacketId, QoS, TopicName};

use super::*;
use crate::engine::Will;
use crate::engine::keys::{BatchNumber, PublicationId, RetainedVersion, SessionId};
use crate::engine::publication::Publication;
use crate::engine::route::Cursor;
use crate::engine::store::{Recipient, RetainedChange, StoreBatch, Tables};

const NOW: WallTime = WallTime(1_700_000_000_000);
const SESSIONS: u64 = 40;

/// Numbers that look like chance and are the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((bits ^ bits >> 31) % sides.max(1) as u64).unwrap()
    }
}

/// What a store was at every moment, and its files at some.
struct Story {
    /// After each transaction, the first one before any.
    states: Vec<Stored>,
    /// Every message there ever was.
    messages: BTreeMap<PublicationId, Arc<Publication>>,
    images: Vec<Image>,
    /// The parts of all states.
    known: Known,
}

/// Files as a killed broker leaves them.
#[derive(Clone)]
struct Image {
    files: BTreeMap<&'static str, Vec<u8>>,
    /// How many transactions it has.
    transactions: usize,
}

const NAMES: [&str; 3] = ["culex.db", "culex.db-wal", "culex.lock"];

impl Image {
    fn of(directory: &Path, transactions: usize) -> Self {
        let read = |name| Some((name, fs::read(directory.join(name)).ok()?));
        Self { files: NAMES.into_iter().filter_map(read).collect(), transactions }
    }

    fn lay_out(&self) -> tempfile::TempDir {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in &self.files {
            let path = directory.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        directory
    }
}

impl Story {
    fn tell() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(directory.path(), Durability::Kill).unwrap();
        store.load().unwrap();
        let (mut tables, mut author) = (Tables::default(), Author::default());
        let (mut states, mut images) = (vec![tables.stored()], Vec::new());
        for number in 0..70 {
            let records = author.transaction(number);
            store.commit(&records, NOW).unwrap();
            tables.keep(&StoreBatch { number: BatchNumber(1), records }, NOW);
            states.push(tables.stored());
            match number {
                // The log begins anew: what came so far is in the file.
                20 | 40 | 55 => {
                    images.push(Image::of(directory.path(), states.len() - 1));
                    store.empty_log().unwrap();
                }
                62 | 69 => images.push(Image::of(directory.path(), states.len() - 1)),
                _ => {}
            }
        }
        drop(store);
        images.push(Image::of(directory.path(), states.len() - 1));
        let states: Vec<_> = states.into_iter().map(sorted).collect();
        let mut known = Known::default();
        states.iter().for_each(|state| known.add(state));
        Self { states, messages: author.messages, images, known }
    }
}

/// Writes what shards could write.
#[derive(Default)]
struct Author {
    last: u64,
    messages: BTreeMap<PublicationId, Arc<Publication>>,
    queues: BTreeMap<u64, Vec<(u64, QoS, Option<u64>)>>,
    ordinal: u64,
}

impl Author {
    fn transaction(&mut self, number: u64) -> Vec<Record> {
        let mut records = Vec::new();
        for step in 0..12_u64 {
            let dice = Dice(number * 100 + step).roll(1 << 30) as u64;
            let session = 1 + dice % SESSIONS;
            match (number, step) {
                (0..10, 0..4) => self.bind(1 + number * 4 + step, &mut records),
                (_, 0..7) => self.publish(dice, &mut records),
                (_, 7) => {
                    let filter = format!("s/{}/+", dice % 9).into();
                    let up_to = RetainedVersion(self.last);
                    let session = SessionId(session);
                    records.push(match dice % 4 {
                        0 => Record::Unsubscribed { session, filter },
                        1 => Record::Fed { session, filter, cursor: Cursor::End },
                        _ => Record::Subscribed { session, filter, qos: QoS::ExactlyOnce, up_to },
                    });
                }
                _ => self.progress(session, dice, &mut records),
            }
        }
        records
    }

    fn bind(&mut self, session: u64, records: &mut Vec<Record>) {
        let topic = TopicName::new("will").unwrap();
        let will = Will::new(topic, Bytes::from(format!("will of {session}")), QoS::AtLeastOnce, true);
        self.queues.entry(session).or_default();
        records.push(Record::SessionBound {
            session: SessionId(session),
            client_id: format!("client {session}").into(),
            user_name: session.is_multiple_of(3).then(|| "user".into()),
            is_trusted: false,
            expiry_s: if session.is_multiple_of(5) { 3600 } else { u32::MAX },
            options: Default::default(),
            will: session.is_multiple_of(4).then(|| Box::new(will)),
        });
    }

    fn publish(&mut self, dice: u64, records: &mut Vec<Record>) {
        self.last += 1;
        let topic = format!("t/{}", dice % 50);
        // It says itself what it is.
        let length = if dice.is_multiple_of(16) { 9000 } else { dice % 400 };
        let mut payload = format!("{} {topic} ", self.last).into_bytes();
        payload.extend((0..length).map(|place| (self.last + place * 7) as u8));
        let qos = if dice.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
        let topic = TopicName::new(&topic).unwrap();
        let publication = Arc::new(Publication::new(PublicationId(self.last), topic, &payload, qos, false));
        self.messages.insert(publication.id, Arc::clone(&publication));
        // Some have the same receivers as their neighbours, and share a row.
        let (many, base) = match dice % 10 {
            0 | 5 => (SESSIONS, dice),
            1..=4 => (2, 0),
            _ => (dice % 4, dice),
        };
        let recipients = (0..many)
            .map(|place| 1 + (base + place) % SESSIONS)
            .filter_map(|session| {
                self.queues.get_mut(&session)?.push((self.last, qos, None));
                Some(Recipient { session: SessionId(session), qos, is_retain: false })
            })
            .collect();
        let version = RetainedVersion(self.last);
        let retained = match dice % 7 {
            0 | 1 => RetainedChange::Set(version),
            2 => RetainedChange::Clear(version),
            _ => RetainedChange::None,
        };
        let packet_id = PacketId::new(1 + (dice % 9) as u16).unwrap();
        let incoming = (qos == QoS::ExactlyOnce).then_some((SessionId(1 + dice % SESSIONS), packet_id));
        records.push(Record::Published { publication, incoming, recipients, retained });
    }

    /// A session goes on with the first in its queue.
    fn progress(&mut self, session: u64, dice: u64, records: &mut Vec<Record>) {
        let Some(queue) = self.queues.get_mut(&session).filter(|queue| !queue.is_empty()) else { return };
        let place = if dice.is_multiple_of(3) { queue.len() / 2 } else { 0 };
        let (entry, qos, sent) = queue[place];
        let (entry, session) = (PublicationId(entry), SessionId(session));
        match (qos, sent) {
            (QoS::ExactlyOnce, None) => {
                self.ordinal += 1;
                queue[place].2 = Some(self.ordinal);
                records.push(Record::InFlight { session, entry, ordinal: self.ordinal });
            }
            (QoS::ExactlyOnce, Some(ordinal)) => {
                queue.remove(place);
                records.push(Record::Received { session, entry, ordinal });
                if dice.is_multiple_of(2) {
                    records.push(Record::Completed { session, ordinal });
                }
            }
            _ => {
                queue.remove(place);
                records.push(Record::Done { session, entry });
            }
        }
    }
}

fn sorted(mut stored: Stored) -> Stored {
    for session in &mut stored.sessions {
        session.subscriptions.sort_by(|a, b| a.filter.cmp(&b.filter));
        session.queue.sort_by_key(|message| message.entry);
        session.received.sort_unstable();
        session.incoming.sort_unstable();
    }
    stored.sessions.sort_by_key(|session| session.id);
    stored.retained.sort_by(|a, b| a.1.topic().as_str().cmp(b.1.topic().as_str()));
    stored.without_bodies()
}

fn is_same(a: &Stored, b: &Stored) -> bool {
    a.sessions == b.sessions && a.retained == b.retained
}

/// One way to damage files.
#[derive(Debug)]
struct Case {
    what: String,
    /// The bytes of the log that are not what they were.
    log_range: std::ops::Range<usize>,
    is_main_whole: bool,
}

fn damage(image: &mut Image, story: &Story, dice: &mut Dice) -> Case {
    let name = if dice.roll(2) == 0 { NAMES[0] } else { NAMES[1] };
    let mut case = Case { what: String::new(), log_range: 0..0, is_main_whole: name == NAMES[1] };
    let kind = dice.roll(9);
    if kind == 7 {
        image.files.remove(name);
        case.what = format!("{name} is missing");
        case.log_range = 0..usize::MAX;
        return case;
    }
    if kind == 8 {
        let other = &story.images[dice.roll(story.images.len())];
        match other.files.get(name) {
            Some(bytes) => image.files.insert(name, bytes.clone()),
            None => image.files.remove(name),
        };
        case.what = format!("{name} of transaction {}", other.transactions);
        case.log_range = 0..usize::MAX;
        return case;
    }
    let Some(bytes) = image.files.get_mut(name) else {
        case.what = "nothing".to_owned();
        return case;
    };
    let before = bytes.clone();
    let (at, to) = (dice.roll(bytes.len()), dice.roll(bytes.len()));
    let most = [16, 600, 4096, 20_000][dice.roll(4)];
    let len = 1 + dice.roll(most);
    let page = |at: usize| at / 4096 * 4096;
    case.what = match kind {
        0 => {
            bytes.truncate(at);
            format!("{name} cut to {at}")
        }
        1 => {
            let end = (at + len).min(bytes.len());
            bytes[at..end].fill(0);
            format!("{name} zero from {at} to {end}")
        }
        2 | 3 => {
            bytes[at] ^= 1 << dice.roll(8);
            format!("{name} flipped at {at}")
        }
        4 => {
            bytes.extend((0..len).map(|_| dice.roll(256) as u8));
            format!("{name} with {len} bytes of garbage")
        }
        5 => {
            let (from, to) = (page(at), page(to));
            let end = (from + 4096).min(before.len()).min(from + before.len() - to);
            bytes[to..to + end - from].copy_from_slice(&before[from..end]);
            format!("{name} page {from} copied to {to}")
        }
        _ => {
            let end = (at + len).min(before.len()).min(at + before.len() - to);
            bytes[to..to + end - at].copy_from_slice(&before[at..end]);
            format!("{name} {at}..{end} copied to {to}")
        }
    };
    if name == NAMES[1] {
        let same = before.iter().zip(bytes.iter()).take_while(|(a, b)| a == b).count();
        let last = before.iter().zip(bytes.iter()).rposition(|(a, b)| a != b);
        let end = if bytes.len() < before.len() { usize::MAX } else { last.map_or(same, |last| last + 1) };
        case.log_range = same..end.max(same);
    }
    case
}

/// Where each transaction of a log stands, by its marks alone.
fn transactions(log: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut all = Vec::new();
    let mut start = 32;
    for (number, frame) in log.get(32..).unwrap_or_default().chunks_exact(24 + 4096).enumerate() {
        if frame[8..16] != log[16..24] {
            break;
        }
        if frame[4..8] != [0; 4] {
            let end = 32 + (number + 1) * (24 + 4096);
            all.push(start..end);
            start = end;
        }
    }
    all
}

#[derive(Debug, Default)]
struct Counts {
    whole: usize,
    earlier: usize,
    repaired: usize,
    foreign: usize,
}

#[test]
fn damaged_files_are_never_believed_and_never_the_end() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let cases = match number("CULEX_DAMAGE") {
        Some(case) => case..case + 1,
        None => 0..number("CULEX_DAMAGES").unwrap_or(300),
    };
    let story = Story::tell();
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for seed in cases {
        let mut dice = Dice(seed << 20);
        // Mostly of a broker that was killed; of one that ended in order too.
        let place = story.images.len() - 1 - [0, 1, 1, 1, 2][dice.roll(5)];
        let whole = &story.images[place];
        let mut image = whole.clone();
        let case = damage(&mut image, &story, &mut dice);
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&story, whole, &image, &case, &mut counts);
        }));
        if checked.is_err() {
            failed.push(format!("CULEX_DAMAGE={seed}: {case:?}"));
        }
    }
    println!("{counts:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn check(story: &Story, whole: &Image, image: &Image, case: &Case, counts: &mut Counts) {
    let directory = image.lay_out();
    let started = start(story, directory.path());
    match started {
        Ok(stored) => {
            let state = story.states.iter().rposition(|state| is_same(state, &stored));
            let state = state.unwrap_or_else(|| panic!("{stored:?} never was"));
            counts.whole += usize::from(state == whole.transactions);
            if state != whole.transactions {
                counts.earlier += 1;
                assert!(
                    is_excused(directory.path(), whole, case, state),
                    "{state} of {}",
                    whole.transactions
                );
            }
        }
        Err(StoreError::Foreign { .. } | StoreError::Newer { .. } | StoreError::Older { .. }) => {
            // Nothing is left that could say whose it is.
            counts.foreign += 1;
            assert!(!case.is_main_whole);
            assert_untouched(directory.path(), image);
            assert!(repair(directory.path()).is_err());
            assert_untouched(directory.path(), image);
        }
        Err(StoreError::Damaged { what, .. }) => {
            counts.repaired += 1;
            assert!(!what.is_empty());
            assert_untouched(directory.path(), image);
            assert_repaired(story, whole, directory.path());
        }
        Err(other) => panic!("{other}"),
    }
}

/// Whether a start may have less than there was: it was said, or the log ends before what is missing.
fn is_excused(directory: &Path, whole: &Image, case: &Case, state: usize) -> bool {
    let is_said = fs::read_dir(directory)
        .unwrap()
        .any(|file| file.unwrap().file_name().to_string_lossy().contains(".damaged-"));
    let log = whole.files.get(NAMES[1]).map(|log| transactions(log)).unwrap_or_default();
    // The other file may be of a later time, and have everything.
    let lost = whole.transactions.saturating_sub(state);
    let untouched = log
        .iter()
        .rev()
        .take(lost)
        .filter(|range| range.end <= case.log_range.start || range.start >= case.log_range.end);
    is_said || (lost <= log.len() && untouched.count() == 0)
}

/// What a start finds, every message of which is one that there was.
fn start(story: &Story, directory: &Path) -> Result<Stored, StoreError> {
    let mut store = SqliteStore::open(directory, Durability::Kill)?;
    let stored = store.load()?;
    for session in &stored.sessions {
        let entries: Vec<_> = session.queue.iter().map(|message| message.entry).collect();
        for (message, body) in session.queue.iter().zip(store.read(session.id, &entries)?) {
            assert_eq!(body.as_ref(), Some(&story.messages[&message.publication]));
        }
    }
    Ok(sorted(stored))
}

fn assert_untouched(directory: &Path, image: &Image) {
    let now = Image::of(directory, 0);
    for name in [NAMES[0], NAMES[1]] {
        let before = image.files.get(name);
        let now = now.files.get(name);
        // SQLite makes an empty log where none was.
        assert!(before == now || (before.is_none() && now.is_some_and(Vec::is_empty)), "{name} was changed");
    }
}

fn assert_repaired(story: &Story, whole: &Image, directory: &Path) {
    let inspected = inspect(directory).unwrap().damages;
    let has_any = [NAMES[0], NAMES[1]].iter().any(|name| directory.join(name).exists());
    let repaired = repair(directory).unwrap();
    assert!(!repaired.damages.is_empty() && !inspected.is_empty());
    assert!(!repaired.aside.is_empty() || !has_any);
    let again = repair(directory).unwrap();
    assert!(again.damages.is_empty(), "{:?}", again.damages);
    let stored = start(story, directory).unwrap();
    assert!(is_same(&sorted(repaired.stored), &stored));
    // Everything in it was so at some time.
    let mut found = Known::default();
    found.add(&stored);
    for (what, part) in &found.parts {
        assert!(story.known.parts.contains_key(what), "{what} was invented: {part}");
    }
    for (_, publication) in &stored.retained {
        assert_eq!(*publication, story.messages[&publication.id]);
    }
    // What is missing is said, by the table that it stood in.
    let mut expected = Known::default();
    expected.add(&story.states[whole.transactions]);
    let said: String = repaired.damages.iter().map(|damage| format!("{damage}\n")).collect();
    let is_all = ["log", "file", "transactions"]
        .iter()
        .any(|word| said.lines().any(|line| !line.starts_with("table") && line.contains(word)));
    for (what, tables) in expected.parts {
        let is_said = tables.split(' ').any(|table| said.contains(&format!("table {table},")));
        assert!(
            found.parts.contains_key(&what) || is_said || is_all,
            "{what} is missing, and that is not said:\n{said}"
        );
    }
}

/// The parts of a state, each with the tables whose damage can cost it.
#[derive(Default)]
struct Known {
    parts: BTreeMap<String, &'static str>,
}

impl Known {
    fn add(&mut self, stored: &Stored) {
        for session in &stored.sessions {
            let id = session.id.0;
            let identity = (id, &session.client_id, &session.user_name, session.expiry_s);
            self.parts.insert(format!("session {identity:?}"), "session");
            if let Some(will) = &session.will {
                self.parts.insert(format!("will {id} {will:?}"), "session will");
            }
            for subscription in &session.subscriptions {
                let (filter, qos) = (&subscription.filter, subscription.qos);
                self.parts.insert(format!("subscription {id} {filter} {qos:?}"), "session subscription");
            }
            for message in &session.queue {
                let queue = "session message receivers cursor joined done";
                let (entry, qos, publication) = (message.entry.0, message.qos, message.publication.0);
                self.parts.insert(format!("queue {id} {entry} {qos:?} {publication}"), queue);
                if let Some(sent) = message.sent {
                    let tables = "session message receivers cursor joined done in_flight";
                    self.parts.insert(format!("sent {id} {entry} {sent}"), tables);
                }
            }
            for ordinal in &session.received {
                self.parts.insert(format!("received {id} {ordinal}"), "session received");
            }
            for packet_id in &session.incoming {
                self.parts.insert(format!("incoming {id} {packet_id:?}"), "session incoming");
            }
        }
        for (version, publication) in &stored.retained {
            let topic = publication.topic();
            self.parts.insert(format!("retained {} {}", topic.as_str(), version.0), "retained message");
        }
    }
}

#[test]
fn the_story_has_everything_that_can_be_damaged() {
    let story = Story::tell();
    let last = story.states.last().unwrap();
    let kinds: BTreeSet<_> = {
        let mut known = Known::default();
        known.add(last);
        known.parts.keys().map(|what| what.split(' ').next().unwrap().to_owned()).collect()
    };
    let expected = ["incoming", "queue", "received", "retained", "sent", "session", "subscription", "will"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
    let sizes: Vec<_> =
        story.images.iter().map(|image| image.files.values().map(Vec::len).collect::<Vec<_>>()).collect();
    println!("{sizes:?}");
    for image in &story.images {
        let directory = image.lay_out();
        assert!(inspect(directory.path()).unwrap().damages.is_empty());
        assert_untouched(directory.path(), image);
        assert!(repair(directory.path()).unwrap().aside.is_empty());
        assert!(is_same(&start(&story, directory.path()).unwrap(), &story.states[image.transactions]));
    }
}
