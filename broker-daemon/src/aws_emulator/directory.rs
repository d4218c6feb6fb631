//! A folder with the certificates of an emulator, and the registry of those that it knows.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use toml::{Table, Value};

use super::listener::StartError;
use super::material::{Identity, Material};
use super::policy::Policy;
use super::registry::{Fingerprint, Registration, Registry, Status};

/// No file of this folder is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;
const ROOT: &str = "root-ca.crt";
const POLICY: &str = "policy.json";
const REGISTRY: &str = "registry.toml";

const POLICY_TEXT: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": "iot:Connect", "Resource": "arn:aws:iot:local-1:123456789012:client/*"},
    {"Effect": "Allow", "Action": ["iot:Publish", "iot:RetainPublish", "iot:Receive"], "Resource": "arn:aws:iot:local-1:123456789012:topic/*"},
    {"Effect": "Allow", "Action": "iot:Subscribe", "Resource": "arn:aws:iot:local-1:123456789012:topicfilter/*"}
  ]
}
"#;

const REGISTRY_TEXT: &str = r#"# The certificates that this emulator knows. It reads the file when it starts; a certificate may be signed by anybody.
#
#   file or fingerprint   the certificate in PEM, or its SHA-256 in hexadecimal
#   status                "ACTIVE", "INACTIVE", "REVOKED" or "PENDING_ACTIVATION"
#   thing                 the thing that it is attached to, for ${iot:Connection.Thing.ThingName}
#   policies              files with policy documents; without one nothing is allowed

[[certificate]]
file = "client.crt"
status = "ACTIVE"
thing = "bridge"
policies = ["policy.json"]
"#;

/// Opens the folder; makes it with everything in it if there is no registry.
pub(super) fn open(folder: &Path, policies_max: usize) -> Result<(Material, Registry), StartError> {
    let wrong = |what: &Path, why: String| StartError::Directory(format!("{}: {why}", what.display()));
    if !folder.join(REGISTRY).exists() {
        make(folder).map_err(|error| wrong(folder, error.to_string()))?;
    }
    let read = |name: &str| read(&folder.join(name));
    let identity = |name: &str| -> Result<_, StartError> {
        Ok(Identity { certificate: read(&format!("{name}.crt"))?, key: read(&format!("{name}.key"))? })
    };
    let material = Material {
        root: read(ROOT)?,
        server: identity("server")?,
        client: identity("client")?,
        wrong_name: identity("wrong-name")?,
        wrong_chain: identity("wrong-chain")?,
    };
    Ok((material, registry(folder, &read(REGISTRY)?, policies_max)?))
}

fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let material = Material::generate().map_err(io::Error::other)?;
    let identities = [
        ("server", &material.server),
        ("client", &material.client),
        ("wrong-name", &material.wrong_name),
        ("wrong-chain", &material.wrong_chain),
    ];
    let create = |name: &str, text: &str, mode: u32| {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(mode).open(folder.join(name))?;
        file.write_all(text.as_bytes())
    };
    let create = |name: &str, text: &str, mode: u32| {
        create(name, text, mode)
            .map_err(|error| io::Error::new(error.kind(), format!("cannot make {name}: {error}")))
    };
    for (name, identity) in identities {
        create(&format!("{name}.crt"), &identity.certificate, 0o644)?;
        create(&format!("{name}.key"), &identity.key, 0o600)?;
    }
    create(ROOT, &material.root, 0o644)?;
    create(POLICY, POLICY_TEXT, 0o644)?;
    // Last, as it tells that everything is there.
    create(REGISTRY, REGISTRY_TEXT, 0o644)
}

fn read(path: &Path) -> Result<String, StartError> {
    let wrong = |why: String| StartError::Directory(format!("{}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| wrong(crate::cli::human::io(&error)))?.len();
    if size > FILE_BYTES_MAX {
        return Err(wrong(format!("{size} bytes; no file of the emulator has more than {FILE_BYTES_MAX}")));
    }
    fs::read_to_string(path).map_err(|error| wrong(crate::cli::human::io(&error)))
}

fn registry(folder: &Path, text: &str, policies_max: usize) -> Result<Registry, StartError> {
    let path = folder.join(REGISTRY);
    let wrong = |why: String| StartError::Directory(format!("{}: {why}", path.display()));
    let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    let mut registry = Registry::default();
    for (key, value) in &table {
        let Some(certificates) = value.as_array().filter(|_| key == "certificate") else {
            return Err(wrong(format!("\"{key}\" is not known; there is `[[certificate]]`")));
        };
        for (number, certificate) in certificates.iter().enumerate() {
            let (fingerprint, registration) = registration(folder, certificate, policies_max)
                .map_err(|why| wrong(format!("[[certificate]] number {}: {why}", number + 1)))?;
            registry.register(fingerprint, registration);
        }
    }
    Ok(registry)
}

fn registration(
    folder: &Path,
    value: &Value,
    policies_max: usize,
) -> Result<(Fingerprint, Registration), String> {
    const KEYS: [&str; 5] = ["file", "fingerprint", "status", "thing", "policies"];
    let table = value.as_table().ok_or("it is not a table")?;
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(format!("\"{key}\" is not known; there are {}", KEYS.join(", ")));
    }
    let text = |key: &str| match table.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("\"{key}\" is a text")),
    };
    let fingerprint = match (text("file")?, text("fingerprint")?) {
        (Some(file), None) => of_file(&folder.join(file))?,
        (None, Some(hex)) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Fingerprint::named(&hex.to_ascii_lowercase())
        }
        (None, Some(_)) => return Err("a fingerprint is SHA-256: 64 hexadecimal digits".to_owned()),
        (Some(_), Some(_)) | (None, None) => return Err("it needs \"file\" or \"fingerprint\"".to_owned()),
    };
    let name = text("status")?.unwrap_or("ACTIVE");
    let status = Status::from_name(name).ok_or_else(|| {
        format!("status \"{name}\" is not one of ACTIVE, INACTIVE, REVOKED, PENDING_ACTIVATION")
    })?;
    let mut policies = Vec::new();
    let files = table.get("policies").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if files.len() > policies_max {
        return Err(format!(
            "{} policies; AWS attaches {policies_max} to a certificate (AIC-POL-08)",
            files.len()
        ));
    }
    for file in files {
        let file = file.as_str().ok_or("\"policies\" is a list of files")?;
        let document = read(&folder.join(file)).map_err(|error| error.to_string())?;
        policies.push(Policy::from_json(&document).map_err(|error| format!("{file}: {error}"))?);
    }
    Ok((fingerprint, Registration { status, thing: text("thing")?.map(str::to_owned), policies }))
}

fn of_file(path: &Path) -> Result<Fingerprint, String> {
    let text = read(path).map_err(|error| error.to_string())?;
    let der = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Fingerprint::of_der(&der))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_has_all_and_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("aws");
        let (first, registry) = open(&folder, 10).unwrap();
        let der = CertificateDer::from_pem_slice(first.client.certificate.as_bytes()).unwrap();
        let registration = registry.get(&Fingerprint::of_der(&der)).unwrap();
        assert_eq!((registration.status, registration.policies.len()), (Status::Active, 1));
        let (second, _) = open(&folder, 10).unwrap();
        assert_eq!(first.root, second.root);
    }

    #[test]
    fn what_is_wrong_with_a_registry_is_said_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 10).unwrap();
        let check = |text: &str, expected: &str| {
            fs::write(folder.path().join(REGISTRY), text).unwrap();
            let error = open(folder.path(), 10).unwrap_err().to_string();
            assert!(error.contains(REGISTRY) && error.contains(expected), "{error}");
        };
        check("[[certificate]]", "needs \"file\" or \"fingerprint\"");
        check("[[certificate]]\nfingerprint = \"12\"", "64 hexadecimal digits");
        check("[[certificate]]\nfile = \"client.crt\"\nstatus = \"GONE\"", "\"GONE\" is not one of ACTIVE");
        check("[[certificate]]\nfile = \"none.crt\"", "none.crt");
        check("[[certificate]]\nfile = \"client.crt\"\npolicies = [\"client.key\"]", "client.key: policy:");
        check("[[certificate]]\nfile = \"client.crt\"\nthings = 1", "\"things\" is not known");
        let eleven = ["\"policy.json\""; 11].join(", ");
        check(&format!("[[certificate]]\nfile = \"client.crt\"\npolicies = [{eleven}]"), "AIC-POL-08");
        check("[certificates]", "\"certificates\" is not known");
        check("x", "registry.toml");
    }
}
