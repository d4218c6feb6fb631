//! Topics in numbers: what each is called, which filter asks for it, and to whom a message goes.
//!
//! ```text
//! bench/TAG/0012/0012345/v   group and number; group = number / 1000
//! ```
//!
//! All are equally long, so a PUBLISH is patched for each. Client `c` of `C` has the topics `c`, `c + C`, `c + 2 C`…; messages go
//! round the clients, and to the topics of each in an order without neighbours: no cache of a broker has them all by chance, and
//! what a client gets can still be counted one by one.

/// Topics that are dealt out to clients.
#[derive(Debug)]
pub(super) struct Spread {
    /// With the slash behind it.
    prefix: String,
    topics: u32,
    clients: u32,
}

/// There are fewer: their numbers have seven digits.
pub(super) const TOPICS_MAX: u32 = 10_000_000;
const GROUP: u32 = 1000;
const GROUP_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 7;
const END: &[u8] = b"/v";
/// A prime above [`TOPICS_MAX`]: its multiples, modulo a number of topics, are each of them once.
const STRIDE: u64 = 2_654_435_761;

impl Spread {
    /// At least as many topics as clients, and at least one.
    pub(super) fn new(tag: &str, topics: u32, clients: u32) -> Self {
        Self { prefix: format!("bench/{tag}/"), topics, clients }
    }

    pub(super) fn topic(&self, number: u32) -> String {
        format!("{}{:04}/{number:07}/v", self.prefix, number / GROUP)
    }

    /// What asks for this topic and no other: a third each exact, with `+`, with `#`.
    pub(super) fn filter(&self, number: u32) -> String {
        match number / self.clients % 3 {
            0 => self.topic(number),
            1 => format!("{}+/{number:07}/v", self.prefix),
            _ => format!("{}{:04}/{number:07}/#", self.prefix, number / GROUP),
        }
    }

    /// What asks for all of them.
    pub(super) fn all(&self) -> String {
        format!("{}#", self.prefix)
    }

    /// The topics of a client.
    pub(super) fn of(&self, client: u32) -> impl Iterator<Item = u32> + use<> {
        let step = usize::try_from(self.clients).unwrap_or(usize::MAX);
        (client..self.topics).step_by(step)
    }

    /// Where the message with this sequence goes.
    pub(super) fn number(&self, sequence: u32) -> u32 {
        let (round, client) = (sequence / self.clients, sequence % self.clients);
        let own = (self.topics - client).div_ceil(self.clients);
        let place = u64::from(round) * STRIDE % u64::from(own.max(1));
        client + self.clients * u32::try_from(place).unwrap_or_default()
    }

    /// The how-manieth message of its client that is, if it is meant for it and came on its topic.
    pub(super) fn place(&self, client: u32, sequence: u32, topic: &[u8]) -> Option<u32> {
        let is_meant = sequence % self.clients == client && self.parse(topic)? == self.number(sequence);
        is_meant.then_some(sequence / self.clients)
    }

    /// Messages for a client, of `sent` in all.
    pub(super) fn expected(&self, client: u32, sent: u32) -> u32 {
        sent.saturating_sub(client).div_ceil(self.clients)
    }

    /// Writes the number into the topic that `bytes` begins with.
    pub(super) fn patch(&self, bytes: &mut [u8], number: u32) {
        let group = self.prefix.len();
        for (at, digits, value) in
            [(group, GROUP_DIGITS, number / GROUP), (group + GROUP_DIGITS + 1, NUMBER_DIGITS, number)]
        {
            let mut value = value;
            for place in bytes.get_mut(at..at + digits).unwrap_or_default().iter_mut().rev() {
                *place = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
    }

    /// The number of a topic, if it is one of these.
    pub(super) fn parse(&self, topic: &[u8]) -> Option<u32> {
        let rest = topic.strip_prefix(self.prefix.as_bytes())?.strip_suffix(END)?;
        let (group, number) = rest.split_at_checked(GROUP_DIGITS)?;
        let number = number.strip_prefix(b"/").filter(|digits| digits.len() == NUMBER_DIGITS)?;
        let (group, number) = (digits(group)?, digits(number)?);
        (number < self.topics && group == number / GROUP).then_some(number)
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter()
        .try_fold(0, |value, byte| Some(value * 10 + u32::from(byte.checked_sub(b'0').filter(|d| *d < 10)?)))
}

#[cfg(test)]
mod tests {
    use culex_codec::{TopicFilter, TopicName};

    use super::*;

    #[test]
    fn every_topic_is_asked_for_by_its_own_filter_alone() {
        let spread = Spread::new("tag", 3000, 7);
        for number in (0..3000).step_by(131) {
            let topic = spread.topic(number);
            assert_eq!(spread.parse(topic.as_bytes()), Some(number));
            let mut patched = spread.topic(2999).into_bytes();
            spread.patch(&mut patched, number);
            assert_eq!(patched, topic.as_bytes());
            let asking = (0..3000).filter(|other| {
                let filter = spread.filter(*other);
                TopicFilter::new(&filter).unwrap().matches(TopicName::new(&topic).unwrap())
            });
            assert_eq!(asking.collect::<Vec<_>>(), [number]);
        }
        for other in ["bench/tag/0000/0003000/v", "bench/tag/0001/0000007/v", "bench/tag/0000/000000x/v", "x"]
        {
            assert_eq!(spread.parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn messages_go_to_every_topic_in_turn_and_to_its_client() {
        for (topics, clients) in [(1, 1), (10, 3), (12, 4), (997, 100)] {
            let spread = Spread::new("tag", topics, clients);
            let rounds = topics.div_ceil(clients);
            let mut counts = vec![0; topics as usize];
            let mut expected = vec![0; clients as usize];
            for sequence in 0..rounds * clients {
                let number = spread.number(sequence);
                counts[number as usize] += 1;
                let client = sequence % clients;
                assert_eq!(number % clients, client);
                let topic = spread.topic(number);
                assert_eq!(spread.place(client, sequence, topic.as_bytes()), Some(expected[client as usize]));
                expected[client as usize] += 1;
                let all: Vec<u32> =
                    (0..clients).map(|client| spread.expected(client, sequence + 1)).collect();
                assert_eq!(all, expected, "{sequence}");
            }
            // Where topics are dealt unevenly, some have had a second message.
            assert!(counts.iter().all(|count| (1..=2).contains(count)), "{topics} to {clients}: {counts:?}");
            let own: usize = (0..clients).map(|client| spread.of(client).count()).sum();
            assert_eq!(own, topics as usize);
        }
    }
}
