//! What the store says when it is asked whether it lives, and whether everything is on the disk.

use std::sync::Mutex;

use culex_core::{AdminError, Saved};

use super::full::{Disk, Slow, absent_reader, metric, until};
use super::*;

#[test]
fn a_report_waits_for_a_store_that_hangs_and_not_for_space() {
    let (disk, go_on) = (Disk::default(), Arc::new(Mutex::new(())));
    let (opened, waits) = (disk.clone(), Arc::clone(&go_on));
    let broker =
        start(builder(2).custom_store(move || Ok(Slow { disk: opened.clone(), go_on: Arc::clone(&waits) })));
    let (admin, runtime) = (broker.admin(), broker.runtime().clone());
    absent_reader(&broker);
    let (mut publisher, _) = Client::connect(&broker, "publisher", true);
    assert_eq!(runtime.block_on(admin.probe()), Ok(()));
    let held = go_on.lock().unwrap();
    publisher.publish("t", "1", (1, 1), false);
    until("the store has something to keep", || metric(&broker, "store_queue_bytes") > 0);
    let asks = admin.clone();
    let probe = runtime.spawn(async move { asks.probe().await });
    // The lanes answer all the while.
    for _ in 0..100 {
        assert!(runtime.block_on(admin.session("reader")).unwrap().is_some());
    }
    assert!(!probe.is_finished());
    drop(held);
    assert_eq!(runtime.block_on(probe).unwrap(), Ok(()));
    assert_eq!(publisher.packet(), (0x40, vec![0, 1]));
    disk.set_full(true);
    publisher.publish("t", "2", (1, 2), false);
    until("the store runs full", || metric(&broker, "store_full") == 1);
    assert_eq!(runtime.block_on(admin.probe()), Ok(()));
    assert_eq!(runtime.block_on(admin.save()), Ok(Saved::Full));
    disk.set_full(false);
    assert_eq!(publisher.packet(), (0x40, vec![0, 2]));
    assert_eq!(runtime.block_on(admin.save()), Ok(Saved::Kept));
    stop(&broker);
}

#[test]
fn a_broker_that_has_stopped_gives_no_sign_of_life() {
    let folder = tempfile::tempdir().unwrap();
    let brokers = [builder(2), builder(2).store(folder.path())].map(start);
    for (broker, saved) in brokers.iter().zip([Saved::Memory, Saved::Kept]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(broker.admin().save()), Ok(saved));
        stop(broker);
        assert_eq!(runtime.block_on(broker.admin().probe()), Err(AdminError::Stopped));
    }
}
