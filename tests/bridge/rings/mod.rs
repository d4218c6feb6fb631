//! Messages that go round between brokers: found out, cut, and named; and who repeats himself without a circle loses nothing.

mod foreign;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use culex::bridge::{Connector, Prepared};
use culex::config::{Config, Environment};
use culex::integration::DeadLetters;
use culex_core::{Broker, Cursor, QoS};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::kit::{Ear, Here, InMemory, PATIENCE, bridges_of};

const BOTH: &str = "[[bridge.out]]\nfilter = \"t/#\"\n[[bridge.in]]\nfilter = \"t/#\"\n";
const OUT: &str = "[[bridge.out]]\nfilter = \"t/#\"\n";
const IN: &str = "[[bridge.in]]\nfilter = \"t/#\"\n";

/// Messages after a circle was found.
const LATE: u64 = 50;

/// A bridge of this name, whose ClientId over there tells whose it is.
fn bridge(name: &str, lines: &str) -> String {
    format!(
        "[[bridge]]\nname = \"{name}\"\naddress = \"there\"\nclient_id = \"bridge of {name}\"\n\
         notifications_local_only = true\n{lines}"
    )
}

/// Starts these bridges of a broker, each with its way, and waits until they are connected.
async fn run(here: &Here, bridges: &[(&str, &str, &Broker)]) {
    let prepared = bridges.iter().map(|(name, lines, there)| {
        let config = bridges_of(&bridge(name, lines)).remove(0);
        (config, InMemory::to(there) as Arc<dyn Connector>)
    });
    here.bridges.follow(Prepared::new(prepared)).await;
    until(here, "up", |views| views.iter().all(|view| view["state"] == "up")).await;
    for (name, lines, there) in bridges {
        // Those for questions come last.
        let filters = lines.matches("[[bridge.in]]").count();
        let wanted = if lines.contains("early") && filters > 0 { filters + 1 } else { filters };
        let (admin, id) = (there.admin(), format!("bridge of {name}"));
        while admin.session(&id).await.unwrap().is_none_or(|session| session.subscriptions < wanted as u64) {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn until(here: &Here, what: &str, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let views = here.bridges.list().await;
        if is_so(&views) {
            return views;
        }
        assert!(began.elapsed() < PATIENCE, "never: {what}; {views:#?}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What the bridges have found out about circles.
fn found(views: &[Value]) -> Vec<String> {
    let found = views.iter().flat_map(|view| view["going_round"]["found"].as_array().unwrap());
    found.map(|found| found.as_str().unwrap().to_owned()).collect()
}

fn dropped(views: &[Value]) -> u64 {
    views.iter().map(|view| view["going_round"]["dropped"].as_u64().unwrap()).sum()
}

/// Messages that all bridges have carried, in both directions.
async fn carried(all: &[&Here]) -> u64 {
    let mut sum = 0;
    for here in all {
        for view in here.bridges.list().await {
            sum += view["out"]["delivered"].as_u64().unwrap() + view["in"]["delivered"].as_u64().unwrap();
        }
    }
    sum
}

/// Waits until nothing goes round any more: a circle in memory turns many times in what is looked at here.
async fn calm(all: &[&Here]) -> u64 {
    let (began, mut last, mut same) = (Instant::now(), carried(all).await, 0);
    while same < 40 {
        assert!(began.elapsed() < PATIENCE, "it goes on and on: {last}");
        sleep(Duration::from_millis(25)).await;
        let now = carried(all).await;
        same = if now == last { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Publishes messages until a circle is found, then asserts that others reach everybody and come round a few times at most.
async fn is_cut(all: &[&Here], publisher: &Here, bridges: u64) -> String {
    let near = Ear::at(&publisher.broker, "near", "mine").await;
    for n in 0..10 {
        near.client.publish("t/early", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    let began = Instant::now();
    let said = loop {
        let mut views = Vec::new();
        for here in all {
            views.extend(here.bridges.list().await);
        }
        if let Some(said) = found(&views).first() {
            break said.clone();
        }
        assert!(began.elapsed() < PATIENCE, "nothing found: {views:#?}");
        sleep(Duration::from_millis(5)).await;
    };
    let before = calm(all).await;
    let mut ears = Vec::new();
    for here in all {
        ears.push(Ear::at(&here.broker, "ear", "+/late").await);
    }
    for n in 0..LATE {
        near.client.publish("t/late", n.to_string(), QoS::AtLeastOnce).await.unwrap();
    }
    for ear in &mut ears {
        let mut seen = std::collections::BTreeSet::new();
        while (seen.len() as u64) < LATE {
            seen.extend(ear.hear_all(1).await);
        }
    }
    let copies = calm(all).await - before;
    assert!(copies <= LATE * 3 * bridges, "{copies} copies of {LATE} messages over {bridges} bridges");
    said
}

#[tokio::test]
async fn two_bridges_that_face_each_other_are_found_out() {
    let (here, there) = (Here::start().await, Here::start().await);
    run(&here, &[("b", BOTH, &there.broker)]).await;
    run(&there, &[("c", BOTH, &here.broker)]).await;
    let said = is_cut(&[&here, &there], &here, 2).await;
    println!("{said}");
    let is_named =
        ["\"bridge of b\"", "\"bridge of c\"", "comes in again"].iter().any(|name| said.contains(name));
    assert!(is_named && said.contains("prefix"), "{said}");
}

#[tokio::test]
async fn a_ring_of_three_brokers_is_found_out() {
    for (to_next, from_next) in [(OUT, ""), ("", IN), (BOTH, "")] {
        let ring = [Here::start().await, Here::start().await, Here::start().await];
        for (n, here) in ring.iter().enumerate() {
            let lines = format!("{to_next}{from_next}");
            run(here, &[("ring", &lines, &ring[(n + 1) % 3].broker)]).await;
        }
        let said = is_cut(&[&ring[0], &ring[1], &ring[2]], &ring[1], 3).await;
        println!("{said}");
        for here in ring {
            here.bridges.stop().await;
        }
    }
}

/// Nothing but the very topics passes, and on each broker they have another name.
#[tokio::test]
async fn a_ring_of_filters_without_wildcards_is_found_out() {
    const PREFIXES: [&str; 3] = ["s/", "t/", "u/"];
    for (way, is_out) in [("out", true), ("in", false)] {
        let ring = [Here::start().await, Here::start().await, Here::start().await];
        for (n, here) in ring.iter().enumerate() {
            let next = (n + 1) % 3;
            let mapping = |topic: &str| {
                format!(
                    "[[bridge.{way}]]\nfilter = \"{topic}\"\nlocal_prefix = \"{}\"\nremote_prefix = \"{}\"\n",
                    PREFIXES[n], PREFIXES[next]
                )
            };
            run(here, &[("ring", &(mapping("early") + &mapping("late")), &ring[next].broker)]).await;
        }
        let said = is_cut(&[&ring[0], &ring[1], &ring[2]], &ring[1], 3).await;
        assert_eq!(said.contains("comes in again"), !is_out, "{said}");
        for here in ring {
            here.bridges.stop().await;
        }
    }
}

/// Each round puts a prefix before the topic, so that nothing comes back as the same.
#[tokio::test]
async fn a_topic_that_grows_in_each_round_ends_as_a_dead_letter() {
    const ALL: &str = "filter = \"#\"\n";
    for lines in ["[[bridge.out]]\nremote_prefix = \"p/\"\n", "[[bridge.in]]\nlocal_prefix = \"p/\"\n"] {
        let (here, there) = (Here::start().await, Here::start().await);
        let back = if lines.contains("out") { "[[bridge.out]]\n" } else { "[[bridge.in]]\n" };
        run(&here, &[("b", &format!("{lines}{ALL}"), &there.broker)]).await;
        run(&there, &[("c", &format!("{back}{ALL}"), &here.broker)]).await;
        let near = Ear::at(&here.broker, "near", "mine").await;
        near.client.publish("t/x", "1", QoS::AtLeastOnce).await.unwrap();
        let letters = DeadLetters::new(&here.broker, "bridge/b");
        let began = Instant::now();
        let letter = loop {
            if let Some(found) = letters.list(Cursor::default(), 10).unwrap().0.pop() {
                break found.letter;
            }
            assert!(began.elapsed() < PATIENCE, "{:#?}", here.bridges.list().await);
            sleep(Duration::from_millis(5)).await;
        };
        // As it was where it came from.
        let rounds = if lines.contains("out") { 15 } else { 16 };
        assert_eq!(letter.topic, "p/".repeat(rounds) + "t/x");
        assert!(letter.reason.contains("puts \"p/\" before the topic"), "{}", letter.reason);
        here.bridges.stop().await;
        there.bridges.stop().await;
    }
}

#[tokio::test]
async fn two_bridges_of_one_broker_to_another_are_found_out() {
    let (here, there) = (Here::start().await, Here::start().await);
    run(&here, &[("out", OUT, &there.broker), ("in", IN, &there.broker)]).await;
    let said = is_cut(&[&here], &here, 2).await;
    assert!(said.contains("over the bridge \"in\"") || said.contains("comes in again"), "{said}");
}

/// The same message a thousand times, by clients: over there, over a chain of two bridges, and here.
#[tokio::test]
async fn whoever_publishes_the_same_again_and_again_loses_nothing() {
    let [here, left, right] = [Here::start().await, Here::start().await, Here::start().await];
    run(&here, &[("left", BOTH, &left.broker), ("right", BOTH, &right.broker)]).await;
    let mut ears = Vec::new();
    for (name, there) in [("left", &left.broker), ("right", &right.broker)] {
        let (admin, id) = (there.admin(), format!("bridge of {name}"));
        while admin.session(&id).await.unwrap().is_none_or(|session| session.subscriptions == 0) {
            tokio::task::yield_now().await;
        }
    }
    for broker in [&left.broker, &here.broker, &right.broker] {
        ears.push(Ear::at(broker, "ear", "t/x").await);
    }
    for from in 0..3 {
        for _ in 0..1000 {
            ears[from].client.publish("t/x", "the same", QoS::AtLeastOnce).await.unwrap();
        }
        for ear in &mut ears {
            assert_eq!(ear.hear_all(1000).await.len(), 1000);
        }
    }
    for ear in &mut ears {
        ear.hears_nothing("mine").await;
    }
    let views = here.bridges.list().await;
    assert_eq!((dropped(&views), found(&views)), (0, Vec::new()), "{views:#?}");
}

/// Bridges over the network, from a configuration.
async fn follow(here: &Here, folder: &Path, toml: &str) {
    let file = folder.join("culex.toml");
    std::fs::write(&file, toml).unwrap();
    let config = Config::load(Some(&file), &Environment::default()).unwrap();
    here.bridges.follow(Prepared::read(&config).unwrap()).await;
}

fn network(name: &str, address: SocketAddr, lines: &str) -> String {
    bridge(name, lines).replace("\"there\"", &format!("\"{address}\"\nreconnect_max = \"1s\""))
}

#[tokio::test]
async fn a_bridge_to_its_own_broker_says_so_and_does_nothing() {
    let broker = Broker::builder().listen((Ipv4Addr::LOCALHOST, 0)).start().await.unwrap();
    let address = broker.local_addrs()[0];
    let (here, folder) = (Here::of(broker), tempfile::tempdir().unwrap());
    follow(&here, folder.path(), &network("b", address, BOTH)).await;
    let view = here.until("given up", |view| view["state"] == "disabled").await;
    let why = view["why"].as_str().unwrap();
    assert!(why.contains(&address.to_string()) && why.contains("this broker itself"), "{why}");
    let near = Ear::at(&here.broker, "near", "mine").await;
    near.client.publish("t/1", "1", QoS::AtLeastOnce).await.unwrap();
    let view = here.view().await;
    assert_eq!((&view["out"]["delivered"], &view["reconnects"]), (&0.into(), &0.into()), "{view}");
    // With another address it goes on with what has waited.
    let there = Broker::builder().listen((Ipv4Addr::LOCALHOST, 0)).start().await.unwrap();
    let mut far = Ear::at(&there, "far", "t/#").await;
    follow(&here, folder.path(), &network("b", there.local_addrs()[0], BOTH)).await;
    assert_eq!(far.hear_all(1).await, [("t/1".to_owned(), "1".to_owned())]);
}

/// A broker that others reach over the network, with a folder for its configuration.
async fn listening() -> (Here, SocketAddr, tempfile::TempDir) {
    let broker = Broker::builder().listen((Ipv4Addr::LOCALHOST, 0)).start().await.unwrap();
    let address = broker.local_addrs()[0];
    (Here::of(broker), address, tempfile::tempdir().unwrap())
}
