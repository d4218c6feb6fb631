//! Every number of the service, in one place. They are those of the large Regions; AWS changes them, so all can be set.

use std::time::Duration;

/// What the emulated service allows, and what the emulator itself may hold. The ids are those of the violation log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    // -- Connections
    /// 128; AIC-CON-03.
    pub client_id_bytes: usize,
    /// 1 s between two CONNECTs of one client id; AIC-CON-06.
    pub connect_interval: Duration,
    /// 500, per account; AIC-CON-07.
    pub connects_per_second: u32,
    /// 20 s from the first byte to CONNECT, or to the end of what HTTPS is asked.
    pub connect_timeout: Duration,
    /// 30 s; AIC-CON-10.
    pub keep_alive_min: u16,
    /// 1200 s; AIC-CON-10.
    pub keep_alive_max: u16,
    /// 24 h of a WebSocket that SigV4 has opened; AIC-CON-16.
    pub websocket_time: Duration,
    /// 10; AIC-POL-08.
    pub policies_per_certificate: usize,
    // -- Messages
    /// 131,072; AIC-PUB-03.
    pub payload_bytes: usize,
    /// 149,504; AIC-PUB-04.
    pub packet_bytes: u32,
    /// 256; AIC-PUB-05.
    pub topic_bytes: usize,
    /// 7; AIC-PUB-05.
    pub topic_slashes: usize,
    /// 100, per connection; AIC-PUB-06.
    pub publishes_in_per_second: u32,
    /// 100, per connection; AIC-PUB-11.
    pub publishes_out_per_second: u32,
    /// 524,288, per connection and direction; AIC-PUB-08.
    pub bytes_per_second: u32,
    /// 20,000 that come in, and as many that go out; AIC-ACC-01.
    pub account_publishes_per_second: u32,
    /// 100; AIC-PUB-09.
    pub in_flight_in: usize,
    /// 100; AIC-PUB-10.
    pub in_flight_out: usize,
    /// 30 s, on a living 3.1.1 connection; AIC-PUB-12.
    pub redelivery_interval: Duration,
    /// 1 h; AIC-PUB-12.
    pub redelivery_time: Duration,
    /// 604,800; AIC-V5-03.
    pub message_expiry_seconds: u32,
    /// 8; AIC-V5-02.
    pub topic_aliases: u16,
    // -- Subscriptions
    /// 8; AIC-SUB-01.
    pub filters_per_subscribe: usize,
    /// 50, per connection; AIC-SUB-02.
    pub subscriptions: usize,
    /// 500, per account; AIC-SUB-03.
    pub subscriptions_per_second: u32,
    /// 500,000, per account; AIC-SUB-03.
    pub account_subscriptions: usize,
    /// 128; AIC-SUB-07.
    pub share_name_bytes: usize,
    // -- Sessions, retained messages
    /// 1 h after the connection; AIC-SES-01.
    pub session_expiry: Duration,
    /// 0; up to 30 min longer; AIC-SES-01.
    pub session_expiry_extra: Duration,
    /// 10 on resumption; AIC-SES-04.
    pub stored_per_second: u32,
    /// 20 on resumption, of a Shared Subscription; AIC-SES-04.
    pub stored_shared_per_second: u32,
    /// 500 while clients are away; AIC-SES-05.
    pub stored_per_second_account: u32,
    /// 100 while a client is away, for that client; AIC-SES-06.
    pub stored_per_second_session: u32,
    /// 1 s between two of one topic; AIC-RET-04.
    pub retained_interval: Duration,
    // -- Shadows
    /// 8,192, of a request and of a document without its metadata; AIC-TOP-04.
    pub shadow_bytes: usize,
    /// 8 levels of its state; AIC-TOP-04.
    pub shadow_depth: usize,
    /// 64; AIC-TOP-04.
    pub shadow_name_bytes: usize,
    /// 4: so many publishes an update counts for the account; AIC-TOP-04.
    pub shadow_update_publishes: u32,
    // -- The emulator's own memory
    /// 1,000.
    pub connections: usize,
    /// 1,000.
    pub sessions: usize,
    /// 100,000 of one session.
    pub queue_messages: usize,
    /// 256 MiB of all sessions together.
    pub queue_bytes: usize,
    /// 1,000.
    pub retained_messages: usize,
    /// 1,000, also of those that were deleted.
    pub shadows: usize,
    /// 10,000 in each list of what was seen.
    pub records: usize,
    /// 1,000,000 accepted messages remembered.
    pub deliveries: usize,
    /// 128 MiB of them.
    pub delivery_bytes: usize,
}

impl Default for Limits {
    #[rustfmt::skip]
    fn default() -> Self {
        Self {
            client_id_bytes: 128,
            connect_interval: Duration::from_secs(1),
            connects_per_second: 500,
            connect_timeout: Duration::from_secs(20),
            keep_alive_min: 30,
            keep_alive_max: 1200,
            websocket_time: Duration::from_secs(86_400),
            policies_per_certificate: 10,
            payload_bytes: 131_072,
            packet_bytes: 149_504,
            topic_bytes: 256,
            topic_slashes: 7,
            publishes_in_per_second: 100,
            publishes_out_per_second: 100,
            bytes_per_second: 524_288,
            account_publishes_per_second: 20_000,
            in_flight_in: 100,
            in_flight_out: 100,
            redelivery_interval: Duration::from_secs(30),
            redelivery_time: Duration::from_secs(3600),
            message_expiry_seconds: 604_800,
            topic_aliases: 8,
            filters_per_subscribe: 8,
            subscriptions: 50,
            subscriptions_per_second: 500,
            account_subscriptions: 500_000,
            share_name_bytes: 128,
            session_expiry: Duration::from_secs(3600),
            session_expiry_extra: Duration::ZERO,
            stored_per_second: 10,
            stored_shared_per_second: 20,
            stored_per_second_account: 500,
            stored_per_second_session: 100,
            retained_interval: Duration::from_secs(1),
            shadow_bytes: 8_192,
            shadow_depth: 8,
            shadow_name_bytes: 64,
            shadow_update_publishes: 4,
            connections: 1_000,
            sessions: 1_000,
            queue_messages: 100_000,
            queue_bytes: 256 << 20,
            retained_messages: 1_000,
            shadows: 1_000,
            records: 10_000,
            deliveries: 1_000_000,
            delivery_bytes: 128 << 20,
        }
    }
}
