//! What to type on the clients' side, ready to copy.

use std::net::IpAddr;
use std::path::Path;

use super::{CA, Made, Wanted};

/// The client side of a broker that was just set up: mosquitto's programs, paho for Python, and PubSubClient for Arduino
/// where a device can reach it.
pub fn text(wanted: &Wanted, made: &Made) -> String {
    let parts = Parts {
        host: made.address,
        port: wanted.port,
        user: &wanted.user,
        password: &made.password,
        ca: made.authority.as_deref().map(|pem| (wanted.folder.join(CA).display().to_string(), pem)),
    };
    let devices = if wanted.is_lan {
        format!("# Arduino with PubSubClient, on an ESP8266 or ESP32\n{}", arduino(&parts))
    } else {
        "# Only this computer can connect; for devices there is `culex init --lan`\n".to_owned()
    };
    format!(
        "User {user}, password {password} (only its hash is kept: note it now)\n\n\
         # mosquitto\n{mosquitto}\n\
         # Python: pip install paho-mqtt\n{paho}\n{devices}",
        user = wanted.user,
        password = made.password,
        mosquitto = mosquitto(&parts),
        paho = paho(&parts),
    )
}

struct Parts<'a> {
    host: IpAddr,
    port: u16,
    user: &'a str,
    password: &'a str,
    /// Path and text of the authority's certificate.
    ca: Option<(String, &'a str)>,
}

fn mosquitto(parts: &Parts<'_>) -> String {
    let Parts { host, port, user, password, ca } = parts;
    let ca = ca.as_ref().map_or(String::new(), |(path, _)| format!(" --cafile {}", for_shell(path)));
    let login = format!("-h {host} -p {port}{ca} -u {} -P {password}", for_shell(user));
    format!(
        "mosquitto_sub {login} -t 'hello/#' -v\n\
         mosquitto_pub {login} -q 1 -t hello/world -m hi\n"
    )
}

fn paho(parts: &Parts<'_>) -> String {
    let Parts { host, port, user, password, ca } = parts;
    // Python and Rust write text alike, but for characters that are in no name or path that anybody has.
    let tls = ca.as_ref().map_or(String::new(), |(path, _)| format!(",\n    tls={{\"ca_certs\": {path:?}}}"));
    format!(
        "import paho.mqtt.publish as publish\n\
         publish.single(\"hello/world\", \"hi\", qos=1, hostname=\"{host}\", port={port},\n    \
         auth={{\"username\": {user:?}, \"password\": \"{password}\"}}{tls})\n"
    )
}

fn arduino(parts: &Parts<'_>) -> String {
    let Parts { host, port, user, password, ca } = parts;
    let (include, net, trust) = match ca {
        None => ("#include <WiFiClient.h>", "WiFiClient net;".to_owned(), ""),
        Some((_, pem)) => (
            "#include <WiFiClientSecure.h>\n#include <time.h>",
            format!(
                "const char CA[] PROGMEM = R\"PEM(\n{pem})PEM\";\n\
                 #ifdef ESP8266\nBearSSL::X509List trusted(CA);\n#endif\n\
                 WiFiClientSecure net;"
            ),
            "  // Certificates have a time: wait for the clock.\n  \
               configTime(0, 0, \"pool.ntp.org\");\n  \
               while (time(nullptr) < 1700000000) delay(100);\n\
             #ifdef ESP8266\n  net.setTrustAnchors(&trusted);\n#else\n  net.setCACert(CA);\n#endif\n",
        ),
    };
    format!(
        "{include}\n#include <PubSubClient.h>\n{net}\nPubSubClient mqtt(net);\n\
         // In setup(), when WiFi is connected:\n{trust}  \
           mqtt.setServer(\"{host}\", {port});\n  \
           if (mqtt.connect(\"device-1\", {user:?}, \"{password}\")) mqtt.publish(\"hello/world\", \"hi\");\n\
         // In loop():\n  mqtt.loop();\n"
    )
}

/// A word of a shell's command line.
pub(crate) fn for_shell(word: impl AsRef<Path>) -> String {
    let word = word.as_ref().display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        for (word, expected) in [
            ("/etc/culex/ca.crt", "/etc/culex/ca.crt"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(for_shell(word), expected);
        }
    }
}
