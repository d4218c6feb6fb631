//! Many subscriptions: how fast a broker takes them, what they cost it, and how fast it publishes through them.

use std::sync::Arc;

use mio::Poll;

use crate::bench::install::subscribe_all;
use crate::bench::peers::{Publisher, Subscriber};
use crate::bench::runner::{Part, Share};
use crate::bench::setup::{Opening, open_all};
use crate::bench::spread::Spread;
use crate::bench::template::Template;
use crate::bench::traffic::{Outcome, Traffic};
use crate::bench::visit::remove_sessions;
use crate::bench::{BenchError, Installed};

pub(super) fn run(share: &Share<'_>, subscriptions: u32, clients: u32) -> Result<Part, BenchError> {
    let plan = share.plan;
    let ids = || (0..clients).map(|number| share.client_id('s', number));
    let subscribers =
        ids().map(|client_id| Opening { client_id, is_clean: !plan.is_persistent, subscribe: None });
    let openings: Vec<_> = subscribers.chain(share.publisher_openings()).collect();
    let mut poll = Poll::new().map_err(BenchError::Io)?;
    let mut links = open_all(plan, &mut poll, &openings, share.gauge)?;
    let publishers = links.split_off(links.len().saturating_sub(1));

    let spread = Arc::new(Spread::new(share.tag, subscriptions, clients));
    let before = share.resident();
    let took = subscribe_all(plan, &mut poll, &mut links, &spread, share.gauge)?;
    let resident = before.zip(share.resident());
    let installed = Installed { count: u64::from(subscriptions), took, resident };

    let template = || Template::to_many(plan.version, Arc::clone(&spread), plan.qos, plan.payload_bytes);
    let subscribers =
        links.into_iter().zip(0..).map(|(link, number)| Subscriber::of(Arc::clone(&spread), number, link));
    let publishers = publishers.into_iter().map(|link| Publisher::new(link, template()));
    let (subscribers, publishers) = (subscribers.collect(), publishers.collect());
    let traffic = Traffic::new(plan, poll, share.rules(1), subscribers, publishers, share.is_first)?;
    let Outcome { measured, totals, .. } = traffic.run(share.gauge)?;
    if plan.is_persistent {
        remove_sessions(plan, ids(), share.gauge)?;
    }
    Ok(Part { installed: Some(installed), ..Part::new(measured, totals) })
}
