//! Switches: what the service may do, or what goes wrong with it. Each can be used alone or with any other, and changed
//! while the emulator runs.

use std::time::Duration;

use thiserror::Error;

/// What the emulated service does beside, or instead of, the ordinary.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Of a thousand PUBACKs, so many are never sent. 0
    pub drop_puback: u16,
    /// PUBACKs come so much later. 0
    pub delay_puback: Duration,
    /// Of two PUBACKs, the later is sent first. AIC-PUB-13
    pub reorder_acks: bool,
    /// Messages at QoS 1 come twice, with different Packet Identifiers. AIC-PUB-13
    pub duplicate_new_id: bool,
    /// Of two messages to a client, the later may come first. AIC-PUB-13
    pub reorder_messages: bool,
    /// A Subscription begins so long after its SUBACK. 200 ms; AIC-PUB-14
    pub subscribe_lag: Duration,
    /// No SUBACK is sent.
    pub drop_suback: bool,
    /// No PINGRESP is sent.
    pub no_pingresp: bool,
    /// Connections are closed by the service so long after CONNACK. AIC-CON-16
    pub server_initiated_disconnect: Option<Duration>,
    /// Somebody else takes the client id over so long after CONNACK. AIC-CON-08
    pub kick_duplicate: Option<Duration>,
    /// A connection may publish so many messages per second; the others are discarded. AIC-PUB-07
    pub throttle: Option<u32>,
    /// Connections are closed after so many discarded messages. AIC-PUB-07
    pub throttle_closes_after: Option<u32>,
    /// Nothing is read, written or closed any more.
    pub half_open: bool,
    /// Of a thousand packets that are written, so many are cut in the middle, with the connection.
    pub rst_mid_packet: u16,
    /// CONNECT is answered by a close.
    pub close_before_connack: bool,
    /// CONNACK comes so long after CONNECT; what comes between is seen. 50 ms; AIC-CON-02
    pub connack_delay: Duration,
    /// No session is found again. AIC-SES-01
    pub expire_session: bool,
    /// All certificates are `INACTIVE`. AIC-TLS-08
    pub cert_inactive: bool,
    /// No certificate is known, and clients hear of it when they believe that the handshake is done. AIC-TLS-09
    pub cert_unknown_late_alert: bool,
    /// Certificates of unknown clients are registered, and their first connection is closed. AIC-TLS-10
    pub jitr: bool,
    /// No policy is attached to any certificate.
    pub policy_none: bool,
    /// No policy allows `iot:Receive`. AIC-POL-07
    pub policy_without_receive: bool,
    /// The server has a certificate of another authority.
    pub wrong_chain: bool,
    /// The server has a certificate with another name.
    pub wrong_server_name: bool,
    /// TLS 1.2 alone.
    pub tls12_only: bool,
    /// TLS 1.3 alone.
    pub tls13_only: bool,
    /// A CONNECT of 5.0 is answered with the CONNACK of 3.1.1. AIC-V5-06
    pub legacy_v3_connack_to_v5: bool,
    /// The service cannot be reached: connections are cut, and so are new ones.
    pub outage: bool,
    /// So many bytes per second go in each direction.
    pub slow: Option<u32>,
    /// After CONNACK comes a message to which nobody has subscribed. AIC-TOP-06
    pub unsolicited_reply: bool,
    /// Level 0x84 is answered with CONNACK 1, and not with a close. AIC-CON-01
    pub refuse_bridge_level: bool,
    /// A CONNECT of 3.1.1 that is refused is answered with CONNACK 5. AIC-CON-12
    pub connack_on_refusal: bool,
    /// QoS 2 gets no answer, and the connection stays. AIC-PUB-02
    pub qos2_ignored: bool,
    /// No Local, Retain As Published and Retain Handling are heeded. AIC-SUB-09
    pub subscription_options: bool,
    /// An empty client id of 3.1.1 is accepted, with a clean session. AIC-CON-05
    pub empty_client_id: bool,
    /// Port 443 speaks MQTT with a client certificate whatever ALPN says, as with a domain configuration that pins
    /// `SECURE_MQTT`. AIC-NET-08
    pub secure_mqtt_443: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            drop_puback: 0,
            delay_puback: Duration::ZERO,
            reorder_acks: false,
            duplicate_new_id: false,
            reorder_messages: false,
            subscribe_lag: Duration::from_millis(200),
            drop_suback: false,
            no_pingresp: false,
            server_initiated_disconnect: None,
            kick_duplicate: None,
            throttle: None,
            throttle_closes_after: None,
            half_open: false,
            rst_mid_packet: 0,
            close_before_connack: false,
            connack_delay: Duration::from_millis(50),
            expire_session: false,
            cert_inactive: false,
            cert_unknown_late_alert: false,
            jitr: false,
            policy_none: false,
            policy_without_receive: false,
            wrong_chain: false,
            wrong_server_name: false,
            tls12_only: false,
            tls13_only: false,
            legacy_v3_connack_to_v5: false,
            outage: false,
            slow: None,
            unsolicited_reply: false,
            refuse_bridge_level: false,
            connack_on_refusal: false,
            qos2_ignored: false,
            subscription_options: false,
            empty_client_id: false,
            secure_mqtt_443: false,
        }
    }
}

/// Why a text is no switch.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScenarioError {
    /// There is none with this name.
    #[error("there is no scenario \"{name}\"; there are: {}", NAMES.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// It has no such value.
    #[error("scenario \"{name}\" takes {takes}: `{name}={example}`")]
    Value {
        /// The switch.
        name: &'static str,
        /// What it takes.
        takes: &'static str,
        /// One of those.
        example: &'static str,
    },
}

/// One line a switch: what the value is, and where it goes.
macro_rules! switches {
    ($($name:ident: $kind:ident,)*) => {
        /// The names of all switches, as [`Scenario::switch`] takes them.
        pub const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Scenario {
            /// Sets what `name` or `name=value` says. Shares are per mille, times milliseconds, rates per second; a switch
            /// that only is or is not takes no value. `name=off` is as it usually is.
            ///
            /// # Errors
            /// A name or value that there is not.
            pub fn switch(&mut self, text: &str) -> Result<(), ScenarioError> {
                let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
                match name {
                    $(stringify!($name) if value == Some("off") => self.$name = Self::default().$name,)*
                    $(stringify!($name) => switches!(@set $kind self.$name, value, stringify!($name)),)*
                    _ => return Err(ScenarioError::Unknown { name: name.to_owned() }),
                }
                Ok(())
            }

            /// What is not as it usually is, each as [`Self::switch`] takes it.
            pub fn switched(&self) -> Vec<String> {
                let usual = Self::default();
                let mut switched = Vec::new();
                $(if self.$name != usual.$name {
                    switched.push(format!("{}{}", stringify!($name), switches!(@show $kind self.$name)));
                })*
                switched
            }
        }
    };
    (@show flag $field:expr) => { if $field { "" } else { "=false" } };
    (@show share $field:expr) => { format!("={}", $field) };
    (@show time $field:expr) => { format!("={}", $field.as_millis()) };
    (@show perhaps_time $field:expr) => {
        $field.map_or("=off".to_owned(), |time| format!("={}", time.as_millis()))
    };
    (@show rate $field:expr) => { $field.map_or("=off".to_owned(), |rate| format!("={rate}")) };
    (@set flag $field:expr, $value:ident, $name:expr) => {
        match $value {
            None | Some("true") => $field = true,
            Some("false") => $field = false,
            Some(_) => return Err(ScenarioError::Value { name: $name, takes: "true or false", example: "true" }),
        }
    };
    (@set share $field:expr, $value:ident, $name:expr) => {
        $field = number($value, $name, "a share from 0 to 1000 per mille", "100", 1000)?
            .try_into()
            .unwrap_or(1000)
    };
    (@set time $field:expr, $value:ident, $name:expr) => {
        $field = Duration::from_millis(number($value, $name, "milliseconds", "500", u32::MAX)?.into())
    };
    (@set perhaps_time $field:expr, $value:ident, $name:expr) => {
        $field = Some(Duration::from_millis(number($value, $name, "milliseconds", "5000", u32::MAX)?.into()))
    };
    (@set rate $field:expr, $value:ident, $name:expr) => {
        $field = Some(number($value, $name, "a number", "20", u32::MAX)?)
    };
}

switches! {
    drop_puback: share,
    delay_puback: time,
    reorder_acks: flag,
    duplicate_new_id: flag,
    reorder_messages: flag,
    subscribe_lag: time,
    drop_suback: flag,
    no_pingresp: flag,
    server_initiated_disconnect: perhaps_time,
    kick_duplicate: perhaps_time,
    throttle: rate,
    throttle_closes_after: rate,
    half_open: flag,
    rst_mid_packet: share,
    close_before_connack: flag,
    connack_delay: time,
    expire_session: flag,
    cert_inactive: flag,
    cert_unknown_late_alert: flag,
    jitr: flag,
    policy_none: flag,
    policy_without_receive: flag,
    wrong_chain: flag,
    wrong_server_name: flag,
    tls12_only: flag,
    tls13_only: flag,
    legacy_v3_connack_to_v5: flag,
    outage: flag,
    slow: rate,
    unsolicited_reply: flag,
    refuse_bridge_level: flag,
    connack_on_refusal: flag,
    qos2_ignored: flag,
    subscription_options: flag,
    empty_client_id: flag,
    secure_mqtt_443: flag,
}

fn number(
    value: Option<&str>,
    name: &'static str,
    takes: &'static str,
    example: &'static str,
    max: u32,
) -> Result<u32, ScenarioError> {
    let number = value.and_then(|value| value.parse().ok()).filter(|number| *number <= max);
    number.ok_or(ScenarioError::Value { name, takes, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_switch_has_its_name() {
        for name in NAMES {
            let mut scenario = Scenario::default();
            let done = scenario.switch(name).or_else(|_| scenario.switch(&format!("{name}=7")));
            assert_eq!(done, Ok(()), "{name}");
            assert_ne!(scenario, Scenario::default(), "{name}");
            // What is said of it switches it, and `off` brings the usual back.
            let said = scenario.switched();
            let mut same = Scenario::default();
            assert!(same.switch(&said[0]).is_ok() && said.len() == 1, "{said:?}");
            assert_eq!(same, scenario, "{name}");
            assert_eq!(scenario.switch(&format!("{name}=off")), Ok(()));
            assert_eq!((scenario.switched(), scenario), (Vec::new(), Scenario::default()), "{name}");
        }
    }

    #[test]
    fn what_is_no_switch_is_said() {
        let mut scenario = Scenario::default();
        assert!(scenario.switch("outages").unwrap_err().to_string().contains("no scenario \"outages\""));
        for text in ["drop_puback", "drop_puback=1001", "drop_puback=x", "outage=1", "delay_puback=-1"] {
            assert!(scenario.switch(text).is_err(), "{text}");
        }
        assert_eq!(scenario, Scenario::default());
    }
}
