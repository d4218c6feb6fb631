//! The store of messages that the other side refused for good.
//!
//! A dead letter is a Retained Message at `$CULEX/dead-letters/<integration>/<id>`. So it is as durable as everything that
//! the broker acknowledges, counts against the limits `retained_messages` and `retained_bytes`, and survives a restart; and
//! nobody but the host reads or writes there.

use culex_core::{
    Admin, AdminError, Broker, Client, ConnectError, Cursor, PublishError, QoS, client::Publication,
};
use tokio::sync::Mutex;

use super::letter::{BadLetter, DeadLetter, Letter};

/// Where all of them are.
const ROOT: &str = "$CULEX/dead-letters";
/// Letters of one integration.
const LETTERS_MAX: u64 = 10_000;
/// Letters that are looked at with one question.
const PAGE: usize = 256;

/// The dead letters of one integration, or of all.
#[derive(Debug)]
pub struct DeadLetters {
    broker: Broker,
    admin: Admin,
    /// `bridge/aws`; empty for all.
    integration: String,
    writer: Mutex<Writer>,
    letters_max: u64,
}

#[derive(Debug, Default)]
struct Writer {
    client: Option<Client>,
    /// How many letters there are, or fewer: others only remove them. `None` if nobody has counted.
    letters: Option<u64>,
}

/// Why nothing was changed, or not everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeadLetterError {
    /// There are too many letters.
    #[error(
        "there are {0} dead letters of this integration, and no more are taken; look at them with `culex ctl dead-letters list`, then replay or purge them"
    )]
    Full(u64),
    /// The limits of Retained Messages have no room for it.
    #[error(
        "there is no room for it (limits retained_messages and retained_bytes); purge dead letters or raise the limits"
    )]
    NoRoom,
    /// There is no such letter.
    #[error("there is no dead letter {0}")]
    Absent(String),
    /// What is there is none.
    #[error(transparent)]
    Bad(#[from] BadLetter),
    /// The broker takes no client.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The broker does not take it.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker does not say.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl DeadLetters {
    /// Those of one integration, named by its kind and its name: `bridge/aws`. Costs nothing until it is asked for
    /// something.
    pub fn new(broker: &Broker, integration: &str) -> Self {
        Self {
            broker: broker.clone(),
            admin: broker.admin(),
            integration: integration.to_owned(),
            writer: Mutex::default(),
            letters_max: LETTERS_MAX,
        }
    }

    /// Those of all integrations: to be listed, replayed and purged, not put.
    pub fn of_all(broker: &Broker) -> Self {
        Self::new(broker, "")
    }

    /// At most so many letters, for example in a test. Default 10,000.
    #[must_use]
    pub const fn letters_max(mut self, letters_max: u64) -> Self {
        self.letters_max = letters_max;
        self
    }

    /// Keeps a letter and answers its id. When this returns, it is as durable as whatever the broker acknowledges: now its
    /// message may be acknowledged. The same message again takes the place that it had.
    ///
    /// # Errors
    /// [`DeadLetterError`]: it is not kept, so its message must not be acknowledged. Try again.
    pub async fn put(&self, letter: &DeadLetter) -> Result<String, DeadLetterError> {
        let id = letter.id();
        let topic = format!("{ROOT}/{}/{id}", self.integration);
        let mut writer = self.writer.lock().await;
        let is_new = self.kept(&topic)?.is_none();
        if is_new {
            self.check_room(&mut writer)?;
        }
        let publication =
            Publication::new(topic.as_str(), letter.encode(&self.integration), QoS::AtLeastOnce);
        self.publish(&mut writer, publication.retained()).await?;
        // PUBACK also comes if the limits let nothing be retained.
        if self.kept(&topic)?.is_none() {
            return Err(DeadLetterError::NoRoom);
        }
        if is_new {
            writer.letters = writer.letters.map(|letters| letters + 1);
        }
        Ok(id)
    }

    /// A page of the letters, by integration and id, and where to go on. What is there and cannot be read is left out, and
    /// a page may be empty although more follow.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn list(&self, after: Cursor, limit: usize) -> Result<(Vec<Letter>, Option<Cursor>), AdminError> {
        let kept = self.admin.retained(&self.filter(), after, limit)?;
        let letters = kept.items.iter().filter_map(|item| {
            let letter = DeadLetter::decode(&item.payload).ok()?;
            let (integration, id) = parts(&item.topic)?;
            Some(Letter { integration: integration.to_owned(), id: id.to_owned(), letter })
        });
        Ok((letters.collect(), kept.next))
    }

    /// One letter of this integration.
    ///
    /// # Errors
    /// [`DeadLetterError::Absent`], [`DeadLetterError::Bad`], [`DeadLetterError::Admin`].
    pub fn show(&self, id: &str) -> Result<Letter, DeadLetterError> {
        let topic = format!("{ROOT}/{}/{id}", self.integration);
        let kept = self.kept(&topic)?.ok_or_else(|| DeadLetterError::Absent(id.to_owned()))?;
        let letter = DeadLetter::decode(&kept)?;
        Ok(Letter { integration: self.integration.clone(), id: id.to_owned(), letter })
    }

    /// Publishes the message of a letter to the topic that it had, and removes the letter when that is acknowledged. After
    /// a crash in between it is there still.
    ///
    /// # Errors
    /// [`DeadLetterError`]; the letter stays, unless that is about its removal.
    pub async fn replay(&self, letter: &Letter) -> Result<(), DeadLetterError> {
        let DeadLetter { topic, payload, qos, retain, .. } = &letter.letter;
        // Only QoS 1 and 2 say when it is done.
        let publication = Publication::new(topic.as_str(), payload.clone(), (*qos).max(QoS::AtLeastOnce));
        let publication = if *retain { publication.retained() } else { publication };
        self.publish(&mut *self.writer.lock().await, publication).await?;
        self.remove(&letter.integration, &letter.id).await
    }

    /// Removes a letter; one that is not there too. When this returns, that is durable.
    ///
    /// # Errors
    /// [`DeadLetterError`].
    pub async fn remove(&self, integration: &str, id: &str) -> Result<(), DeadLetterError> {
        let publication =
            Publication::new(format!("{ROOT}/{integration}/{id}"), Vec::new(), QoS::AtLeastOnce);
        self.publish(&mut *self.writer.lock().await, publication.retained()).await
    }

    /// Removes every letter, those that cannot be read too, and says how many there were.
    ///
    /// # Errors
    /// [`DeadLetterError`]; some may be removed.
    pub async fn purge(&self) -> Result<u64, DeadLetterError> {
        let mut count = 0;
        let mut next = Some(Cursor::default());
        while let Some(after) = next {
            let page = self.admin.retained(&self.filter(), after, PAGE)?;
            for item in &page.items {
                let removal = Publication::new(&*item.topic, Vec::new(), QoS::AtLeastOnce).retained();
                self.publish(&mut *self.writer.lock().await, removal).await?;
                count += 1;
            }
            next = page.next;
        }
        Ok(count)
    }

    /// How many letters there are. Costs a look at each.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn count(&self) -> Result<u64, AdminError> {
        let mut count = 0;
        let mut next = Some(Cursor::default());
        while let Some(after) = next {
            let page = self.admin.retained(&self.filter(), after, PAGE)?;
            count += page.items.len() as u64;
            next = page.next;
        }
        Ok(count)
    }

    fn filter(&self) -> String {
        if self.integration.is_empty() {
            format!("{ROOT}/#")
        } else {
            format!("{ROOT}/{}/#", self.integration)
        }
    }

    fn kept(&self, topic: &str) -> Result<Option<bytes::Bytes>, AdminError> {
        let page = self.admin.retained(topic, Cursor::default(), 1)?;
        Ok(page.items.into_iter().next().map(|item| item.payload))
    }

    fn check_room(&self, writer: &mut Writer) -> Result<(), DeadLetterError> {
        // Letters that others have removed are noticed when it matters.
        if writer.letters.is_none_or(|letters| letters >= self.letters_max) {
            writer.letters = Some(self.count()?);
        }
        match writer.letters {
            Some(letters) if letters >= self.letters_max => Err(DeadLetterError::Full(letters)),
            Some(_) | None => Ok(()),
        }
    }

    async fn publish(&self, writer: &mut Writer, publication: Publication) -> Result<(), DeadLetterError> {
        let client = match writer.client.take().filter(|client| client.ended().is_none()) {
            Some(client) => client,
            None => self.broker.client("").host_topics().await?.0,
        };
        client.send(publication).await?;
        writer.client = Some(client);
        Ok(())
    }
}

/// Integration and id of a topic.
fn parts(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(ROOT)?.strip_prefix('/')?.rsplit_once('/')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use culex_core::limits::{Limit, Limits};

    use super::*;

    async fn broker() -> Broker {
        Broker::builder().without_listener().start().await.unwrap()
    }

    fn letter(n: u32) -> DeadLetter {
        let reason = "the receiver answered 404".to_owned();
        DeadLetter {
            reason,
            qos: QoS::AtLeastOnce,
            ..DeadLetter::new(format!("a/{n}"), format!("payload {n}"))
        }
    }

    async fn end(broker: Broker) {
        broker.shutdown(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_letter_is_listed_shown_and_removed() {
        let broker = broker().await;
        let letters = DeadLetters::new(&broker, "bridge/aws");
        let others = DeadLetters::new(&broker, "webhook/x");
        let id = letters.put(&letter(1)).await.unwrap();
        assert_eq!(letters.put(&letter(1)).await.unwrap(), id, "the same message, the same place");
        others.put(&letter(2)).await.unwrap();
        let (listed, _) = letters.list(Cursor::default(), 10).unwrap();
        assert_eq!(listed, [letters.show(&id).unwrap()]);
        assert_eq!(listed[0].letter.payload, letter(1).payload);
        let (all, _) = DeadLetters::of_all(&broker).list(Cursor::default(), 10).unwrap();
        let owners: Vec<_> = all.iter().map(|letter| letter.integration.as_str()).collect();
        assert_eq!(owners, ["bridge/aws", "webhook/x"]);
        letters.remove("bridge/aws", &id).await.unwrap();
        assert!(matches!(letters.show(&id), Err(DeadLetterError::Absent(_))));
        assert_eq!((letters.purge().await.unwrap(), others.purge().await.unwrap()), (0, 1));
        end(broker).await;
    }

    #[tokio::test]
    async fn there_are_no_more_than_the_limit_and_removal_makes_room() {
        let broker = broker().await;
        let letters = DeadLetters::new(&broker, "bridge/aws").letters_max(3);
        for n in 0..3 {
            letters.put(&letter(n)).await.unwrap();
        }
        assert!(matches!(letters.put(&letter(3)).await, Err(DeadLetterError::Full(3))));
        letters.put(&letter(2)).await.expect("it has its place");
        // Another handle, as that of an operator.
        assert_eq!(DeadLetters::new(&broker, "bridge/aws").purge().await.unwrap(), 3);
        letters.put(&letter(3)).await.expect("there is room again");
        end(broker).await;
    }

    #[tokio::test]
    async fn a_letter_without_room_is_not_taken_for_kept() {
        let limits = Limits { retained_messages: Limit::at_most(1).unwrap(), ..Limits::default() };
        let broker = Broker::builder().without_listener().limits(limits).start().await.unwrap();
        let letters = DeadLetters::new(&broker, "bridge/aws");
        letters.put(&letter(1)).await.unwrap();
        assert!(matches!(letters.put(&letter(2)).await, Err(DeadLetterError::NoRoom)));
        end(broker).await;
    }

    /// Whatever a client may publish may become a letter, however much its topic grows when it is written.
    #[tokio::test]
    async fn the_largest_message_with_the_worst_topic_has_room() {
        const PACKET_BYTES: u32 = 256 << 10;
        let limits = Limits { packet_bytes: PACKET_BYTES, ..Limits::default() };
        let broker = Broker::builder().without_listener().limits(limits).start().await.unwrap();
        let letters = DeadLetters::new(&broker, "webhook/x");
        let topic = "\u{1}".repeat(usize::from(u16::MAX));
        let payload = vec![0; PACKET_BYTES as usize - topic.len() - 16];
        let worst = DeadLetter { qos: QoS::AtLeastOnce, ..DeadLetter::new(topic, payload) };
        let id = letters.put(&worst).await.unwrap();
        assert_eq!(letters.show(&id).unwrap().letter.topic, worst.topic);
        end(broker).await;
    }

    #[tokio::test]
    async fn a_replayed_letter_reaches_its_topic_and_is_gone() {
        let broker = broker().await;
        let (reader, mut inbox) = broker.client("reader").await.unwrap();
        reader.subscribe("a/#", QoS::ExactlyOnce).await.unwrap();
        let letters = DeadLetters::new(&broker, "bridge/aws");
        let id = letters.put(&letter(1)).await.unwrap();
        letters.replay(&letters.show(&id).unwrap()).await.unwrap();
        let message = inbox.next().await.unwrap();
        assert_eq!((&*message.topic, &*message.payload), ("a/1", &b"payload 1"[..]));
        assert_eq!(letters.count().unwrap(), 0);
        end(broker).await;
    }

    #[cfg(feature = "store-sqlite")]
    #[tokio::test]
    async fn letters_survive_a_restart_of_the_broker() {
        let directory = tempfile::tempdir().unwrap();
        let start = || Broker::builder().without_listener().store(directory.path()).start();
        let broker = start().await.unwrap();
        let id = DeadLetters::new(&broker, "webhook/x").put(&letter(1)).await.unwrap();
        end(broker).await;
        let broker = start().await.unwrap();
        let letters = DeadLetters::new(&broker, "webhook/x");
        let kept = letters.show(&id).unwrap();
        assert_eq!((&*kept.letter.topic, &*kept.letter.reason), ("a/1", "the receiver answered 404"));
        end(broker).await;
    }
}
