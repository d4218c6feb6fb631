//! Many subscriptions before the first message: each client sends SUBSCRIBE packets with one filter each.

use std::time::{Duration, Instant};

use mio::{Events, Poll};

use crate::bench::frame::{Packets, kind};
use crate::bench::link::{Link, Received};
use crate::bench::peers::batch;
use crate::bench::setup::{granted, wait};
use crate::bench::spread::Spread;
use crate::bench::template::{self, packet_id};
use crate::bench::{BenchError, Gauge, Plan};

/// What the broker was given before it was measured: subscriptions, or Retained Messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Installed {
    /// How many.
    pub count: u64,
    /// From the first that was sent until the last was answered, or known to have been taken.
    pub took: Duration,
    /// Resident memory of the broker before and after, in bytes.
    pub resident: Option<(u64, u64)>,
}

const BUFFER_BYTES: usize = 64 * 1024;

/// A client's SUBSCRIBE packets.
struct Client<N> {
    left: N,
    sent: u32,
    acked: u32,
}

/// Sends the filters of each client, as many of each at a time as the window has, and waits for all SUBACK packets. The links are
/// registered with their places as tokens.
pub(super) fn subscribe_all(
    plan: &Plan,
    poll: &mut Poll,
    links: &mut [Link],
    spread: &Spread,
    gauge: &Gauge,
) -> Result<Duration, BenchError> {
    let window = plan.window.max(1);
    let mut clients: Vec<_> = (0..)
        .zip(links.iter())
        .map(|(number, _)| Client { left: spread.of(number), sent: 0, acked: 0 })
        .collect();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; BUFFER_BYTES];
    let began = Instant::now();
    let mut progress = began;
    for (place, (link, client)) in links.iter_mut().zip(&mut clients).enumerate() {
        fill(link, client, spread, plan, window).map_err(|source| broken(place, source))?;
    }
    while clients.iter().any(|client| client.acked < client.sent) {
        wait(poll, &mut events, Some(plan.patience.saturating_sub(progress.elapsed())))?;
        if events.is_empty() && progress.elapsed() >= plan.patience {
            return Err(BenchError::Silent { seconds: plan.patience.as_secs_f64() });
        }
        progress = Instant::now();
        for event in &events {
            let place = event.token().0;
            let (Some(link), Some(client)) = (links.get_mut(place), clients.get_mut(place)) else { continue };
            while event.is_readable() && take(link, client, plan, place, &mut buffer, gauge)? {}
            fill(link, client, spread, plan, window).map_err(|source| broken(place, source))?;
        }
    }
    Ok(began.elapsed())
}

/// Sends on if a good part of the window is free.
fn fill(
    link: &mut Link,
    client: &mut Client<impl Iterator<Item = u32>>,
    spread: &Spread,
    plan: &Plan,
    window: u32,
) -> std::io::Result<()> {
    let free = window - (client.sent - client.acked).min(window);
    if u64::from(free) >= batch(window) {
        for number in client.left.by_ref().take(usize::try_from(free).unwrap_or(usize::MAX)) {
            let filter = spread.filter(number);
            link.out().extend(template::subscribe(plan.version, packet_id(client.sent), &filter, plan.qos));
            client.sent += 1;
        }
    }
    link.flush()
}

/// Reads once; true if there may be more.
fn take(
    link: &mut Link,
    client: &mut Client<impl Iterator<Item = u32>>,
    plan: &Plan,
    place: usize,
    buffer: &mut [u8],
    gauge: &Gauge,
) -> Result<bool, BenchError> {
    let (len, is_more) = match link.read(buffer).map_err(|source| broken(place, source))? {
        Received::Bytes { len, is_more } => (len, is_more),
        Received::Nothing => return Ok(false),
        Received::End => return Err(broken(place, std::io::ErrorKind::UnexpectedEof.into())),
    };
    let before = client.acked;
    let mut packets = Packets::new(buffer.get(..len).unwrap_or_default());
    while let Some(packet) = packets.next().map_err(|_| BenchError::Malformed)? {
        match packet.kind() {
            kind::SUBACK
                if client.acked < client.sent && granted(plan, packet)? == packet_id(client.acked) =>
            {
                client.acked += 1;
            }
            kind => return Err(BenchError::Unexpected { kind }),
        }
    }
    link.keep(packets.rest());
    gauge.add(u64::from(client.acked - before));
    Ok(is_more)
}

fn broken(number: usize, source: std::io::Error) -> BenchError {
    BenchError::Broken { role: "subscriber", number, source }
}
