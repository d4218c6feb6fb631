//! Topics and filters as deep as a packet lets them be.

use std::time::{Duration, Instant};

use culex_tests::broker::Broker;
use culex_tests::client::Next;
use culex_tests::wire::{self, Publish};

use crate::canary::{Canary, connected};

/// Also without the limit of levels that stands between them and the routing table.
#[test]
fn cve_2019_11779_and_2021_33176_sixty_five_thousand_levels_are_closed_or_served() {
    let deep = "/".repeat(65_400);
    let long = "x".repeat(65_535);
    for limits in ["", "[limits]\ntopic_levels = \"unlimited\"\nsubscriptions_per_session = \"unlimited\"\n"]
    {
        let broker = Broker::start_with_config(limits);
        let mut canary = Canary::new(broker.addr, "canary");
        canary.sing();
        let begin = Instant::now();
        for (n, packets) in [
            wire::subscribe(2, &[(&deep, 1)]),
            wire::subscribe(2, &[(&format!("{}#", "+/".repeat(32_000)), 1)]),
            wire::subscribe(2, &[(&long, 1)]),
            Publish::new(&deep, "x").qos(1, 3).encode(),
            Publish::new(&deep, "x").qos(1, 3).retained().encode(),
            wire::unsubscribe(4, &[&deep]),
        ]
        .into_iter()
        .enumerate()
        {
            let mut client = connected(broker.addr, &format!("deep{n}"));
            client.send(packets);
            let answer = client.next_within(Duration::from_secs(50));
            assert!(matches!(answer, Next::Packet(_) | Next::Closed), "{n}: {answer:?}");
            canary.sing();
        }
        assert!(begin.elapsed() < Duration::from_secs(50), "{:?}", begin.elapsed());
    }
}
