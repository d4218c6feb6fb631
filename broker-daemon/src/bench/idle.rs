//! Connections that say nothing: what they cost the broker.

use std::time::Instant;

use mio::{Events, Poll};

use crate::bench::link::Received;
use crate::bench::peers::Totals;
use crate::bench::runner::{Part, Share};
use crate::bench::setup::{Opening, open_all, wait};
use crate::bench::stopwatch::Stopwatch;
use crate::bench::template::DISCONNECT;
use crate::bench::{BenchError, Length};

/// Opens the connections and holds them. With a count instead of a time, until they are all there.
pub(super) fn run(share: &Share<'_>) -> Result<Part, BenchError> {
    let openings: Vec<_> = share
        .numbers
        .clone()
        .map(|number| Opening { client_id: share.client_id('i', number), is_clean: true, subscribe: None })
        .collect();
    let opened = Poll::new()
        .map_err(BenchError::Io)
        .and_then(|mut poll| Ok((open_all(share.plan, &mut poll, &openings, share.gauge)?, poll)));
    let (mut links, mut poll) = share.ready(opened)?;

    let count = links.len() as u64;
    let mut watch = Stopwatch::start(share.plan, share.is_first)?;
    if let Length::Count(_) = share.plan.length {
        watch.stop(Instant::now(), 0, 0);
    }
    let mut events = Events::with_capacity(256);
    let mut buffer = [0; 1024];
    let mut closed = 0;
    while !watch.is_over() {
        let timeout = watch.until().map(|until| until.saturating_duration_since(Instant::now()));
        wait(&mut poll, &mut events, timeout)?;
        for event in &events {
            let Some(link) = links.get_mut(event.token().0) else { continue };
            // Nothing has been asked, so nothing but an end can come.
            if event.is_readable() && !matches!(link.read(&mut buffer), Ok(Received::Nothing)) {
                closed += 1;
                link.close(poll.registry());
            }
        }
        watch.tick(Instant::now(), 0, 0);
    }
    for link in &mut links {
        link.out().extend(DISCONNECT);
        let _ = link.flush();
    }
    let totals = Totals { delivered: count, ..Totals::default() };
    Ok(Part { closed, ..Part::new(watch.finish(0, 0), totals) })
}
