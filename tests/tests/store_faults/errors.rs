//! An error at the n-th write and the n-th sync, for every n of a short scenario.

use super::*;

/// Runs the scenario with the n-th call of each thread failing, then ends the broker. Says whether it noticed.
fn run_with(calls: &str, n: u32, durability: &str) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let wrapper = strace::injecting(calls, &format!("error=EIO:when={n}"));
    let wrapper: Vec<_> = wrapper.iter().map(String::as_str).collect();
    let mut notary = Notary::default();
    let status = match Broker::start_below(&wrapper, &configuration(&state, durability, "")) {
        Err(ended) => {
            let says_what =
                ["culex.", "disk I/O", "input/output error"].iter().any(|words| ended.log.contains(words));
            assert!(says_what, "it does not say what is wrong: {}", ended.log);
            ended.status
        }
        Ok(mut broker) => {
            let is_through = notary.run(&broker, 4).is_some();
            if is_through {
                broker.terminate();
            }
            let status = broker.wait(PATIENCE);
            assert!(
                is_through || broker.log().contains("the broker failed"),
                "{calls} {n}: {status:?} {}",
                broker.log()
            );
            status
        }
    };
    let code = status.code();
    assert!(code == Some(0) || code == Some(STORAGE), "{calls} {n}: {status:?}");
    if state.join("culex.db").exists() {
        notary.check(&found_in_a_copy(&state));
    } else {
        assert!(!notary.is_subscribed);
    }
    code == Some(STORAGE)
}

/// Until no n of several in a row is noticed any more: there are no more calls then.
fn every(calls: &str, durability: &str) {
    if !strace::is_usable() {
        return;
    }
    let (mut noticed, mut unnoticed, mut n) = (0, 0, 0);
    while unnoticed < 6 {
        n += 1;
        let is_noticed = run_with(calls, n, durability);
        noticed += u32::from(is_noticed);
        unnoticed = if is_noticed { 0 } else { unnoticed + 1 };
    }
    println!("{calls}, {durability}: {noticed} of {n} errors ended the broker");
    assert!(noticed > 3, "the errors do not reach the broker");
}

#[test]
fn a_failed_sync_ends_the_broker_with_everything_that_it_acknowledged() {
    every("fsync,fdatasync", "power");
}

#[test]
fn a_failed_write_ends_the_broker_with_everything_that_it_acknowledged() {
    every("pwrite64", "power");
}

#[test]
fn a_failed_write_does_so_too_when_nothing_is_synced() {
    every("pwrite64", "kill");
}
