//! The least that a policy of AWS IoT must allow for a bridge (AIC-POL-01, AIC-POL-02).

use serde_json::{Value, json};

use crate::config::{Bridge, Mapping};

/// Characters of a policy document without white space, at most (AIC-POL-08).
pub const CHARACTERS_MAX: usize = 2048;

/// A policy document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDocument {
    /// JSON, for people.
    pub text: String,
    /// Its characters as AWS counts them: more than [`CHARACTERS_MAX`] are refused.
    pub characters: usize,
}

/// Who and where, as far as it stands in the document.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'a> {
    /// The account, 12 digits; `ACCOUNT` if it is not known.
    pub account: &'a str,
    /// The name of this computer, for a bridge without a ClientId of its own.
    pub host_name: &'a str,
}

/// The Region of the endpoint, `REGION` if its name does not say.
pub fn region(bridge: &Bridge) -> &str {
    let host = bridge.addresses.first().map(|address| address.host.as_str()).unwrap_or_default();
    let host = host.strip_suffix(".cn").unwrap_or(host);
    let region =
        host.strip_suffix(".amazonaws.com").and_then(|rest| rest.rsplit_once('.')).map(|(_, region)| region);
    region.unwrap_or("REGION")
}

/// `arn:aws:iot:REGION:ACCOUNT:`, for China `arn:aws-cn:…`.
pub fn arn(bridge: &Bridge, account: &str, resource: &str) -> String {
    let is_china = bridge.addresses.iter().any(|address| address.host.ends_with(".cn"));
    let partition = if is_china { "aws-cn" } else { "aws" };
    format!("arn:{partition}:iot:{}:{account}:{resource}", region(bridge))
}

/// The least policy with which everything works that the configuration says.
pub fn minimal(bridge: &Bridge, owner: Owner<'_>) -> PolicyDocument {
    let arns = |resources: Vec<String>| {
        resources.iter().map(|resource| arn(bridge, owner.account, resource)).collect::<Vec<_>>()
    };
    let topics =
        |mappings: &mut dyn Iterator<Item = &Mapping>| arns(covering(mappings.flat_map(topics_of).collect()));
    let clients = (1..=bridge.connections)
        .map(|number| format!("client/{}", bridge.client_id_of(number, owner.host_name)));
    let clients: Vec<_> = if bridge.connections > 4 {
        // A line for each would take all the room.
        let first = bridge.client_id_of(1, owner.host_name);
        vec![format!("client/{}*", first.strip_suffix('1').unwrap_or(&first))]
    } else {
        clients.collect()
    };
    let filters = bridge.incoming.iter().map(|mapping| format!("topicfilter/{}", mapping.remote_filter()));
    let retained = &mut bridge.outgoing.iter().filter(|mapping| mapping.retain == Some(true));
    let statements: Vec<Value> = [
        ("iot:Connect", arns(clients)),
        ("iot:Publish", topics(&mut bridge.outgoing.iter())),
        ("iot:RetainPublish", topics(retained)),
        ("iot:Subscribe", arns(covering(filters.collect()))),
        ("iot:Receive", topics(&mut bridge.incoming.iter())),
    ]
    .into_iter()
    .filter(|(_, resources)| !resources.is_empty())
    .map(|(action, resources)| json!({ "Effect": "Allow", "Action": action, "Resource": resources }))
    .collect();
    let document = json!({ "Version": "2012-10-17", "Statement": statements });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    PolicyDocument { characters: text.chars().filter(|c| !c.is_whitespace()).count(), text }
}

/// The topics of a mapping on the other side, with the wildcards of policies: `*` for what `+` and `#` match, which are
/// letters like others there.
fn topics_of(mapping: &Mapping) -> Vec<String> {
    let filter = mapping.remote_filter();
    let wild = |text: &str| format!("topic/{}", text.replace(['+', '#'], "*"));
    let mut topics = vec![wild(&filter)];
    // `a/#` matches `a` too.
    if let Some(parent) = mapping.filter.strip_suffix("/#") {
        topics.push(wild(&(mapping.remote_beginning() + parent)));
    }
    topics
}

/// Without those that another one with `*` at its end covers.
fn covering(mut resources: Vec<String>) -> Vec<String> {
    resources.sort();
    resources.dedup();
    let all = resources.clone();
    resources.retain(|one| {
        let covers = |other: &&String| {
            *other != one && other.strip_suffix('*').is_some_and(|begin| one.starts_with(begin))
        };
        !one.starts_with("topic/") || !all.iter().any(|other| covers(&other))
    });
    resources
}

#[cfg(test)]
mod tests {
    use culex_codec::QoS;

    use super::*;
    use crate::config::RemoteAddress;

    fn mapping(filter: &str, remote_prefix: &str) -> Mapping {
        Mapping {
            filter: filter.to_owned(),
            remote_prefix: Some(remote_prefix.to_owned()),
            qos: QoS::AtLeastOnce,
            ..Mapping::default()
        }
    }

    fn bridge(host: &str) -> Bridge {
        Bridge {
            name: "aws".to_owned(),
            addresses: vec![RemoteAddress { host: host.to_owned(), port: None }],
            client_id: Some("shed".to_owned()),
            outgoing: vec![mapping("#", "dt/"), mapping("a/+/b", "dt/"), mapping("x/#", "y/")],
            incoming: vec![mapping("cmd/+", "")],
            ..Bridge::default()
        }
    }

    const OWNER: Owner<'static> = Owner { account: "123456789012", host_name: "host" };

    fn resources(document: &PolicyDocument, action: &str) -> Vec<String> {
        let value: Value = serde_json::from_str(&document.text).unwrap();
        let statements = value["Statement"].as_array().unwrap();
        let found = statements.iter().filter(|statement| statement["Action"] == action);
        found
            .flat_map(|statement| statement["Resource"].as_array().unwrap())
            .map(|arn| arn.as_str().unwrap().rsplit_once(':').unwrap().1.to_owned())
            .collect()
    }

    #[test]
    fn a_policy_allows_what_the_mappings_need() {
        let document = minimal(&bridge("a-ats.iot.eu-central-1.amazonaws.com"), OWNER);
        assert!(
            document.text.contains("arn:aws:iot:eu-central-1:123456789012:client/shed"),
            "{}",
            document.text
        );
        assert_eq!(resources(&document, "iot:Connect"), ["client/shed"]);
        assert_eq!(resources(&document, "iot:Publish"), ["topic/dt/*", "topic/y/x", "topic/y/x/*"]);
        assert_eq!(resources(&document, "iot:Subscribe"), ["topicfilter/cmd/+"]);
        assert_eq!(resources(&document, "iot:Receive"), ["topic/cmd/*"]);
        assert_eq!(resources(&document, "iot:RetainPublish"), [""; 0]);
        assert!(document.characters < CHARACTERS_MAX);
    }

    #[test]
    fn retained_messages_rules_and_several_connections_are_in_it() {
        let mut bridge = bridge("a-ats.iot.cn-north-1.amazonaws.com.cn");
        bridge.outgoing = vec![mapping("#", "dt/")];
        bridge.outgoing[0].retain = Some(true);
        bridge.outgoing[0].basic_ingest = Some("rule".to_owned());
        bridge.connections = 2;
        let document = minimal(&bridge, OWNER);
        assert!(document.text.contains("arn:aws-cn:iot:cn-north-1:123456789012:"), "{}", document.text);
        assert_eq!(resources(&document, "iot:Connect"), ["client/shed-1", "client/shed-2"]);
        assert_eq!(resources(&document, "iot:RetainPublish"), ["topic/$aws/rules/rule/dt/*"]);
        bridge.connections = 12;
        assert_eq!(resources(&minimal(&bridge, OWNER), "iot:Connect"), ["client/shed-*"]);
    }

    #[test]
    fn the_characters_are_counted_as_aws_does() {
        let mut bridge = bridge("a-ats.iot.eu-central-1.amazonaws.com");
        bridge.incoming = (0..40).map(|n| mapping(&format!("commands/{n}/now"), "site/")).collect();
        assert!(minimal(&bridge, OWNER).characters > CHARACTERS_MAX);
    }
}
