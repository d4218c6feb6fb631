//! How often each kind of event and each branch of an oracle was reached. A branch that no seed reaches tests nothing.

use super::plan::Family;

/// A broker without a store, which cannot crash and go on.
const AT_ONCE: &str = "store: answers at once";

/// Counts of a run, or of many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts([u64; Reach::ALL.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; Reach::ALL.len()])
    }
}

impl Counts {
    pub(super) const fn add(&mut self, what: Reach) {
        self.0[what as usize] += 1;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Every branch with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reach::ALL.iter().zip(self.0).map(|(name, count)| (*name, count))
    }

    /// Branches that were never reached, though seeds of this family may.
    pub fn missing(&self, family: Family) -> Vec<&'static str> {
        let is_possible = |name: &str| match family {
            Family::Steady => !name.starts_with("crash: "),
            Family::Crashes => name != AT_ONCE,
            Family::FailingCommit(_) => false,
        };
        self.iter().filter(|(name, count)| *count == 0 && is_possible(name)).map(|(name, _)| name).collect()
    }
}

macro_rules! reach {
    ($($name:ident: $text:literal,)*) => {
        /// Something that a run can reach.
        #[derive(Debug, Clone, Copy)]
        pub(super) enum Reach { $($name,)* }

        impl Reach {
            const ALL: &'static [&'static str] = &[$($text,)*];
        }
    };
}

reach! {
    Operation: "script: operations",
    Connect: "script: CONNECT",
    ConnectPersistent: "script: CONNECT with Clean Session 0",
    ConnectWill: "script: CONNECT with a will",
    Pipelined: "script: packets before CONNACK",
    TakeOver: "script: second connection of a live client",
    Publish0: "script: PUBLISH QoS 0",
    Publish1: "script: PUBLISH QoS 1",
    Publish2: "script: PUBLISH QoS 2",
    PublishRetained: "script: PUBLISH with RETAIN",
    PublishClear: "script: PUBLISH that clears",
    PublishLarge: "script: PUBLISH with a shared payload",
    ResendPublish: "client: PUBLISH again",
    ResendPubrel: "client: PUBREL again",
    Subscribe: "script: SUBSCRIBE",
    SubscribeAgain: "script: SUBSCRIBE again to a filter",
    Unsubscribe: "script: UNSUBSCRIBE",
    Disconnect: "script: DISCONNECT",
    Ping: "client: PINGREQ",
    Pause: "script: client stops reading",
    HeldAcks: "client: acknowledgements wait",
    NetSplit: "network: a chunk is split",
    NetJoin: "network: chunks are joined",
    NetReset: "network: reset",
    NetHalfOpen: "network: half-open connection",
    NetClose: "network: closed without DISCONNECT",
    NetFull: "network: no room, the broker is blocked",
    SlowAttempt: "front door: an attempt is overtaken by a newer one",
    Preempted: "commons: another shard runs before an answer",
    PreemptedDeep: "commons: two other shards run before an answer",
    PreemptedSend: "shards: another shard runs between store and mailbox",
    TurnMail: "shard: messages of another shard",
    TurnCut: "shard: a turn ends before all is handled",
    TurnTimeout: "shard: timers",
    StoreLate: "store: answers late",
    StoreElided: "store: something is over before it is written",
    StoreAtOnce: "store: answers at once",
    ClosedDisconnected: "closed: DISCONNECT",
    ClosedLost: "closed: lost",
    ClosedKeepAlive: "closed: keep alive",
    ClosedPartial: "closed: unfinished packets over their limit",
    ClosedTakenOver: "closed: taken over",
    RefusedSuperseded: "refused: superseded",
    RefusedSessions: "refused: too many sessions",
    RefusedBesideLive: "refused: too many sessions, while a live connection goes on",
    StaleAttach: "owner: an old attempt gets in after the newer one has gone",
    OwnerChanged: "owner: one after take-over",
    SessionPresent: "session: present as it must be",
    SessionAbsent: "session: absent as it must be",
    QueueDropped: "limits: queue full",
    QueueTotalDropped: "limits: queues of all sessions full",
    DroppedOnline: "limits: a drop is told of a session with a connection",
    DroppedOffline: "limits: a drop is told of a session without one",
    MailboxFull: "limits: a mailbox is full, and others read nothing",
    MailboxOver: "limits: a mailbox is over its limit by what a turn had begun",
    SlowReaderDropped: "limits: outbox full",
    RetainedRefused: "limits: retained messages refused",
    SubscriptionRefused: "limits: subscription refused",
    WindowFull: "limits: window full",
    AtMostOnce: "delivery: at most once",
    AtLeastOnce: "delivery: at least once",
    ExactlyOnce: "delivery: exactly once",
    Redelivered1: "delivery: QoS 1 again after reconnect",
    Redelivered2: "delivery: QoS 2 again after reconnect",
    Pubrel: "delivery: PUBREL",
    OrderOnLink: "order: checked on a connection",
    OrderInSession: "order: checked in a session",
    QueuedAfterUnsuback: "unsubscribe: a queued message comes after UNSUBACK",
    AfterUnsuback: "unsubscribe: delivery checked after an UNSUBACK",
    Missed0: "miss: QoS 0 owed and received",
    Missed1: "miss: QoS 1 and 2 owed and received",
    MissedDropped: "miss: owed, dropped and counted",
    MissedLeaving: "miss: on its way while its receiver unsubscribed, and not delivered",
    RetainedFed: "retained: sent on subscribing",
    RetainedFedAgain: "retained: sent again for a second SUBSCRIBE",
    RetainedOrder: "retained: order of stored and live checked",
    RetainedOwed: "retained: owed on subscribing and received",
    RetainedMeanwhile: "retained: written while or after subscribing, and received",
    RetainedProbe: "retained: store equals last write",
    RetainedProbeEmpty: "retained: nothing stored as it must be",
    WillPublished: "will: published when due",
    WillDiscarded: "will: discarded by DISCONNECT",
    WillReceived: "will: received",
    KeepAliveInTime: "keep alive: not too early",
    HookDelivers: "hook: a message is delivered",
    HookChanges: "hook: a changed message is received",
    HookRefuses: "hook: a message is refused",
    HookDrops: "hook: a message is dropped",
    HookWithheld: "hook: a message for nobody is acknowledged",
    HookGrants: "hook: filters are granted or refused",
    HookRefusesFilter: "hook: a refused filter is answered with 0x80",
    HookFails: "hook: fails",
    HookUnfit: "hook: answers something else",
    HookOutlastsKeepAlive: "hook: takes longer than keep alive",
    AnswerForNobody: "hook: answers for a connection that is gone",
    AskedAgain: "hook: a QoS 2 message is asked about again after a reconnect",
    ClosedWhileAsked: "closed: taken over while a question is open",
    LostWhileAsked: "closed: lost while a question is open",
    ClosedHook: "closed: hook failed",
    ClosedHookLate: "closed: hook gave no answer in time",
    UserChanged: "script: CONNECT of another user",
    UserChangedPresent: "session: of another user, ended unread",
    EndedLater: "session: ended, and its filters leave later",
    StoreRead: "crash: a queue is read back from the store",
    CrashBare: "crash: a start leaves the bodies of queues on the disk",
    CrashProcess: "crash: the process ends",
    CrashPower: "crash: a power cut",
    CrashWaiting: "crash: records wait for the store, and are lost",
    CrashWriting: "crash: a transaction in progress is lost",
    CrashUntold: "crash: a transaction is kept that nobody was told of",
    CrashRollback: "crash: the disk lacks what was acknowledged",
    CrashClockBack: "crash: the wall clock is set back",
    KeptSession: "crash: a session is kept as its client knows it",
    KeptUnknown: "crash: a client does not know of a session",
    WillKept: "crash: a will is published after the start",
    WillAgain: "crash: a will is published again, or though it was discarded",
    WillLost: "crash: a will of a clean session is lost",
    Expired: "crash: a session has expired in time",
    NotExpired: "crash: a session has not expired before its time",
    RepeatAfterCrash: "crash: a QoS 2 message is sent again",
    Settled: "settled: everything answered",
    Ended: "end: nothing left",
}
