//! The files that a bridge names.

use super::{Cause, Diagnosis, Finding, Stage, Step};
use crate::config::ConfigError;
use crate::tls::probe::{self, Facts};

/// A certificate that ends sooner is worth a note.
const SOON_DAYS: i64 = 30;

/// Our certificate.
#[derive(Debug)]
pub(super) enum Own {
    /// There is none.
    None,
    Fine,
    /// Its time is not now, by this clock. Whether the clock is right, the server's certificate tells.
    OutOfTime(Box<Facts>),
}

impl Diagnosis<'_> {
    pub(super) fn files(&mut self) -> Step<Own> {
        if !self.bridge.has_tls() {
            self.skipped(Stage::Files, "this bridge has no TLS");
            return Ok(Own::None);
        }
        let tls = self.bridge.tls.clone().unwrap_or_default();
        let mut said = Vec::new();
        let mut own = Own::None;
        if let Some(files) = tls.certificate.as_deref().zip(tls.key.as_deref()) {
            let (facts, is_its_key) = self.read(probe::identity(files, tls.key_permissions, self.now()))?;
            self.check_own(&facts, is_its_key)?;
            self.certificate = Some(facts.id.clone());
            said.push(format!(
                "certificate of {}, {} to {}, and its key",
                facts.subject, facts.begins, facts.ends
            ));
            if facts.is_early || facts.is_over {
                own = Own::OutOfTime(Box::new(facts));
            } else {
                own = Own::Fine;
                if facts.days_left < SOON_DAYS {
                    self.note(
                        Stage::Files,
                        format!("the certificate ends in {} days: renew it", facts.days_left),
                    );
                }
            }
        }
        said.push(match tls.ca_file.as_deref() {
            Some(path) => self.authorities(path)?,
            None if self.is_aws() => "the built-in CAs of Amazon".to_owned(),
            None => "the built-in public CAs".to_owned(),
        });
        self.good(Stage::Files, said.join("; "));
        Ok(own)
    }

    fn check_own(&mut self, facts: &Facts, is_its_key: bool) -> Step {
        let certificate =
            self.bridge.tls.as_ref().and_then(|tls| tls.certificate.clone()).unwrap_or_default();
        let file = certificate.display();
        if facts.is_ca {
            let why =
                format!("{file} is the certificate of a CA, {}, and not that of this bridge", facts.subject);
            let mend =
                "are `certificate` and `ca_file` exchanged? `certificate` is the one that belongs to `key`";
            return self.stop(
                Stage::Files,
                "the certificate is that of a CA",
                Finding::new(Cause::Certificate, why, mend),
            );
        }
        if !is_its_key {
            let why = format!("the key is not that of the certificate of {} in {file}", facts.subject);
            let mend = "take the two files that were made together";
            let finding = Finding::new(Cause::Key, why, mend).proof(format!(
                "openssl x509 -in {file} -noout -pubkey; openssl pkey -in {} -pubout",
                self.bridge.tls.as_ref().and_then(|tls| tls.key.clone()).unwrap_or_default().display()
            ));
            return self.stop(Stage::Files, "certificate and key do not belong together", finding);
        }
        if facts.has_sha1_signature && self.is_aws() {
            // AIC-TLS-06
            let why = format!("{file} is signed with SHA-1, which AWS IoT does not take");
            let finding = Finding::new(
                Cause::Certificate,
                why,
                "make a new one: `aws iot create-keys-and-certificate --set-as-active`",
            );
            return self.stop(Stage::Files, "the certificate is signed with SHA-1", finding);
        }
        Ok(())
    }

    fn authorities(&mut self, path: &std::path::Path) -> Step<String> {
        let found = self.read(probe::authorities(path, self.now()))?;
        if !found.iter().any(|facts| facts.is_ca) {
            let first = found.first().map(|facts| facts.subject.clone()).unwrap_or_default();
            let why = format!("{} has no CA: it is the certificate of {first}", path.display());
            let mend = "are `ca_file` and `certificate` exchanged? Without `ca_file` the built-in CAs are taken, which are right \
                        for AWS IoT";
            return self.stop(Stage::Files, "the CA file has no CA", Finding::new(Cause::Ca, why, mend));
        }
        let mut names: Vec<_> = found.into_iter().map(|facts| facts.subject).take(4).collect();
        if names.len() == 4 {
            names.pop();
            names.push("…".to_owned());
        }
        Ok(format!("CA: {}", names.join(", ")))
    }

    /// What a file says, or what is wrong with it.
    fn read<T>(&mut self, read: Result<T, ConfigError>) -> Step<T> {
        match read {
            Ok(found) => Ok(found),
            Err(error) => {
                let problem = error.problems().first().cloned();
                let (why, mend) = match problem {
                    Some(problem) => (format!("{}: {}", problem.place, problem.message), problem.help),
                    None => (error.to_string(), None),
                };
                let mend = mend.unwrap_or_else(|| "correct the path, or the file".to_owned());
                self.stop(Stage::Files, "a file cannot be used", Finding::new(Cause::File, why, mend))
            }
        }
    }
}
