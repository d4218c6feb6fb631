//! The hash of a password, in the forms that a password file has.
//!
//! | form | is | made by |
//! | --- | --- | --- |
//! | `$6$salt$hash` | SHA-512 over password and salt, once | mosquitto_passwd up to 1.6, `-H sha512` |
//! | `$7$rounds$salt$hash` | PBKDF2 with HMAC-SHA-512 | mosquitto_passwd from 2.0; `culex passwd --compat` |
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | Argon2id (RFC 9106) | `culex passwd` |
//!
//! Salt and hash are base64.

use std::fmt;
use std::io;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::config::Complaint;

/// How a password is hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// `$6$`: fast, so also fast to guess.
    Sha512,
    /// `$7$` with so many rounds, at most 2,147,483,647 as in mosquitto.
    Pbkdf2(NonZeroU32),
    /// `$argon2id$` with 19 MiB and 2 passes, OWASP's first choice; some 30 ms.
    Argon2id,
}

/// What a password is compared with. Its `Debug` shows no part of it.
pub(crate) struct Hash {
    function: Function,
    salt: Box<[u8]>,
    digest: Box<[u8]>,
}

enum Function {
    Sha512,
    Pbkdf2(NonZeroU32),
    Argon2id(Version, Params),
}

/// Argon2 needs its memory at once, and there was none.
#[derive(Debug, thiserror::Error)]
#[error("no memory to hash a password ({0})")]
pub(crate) struct CannotHash(argon2::Error);

/// mosquitto reads the number of rounds into an `int`.
pub(crate) const ROUNDS_MAX: u32 = i32::MAX as u32;
/// mosquitto_passwd makes 12 bytes up to 2.0 and 64 from 2.1.
const SALT_BYTES_MAX: usize = 64;
const SALT_BYTES: usize = 16;
/// What `$6$` and `$7$` of mosquitto 2.0 can hold.
const MOSQUITTO_SALT_BYTES: usize = 12;
const SHA512_BYTES: usize = 64;
const ARGON2_BYTES: usize = 32;
/// A record that needs more than 1 GiB, 100 passes or 64 lanes is a slip; it would stop everybody's logins.
const ARGON2_MOST: (u32, u32, u32) = (1 << 20, 100, 64);

const BASE64: GeneralPurpose = engine(true);
/// The PHC string format writes no `=`.
const BASE64_PHC: GeneralPurpose = engine(false);

const fn engine(is_padded: bool) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_encode_padding(is_padded)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, config)
}

impl Hash {
    /// Reads one of the forms.
    ///
    /// # Errors
    /// What is wrong with it, without any part of it: it may be a password.
    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let mut parts = text.split('$');
        let form = (parts.next(), parts.next());
        let fields: Vec<_> = parts.collect();
        match (form, fields.as_slice()) {
            ((Some(""), Some("6")), [salt, digest]) => {
                Self::of(Function::Sha512, salt, digest, SHA512_BYTES..=SHA512_BYTES)
            }
            ((Some(""), Some("7")), [rounds, salt, digest]) => {
                let rounds = number(rounds).filter(|rounds| *rounds <= ROUNDS_MAX).and_then(NonZeroU32::new);
                let rounds = rounds.ok_or_else(|| {
                    broken(&format!("the rounds of $7$ are not a number from 1 to {ROUNDS_MAX}"))
                })?;
                Self::of(Function::Pbkdf2(rounds), salt, digest, SHA512_BYTES..=SHA512_BYTES)
            }
            ((Some(""), Some("argon2id")), [version, costs, salt, digest]) => {
                let version = match *version {
                    "v=19" => Version::V0x13,
                    "v=16" => Version::V0x10,
                    _ => return Err(broken("$argon2id$ has version v=19 or v=16")),
                };
                let hash = Self::of(Function::Argon2id(version, params(costs)?), salt, digest, 16..=64)?;
                if hash.salt.len() < argon2::MIN_SALT_LEN {
                    return Err(broken("the salt of $argon2id$ is shorter than 8 bytes"));
                }
                Ok(hash)
            }
            ((Some(""), Some("6" | "7" | "argon2id")), _) => {
                Err(broken("the hash has too few or too many parts between `$`"))
            }
            ((Some(""), Some(_)), _) => Err(Complaint::new("this form of hash is not known")
                .help("$6$, $7$ and $argon2id$ are; `culex passwd FILE USER` sets a new password")),
            ((..), _) => Err(Complaint::new("the password is not hashed").help(
                "`culex passwd -U FILE` hashes all plain passwords of the file, `culex passwd FILE USER` sets a new one",
            )),
        }
    }

    fn of(
        function: Function,
        salt: &str,
        digest: &str,
        digest_bytes: std::ops::RangeInclusive<usize>,
    ) -> Result<Self, Complaint> {
        let decode = |text: &str| BASE64.decode(text).map(Vec::into_boxed_slice).ok();
        let salt = decode(salt).filter(|salt| (1..=SALT_BYTES_MAX).contains(&salt.len()));
        let digest = decode(digest).filter(|digest| digest_bytes.contains(&digest.len()));
        Ok(Self {
            function,
            salt: salt.ok_or_else(|| broken("the salt is not base64 of 1 to 64 bytes"))?,
            digest: digest.ok_or_else(|| {
                let (least, most) = (digest_bytes.start(), digest_bytes.end());
                broken(&if least == most {
                    format!("the hash is not base64 of {least} bytes")
                } else {
                    format!("the hash is not base64 of {least} to {most} bytes")
                })
            })?,
        })
    }

    /// Hashes a password, with a new salt.
    ///
    /// # Errors
    /// If there is no memory, or the system has no random numbers; if `$7$` cannot hold this password.
    pub(crate) fn create(method: Method, password: &[u8]) -> io::Result<Self> {
        let (function, salt_bytes, digest_bytes) = match method {
            Method::Sha512 => (Function::Sha512, MOSQUITTO_SALT_BYTES, SHA512_BYTES),
            Method::Pbkdf2(rounds) => (Function::Pbkdf2(rounds), MOSQUITTO_SALT_BYTES, SHA512_BYTES),
            Method::Argon2id => {
                (Function::Argon2id(Version::V0x13, Params::DEFAULT), SALT_BYTES, ARGON2_BYTES)
            }
        };
        let mut salt = vec![0; salt_bytes];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        let mut hash = Self { function, salt: salt.into(), digest: vec![0; digest_bytes].into_boxed_slice() };
        if !hash.can_be(password) {
            return Err(io::Error::other("a $7$ hash cannot hold a password that ends with a NUL byte"));
        }
        hash.digest = hash.digest_of(password).map_err(io::Error::other)?;
        Ok(hash)
    }

    /// Whether this is the password. Takes as long for a wrong one as for the right one.
    ///
    /// # Errors
    /// If there is no memory.
    pub(crate) fn matches(&self, password: &[u8]) -> Result<bool, CannotHash> {
        let is_equal: bool = self.digest_of(password)?.ct_eq(&self.digest).into();
        Ok(is_equal && self.can_be(password))
    }

    /// HMAC fills a short key with zeros, so PBKDF2 cannot tell `secret` from `secret\0`. A `$7$` is never of a password
    /// that ends so: mosquitto_passwd takes C strings, and [`Hash::create`] refuses it.
    fn can_be(&self, password: &[u8]) -> bool {
        match self.function {
            Function::Pbkdf2(_) => !password.ends_with(b"\0"),
            Function::Sha512 | Function::Argon2id(..) => true,
        }
    }

    /// What two records have in common if a password of one is a password of the other.
    pub(crate) fn digest(&self) -> &[u8] {
        &self.digest
    }

    fn digest_of(&self, password: &[u8]) -> Result<Box<[u8]>, CannotHash> {
        let mut digest = vec![0; self.digest.len()].into_boxed_slice();
        match &self.function {
            Function::Sha512 => {
                let hashed = Sha512::new().chain_update(password).chain_update(&self.salt).finalize();
                digest.iter_mut().zip(hashed).for_each(|(to, from)| *to = from);
            }
            Function::Pbkdf2(rounds) => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, &self.salt, rounds.get(), &mut digest);
            }
            Function::Argon2id(version, params) => {
                Argon2::new(Algorithm::Argon2id, *version, params.clone())
                    .hash_password_into(password, &self.salt, &mut digest)
                    .map_err(CannotHash)?;
            }
        }
        Ok(digest)
    }
}

/// As the file has it.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let engine = match &self.function {
            Function::Sha512 => {
                f.write_str("$6$")?;
                BASE64
            }
            Function::Pbkdf2(rounds) => {
                write!(f, "$7${rounds}$")?;
                BASE64
            }
            Function::Argon2id(version, params) => {
                let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
                write!(f, "$argon2id$v={}$m={m},t={t},p={p}$", u32::from(*version))?;
                BASE64_PHC
            }
        };
        write!(f, "{}${}", engine.encode(&self.salt), engine.encode(&self.digest))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash(…)")
    }
}

/// `m=19456,t=2,p=1`
fn params(text: &str) -> Result<Params, Complaint> {
    let mut fields = text.split(',');
    let mut field = |name: &str| fields.next()?.strip_prefix(name).and_then(number);
    let costs = (field("m="), field("t="), field("p="));
    let (Some(m), Some(t), Some(p), None) = (costs.0, costs.1, costs.2, fields.next()) else {
        return Err(broken("the costs of $argon2id$ are not written m=NUMBER,t=NUMBER,p=NUMBER"));
    };
    let (m_most, t_most, p_most) = ARGON2_MOST;
    if m > m_most || t > t_most || p > p_most {
        return Err(broken(&format!(
            "the costs of $argon2id$ are above m={m_most} (1 GiB), t={t_most} or p={p_most}"
        )));
    }
    Params::new(m, t, p, None).map_err(|_| broken("the costs of $argon2id$ are too small"))
}

/// Digits alone: no sign, no space.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

fn broken(message: &str) -> Complaint {
    Complaint::new(message).help("`culex passwd FILE USER` sets a new password for this user")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by mosquitto_passwd 2.0.11.
    const SHA512: &str = "$6$55phkS+vF7lrgC4k$nZWmEL+e4Mj9aeaVJIYpOF33rdh/JJmg51w6Tg1TEzGuaJPVSEMFvNvwTYtg90mHWvrCvz37yu3hYiqmeiX2vg==";
    const PBKDF2: &str = "$7$101$1Ik08JRnI3bz8/jl$XHQ0LHk/2GZNq+FOBgRE5TkvmGBWlRXmY+M6LKglcWXnHekBoC+shOVruRkpBRQmticC2Fm78oR6Ksin4CmcgA==";
    /// A vector of the reference implementation (argon2 20190702, test.c): 64 MiB, 2 passes, `password`, `somesalt`.
    const ARGON2: &str =
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

    fn complaint(text: &str) -> String {
        Hash::parse(text).unwrap_err().message
    }

    #[test]
    fn hashes_of_others_are_read_and_written_as_they_are() {
        for (text, password) in [(SHA512, "alicepw"), (PBKDF2, "alicepw"), (ARGON2, "password")] {
            let hash = Hash::parse(text).unwrap();
            assert_eq!(hash.to_string(), text);
            assert!(hash.matches(password.as_bytes()).unwrap(), "{text}");
            for wrong in ["", "Alicepw", "alicep", "alicepw ", "passwor"] {
                assert!(!hash.matches(wrong.as_bytes()).unwrap(), "{text} {wrong:?}");
            }
        }
    }

    #[test]
    fn passwords_are_bytes_with_a_length_and_not_c_strings() {
        let rounds = NonZeroU32::new(7).unwrap();
        for method in [Method::Sha512, Method::Pbkdf2(rounds), Method::Argon2id] {
            let hash = Hash::create(method, b"alicepw").unwrap();
            assert!(hash.matches(b"alicepw").unwrap());
            for wrong in [&b"alicepw\0x"[..], b"alicepw\0", b"\0alicepw", b"", b"\0"] {
                assert!(!hash.matches(wrong).unwrap(), "{method:?} {wrong:?}");
            }
            assert_eq!(Hash::create(method, b"alicepw\0").is_err(), matches!(method, Method::Pbkdf2(_)));
            let hash = Hash::create(method, b"a\0\xff").unwrap();
            assert!(hash.matches(b"a\0\xff").unwrap() && !hash.matches(b"a").unwrap());
            let again = Hash::parse(&hash.to_string()).unwrap();
            assert!(again.matches(b"a\0\xff").unwrap());
            assert_ne!(
                Hash::create(method, b"a").unwrap().to_string(),
                Hash::create(method, b"a").unwrap().to_string()
            );
        }
    }

    #[test]
    fn salts_of_12_and_64_bytes_and_any_rounds() {
        for (salt, rounds) in [(12, 1), (64, 1), (64, 1000), (12, 2_147_483_647_u32)] {
            let text = format!("$7${rounds}${}${}", BASE64.encode(vec![1; salt]), BASE64.encode([2; 64]));
            assert_eq!(Hash::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let digest = BASE64.encode([2; 64]);
        for (text, expected) in [
            ("", "not hashed"),
            ("secret", "not hashed"),
            ("$", "not known"),
            ("$5$a$b", "not known"),
            ("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AA", "not known"),
            ("$6$", "too few"),
            ("$6$YWJj", "too few"),
            (&format!("$6$YWJj${digest}$"), "too many"),
            (&format!("$6$${digest}"), "the salt"),
            (&format!("$6$!!!!${digest}"), "the salt"),
            (&format!("$6${}${digest}", BASE64.encode([1; 65])), "the salt"),
            ("$6$YWJj$YWJj", "base64 of 64 bytes"),
            (&format!("$7$0$YWJj${digest}"), "rounds"),
            (&format!("$7$-1$YWJj${digest}"), "rounds"),
            (&format!("$7$+1$YWJj${digest}"), "rounds"),
            (&format!("$7$2147483648$YWJj${digest}"), "rounds"),
            ("$argon2id$v=18$m=8,t=1,p=1$c29tZXNhbHQ$AA", "version"),
            ("$argon2id$v=19$m=8,t=1$c29tZXNhbHQ$AA", "written m=NUMBER"),
            ("$argon2id$v=19$m=8,t=1,p=1,x=1$c29tZXNhbHQ$AA", "written m=NUMBER"),
            ("$argon2id$v=19$m=1048577,t=1,p=1$c29tZXNhbHQ$AA", "above"),
            ("$argon2id$v=19$m=1,t=1,p=1$c29tZXNhbHQ$AA", "too small"),
            (&format!("$argon2id$v=19$m=8,t=1,p=1$YQ${digest}"), "shorter than 8"),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AA", "16 to 64 bytes"),
        ] {
            assert!(complaint(text).contains(expected), "{text}: {}", complaint(text));
        }
    }

    #[test]
    fn debug_output_has_no_hash() {
        assert_eq!(format!("{:?}", Hash::parse(SHA512).unwrap()), "Hash(…)");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(\\$(6|7|argon2id)|)(\\$[a-zA-Z0-9=,+/]{0,40}){0,5}", other in ".*") {
            for text in [text, other] {
                if let Ok(hash) = Hash::parse(&text) {
                    let written = hash.to_string();
                    prop_assert_eq!(Hash::parse(&written).unwrap().to_string(), written);
                }
            }
        }
    }
}
