//! `kill -9` of the broker while it delivers: what it has acknowledged arrives, and a message has one id for ever.

use std::collections::BTreeMap;
use std::env;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::program::{Publisher, QUICK, broker, webhook};
use crate::receiver::{Receiver, Request, say};

/// Kills, unless the environment says otherwise; with a seed that is printed.
const CYCLES: u64 = 10;

/// A small generator of Marsaglia's (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn variable(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// What was received of each message, by its payload.
fn ids(requests: &[Request]) -> BTreeMap<u64, Vec<String>> {
    let mut ids = BTreeMap::<u64, Vec<String>>::new();
    for request in requests {
        let number = request.json()["payload"].as_u64().unwrap();
        ids.entry(number).or_default().push(request.id().to_owned());
    }
    ids
}

#[test]
fn nothing_acknowledged_is_lost_and_ids_stay() {
    let cycles = variable("CULEX_CRASH_CYCLES").unwrap_or(CYCLES);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed =
        variable("CULEX_SEED").unwrap_or_else(|| u64::try_from(now % u128::from(u64::MAX)).unwrap() | 1);
    println!("CULEX_SEED={seed} CULEX_CRASH_CYCLES={cycles}");
    let mut chance = Chance(seed);
    // Slow enough that there is always something on its way, and sometimes it fails.
    let receiver = Receiver::new(|request, stream| {
        thread::sleep(Duration::from_millis(3));
        let is_bad = request.body.len().is_multiple_of(3) && request.head["webhook-timestamp"].ends_with('0');
        say(stream, if is_bad { 500 } else { 200 }, "", "");
    });
    let folder = tempfile::tempdir().unwrap();
    let webhook = webhook(&receiver.url(), QUICK);
    let (mut next, mut acknowledged) = (0_u64, Vec::new());
    for _ in 0..cycles {
        let broker = broker(folder.path(), &webhook);
        let mut publisher = Publisher::connect(&broker);
        for _ in 0..20 + chance.below(100) {
            if publisher.publish(&format!("sensors/{}", next % 7), &next.to_string()) {
                acknowledged.push(next);
            }
            next += 1;
        }
        // SIGKILL.
        drop(broker);
    }
    let broker = broker(folder.path(), &webhook);
    let requests = receiver.wait("every acknowledged message", |requests| {
        let ids = ids(requests);
        acknowledged.iter().all(|number| ids.contains_key(number))
    });
    drop(broker);
    let ids = ids(&requests);
    for (number, ids) in &ids {
        assert!(ids.iter().all(|id| *id == ids[0]), "message {number} has several ids: {ids:?}");
    }
    let mut different: Vec<_> = ids.values().map(|ids| &ids[0]).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), ids.len(), "two messages have one id");
    let again = requests.len() - ids.len();
    println!("{} messages in {} requests, {again} of them again", ids.len(), requests.len());
}
