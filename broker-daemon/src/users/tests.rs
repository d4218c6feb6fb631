//! Password files, right and wrong, and what becomes of attempts.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::hash::{Hash, Method};
use super::*;
use crate::config::{Place, Problem};

const FAST: Method = Method::Sha512;

fn line(name: &str, password: &[u8]) -> String {
    format!("{name}:{}\n", Hash::create(FAST, password).unwrap())
}

/// ann and bob.
fn text() -> String {
    line("ann", b"annpw") + &line("bob", b"bobpw")
}

fn parse(text: &str) -> Result<PasswordFile, ConfigError> {
    PasswordFile::parse("users", text.as_bytes())
}

/// What is said about `text`, without the file's name, help after ` | `.
fn complaints(text: impl AsRef<[u8]>) -> Vec<String> {
    let Err(error) = PasswordFile::parse("users", text.as_ref()) else { return Vec::new() };
    let shown = error.problems().iter().map(|problem| problem.to_string().replace("\n  help: ", " | "));
    shown.map(|text| text.trim_start_matches("users:").to_owned()).collect()
}

fn users(text: &str) -> Users {
    Users::of(parse(text).unwrap()).unwrap()
}

fn forget_failures(users: &Users, name: &str) {
    let mut guard = users.guard();
    let guess = guard.guess(None, name);
    guard.succeeded(guess);
}

fn address(number: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, number]))
}

#[test]
fn comments_blank_lines_blanks_and_windows_line_ends_do_not_count() {
    let text = format!("# users\r\n\r\n \t\n#ann:x\n{} ", text().replace('\n', " \r\n").replace(':', " : "));
    assert_eq!(parse(&text).unwrap().count(), 2);
    assert!(complaints(text).is_empty());
}

#[test]
fn cve_2018_12550_a_file_that_is_missing_empty_or_unreadable_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    let error = || PasswordFile::read(&path).unwrap_err().to_string();
    assert!(error().contains("users: cannot read this password file: no such file"), "{}", error());
    assert!(error().contains("`culex passwd -c FILE USER` makes one"), "{}", error());
    for empty in ["", "\n", "# nobody\n", " \r\n\n"] {
        std::fs::write(&path, empty).unwrap();
        assert!(error().contains("has no user, so nobody could connect"), "{empty:?}: {}", error());
    }
    let of_folder = PasswordFile::read(folder.path()).unwrap_err().to_string();
    assert!(of_folder.contains("cannot read this password file"), "{of_folder}");
}

#[test]
fn cve_2018_12551_a_malformed_line_is_an_error_with_its_place_and_no_user_without_password() {
    let good = line("zoe", b"x");
    for (bad, expected) in [
        ("ann", "2:1: this line has no `:` between a user name and a hash"),
        ("ann:", "2:5: the password is not hashed"),
        ("ann:secret", "2:5: the password is not hashed"),
        ("ann:$6$", "2:5: the hash has too few"),
        ("ann :$6$YWJj$YWJj", "2:6: the hash is not base64 of 64 bytes"),
        ("ann:$1$abc$def", "2:5: this form of hash is not known"),
        (":$6$YWJj$YWJj", "2:1: a user name cannot be empty"),
        ("an\u{1}n:x", "2:1: a user name cannot have control characters"),
        ("an\0n:x", "2:1: a user name cannot have control characters"),
    ] {
        let found = complaints(format!("{good}{bad}\n{}", line("bob", b"x")));
        assert_eq!(found.len(), 1, "{bad:?}: {found:?}");
        assert!(found[0].starts_with(expected), "{bad:?}: {found:?}");
        assert!(found[0].contains(" | ") || found[0].contains("user name"), "it says what to do: {found:?}");
        assert!(!found[0].contains("secret"), "it does not show a password");
    }
    let found = complaints([&b"# \xc3\xa4\nan\xffn:x\n"[..], good.as_bytes()].concat());
    assert_eq!(found, ["2:1: this line is not UTF-8 text"]);
}

#[test]
fn all_mistakes_are_named_but_not_thousands() {
    let found = complaints("a\nb\nc:d\n");
    assert_eq!(found.len(), 3);
    let found = complaints("a\n".repeat(5000));
    assert_eq!((found.len(), found[0].as_str()), (21, " 5000 lines are wrong; the first of them follow"));
}

#[test]
fn a_user_has_one_line() {
    let text = text() + "ann:$6$a$b\n";
    assert_eq!(complaints(text), ["3:1: line 1 has this user already | remove one of the two"]);
}

#[test]
fn a_file_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, text()).unwrap();
    for (mode, is_told) in [(0o600, false), (0o640, false), (0o644, true)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let file = PasswordFile::read(&path).unwrap();
        assert_eq!(file.warning().is_some_and(|warning| warning.contains("`chmod o= ")), is_told, "{mode:o}");
    }
}

#[test]
fn names_that_the_file_cannot_hold_are_refused() {
    for name in ["", "a:b", "a\nb", "a\0", "\u{7f}", "\u{85}", "#a", " a", "a ", &"a".repeat(65_536)] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    for name in ["a", "ä ö", "a#", "$SYS/x", &"a".repeat(65_535)] {
        assert!(check_name(name).is_ok(), "{name:?}");
    }
}

#[tokio::test]
async fn the_right_password_of_the_right_user_is_accepted_and_nothing_else() {
    let users = users(&text());
    for (name, password, expected) in [
        ("ann", &b"annpw"[..], true),
        ("bob", b"bobpw", true),
        ("ann", b"bobpw", false),
        ("ann", b"annpw\0x", false),
        ("ann", b"annp", false),
        ("ann", b"", false),
        ("Ann", b"annpw", false),
        ("ann ", b"annpw", false),
        ("", b"annpw", false),
        ("", b"", false),
        ("# users", b"", false),
    ] {
        // Twice: hashed and remembered. Each from an address of its own, so that nobody waits.
        for round in 0..2 {
            let decision = users.check(None, name, password).await;
            assert_eq!(decision, Decision::from(expected), "{name:?} {password:?} {round}");
            forget_failures(&users, name);
        }
    }
}

#[test]
fn user_enumeration_by_time_an_unknown_name_costs_the_hash_of_somebody() {
    let table = Table::new(parse(&text()).unwrap(), [7; 32]);
    let mut stand_ins = [0; 2];
    for number in 0..200 {
        let name = format!("nobody{number}");
        let place = table.place(&name);
        assert_eq!(place, table.place(&name), "the same for each attempt");
        let index = usize::from(place == table::Place { index: 1, exists: false });
        assert_eq!(place, table::Place { index, exists: false });
        stand_ins[index] += 1;
        // The password of who stands in does not help, nor is it remembered.
        for password in [b"annpw", b"bobpw"] {
            assert_eq!(table.recall(place, password), None);
            assert!(!table.verify(place, password).unwrap());
        }
    }
    assert!(stand_ins.iter().all(|count| *count > 20), "both stand in: {stand_ins:?}");
    assert_eq!(table.recall(table.place("ann"), b"annpw"), None);
}

#[test]
fn what_proved_right_is_remembered_for_this_user_and_password() {
    let table = Table::new(parse(&text()).unwrap(), [7; 32]);
    let ann = table.place("ann");
    assert!(!table.verify(ann, b"wrong").unwrap());
    assert_eq!(table.recall(ann, b"annpw"), None, "a failure proves nothing");
    assert!(table.verify(ann, b"annpw").unwrap());
    assert_eq!(table.recall(ann, b"annpw"), Some(true));
    assert_eq!(table.recall(ann, b"annpw\0"), Some(false));
    assert_eq!(table.recall(table.place("bob"), b"annpw"), None);
    assert_eq!(table.recall(table.place("nobody"), b"annpw"), None);
}

#[tokio::test]
async fn a_reload_is_everything_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users");
    std::fs::write(&path, text()).unwrap();
    let users = Users::open(&path).unwrap();
    let reload = || PasswordFile::read(&path).map(|file| users.replace(file));
    let handle = users.clone();
    assert_eq!(users.check(None, "ann", b"annpw").await, Decision::Accept);
    for wrong in ["", "ann\n", "eve:x\n"] {
        std::fs::write(&path, line("eve", b"evepw") + wrong + "x").unwrap();
        assert!(reload().is_err());
        assert_eq!(users.check(None, "ann", b"annpw").await, Decision::Accept, "the old users stay");
        assert_eq!(users.check(None, "eve", b"evepw").await, Decision::BadCredentials);
        forget_failures(&users, "eve");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(reload().is_err());
    std::fs::write(&path, line("ann", b"new") + &line("eve", b"evepw")).unwrap();
    reload().unwrap();
    assert_eq!(handle.count(), 2);
    for (name, password, expected) in [
        ("ann", &b"annpw"[..], false),
        ("ann", b"new", true),
        ("bob", b"bobpw", false),
        ("eve", b"evepw", true),
    ] {
        assert_eq!(handle.check(None, name, password).await, Decision::from(expected), "{name}");
    }
}

/// Virtual time: the clock goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn password_guessing_is_slowed_and_then_refused() {
    for is_proved in [false, true] {
        let users = users(&text());
        if is_proved {
            assert_eq!(users.check(address(9), "ann", b"annpw").await, Decision::Accept);
        }
        for name in ["ann", "nobody"] {
            let start = Instant::now();
            let mut seen = Vec::new();
            for _ in 0..7 {
                let decision = users.check(address(1), name, b"guess").await;
                seen.push((decision, start.elapsed().as_millis()));
            }
            let refused = Decision::BadCredentials;
            let expected =
                [(refused, 0), (refused, 0), (refused, 0), (refused, 500), (refused, 1500), (refused, 3500)];
            let late = (Decision::Unavailable, 3500);
            assert_eq!(seen, [&expected[..], &[late]].concat(), "{name} {is_proved}");
            // Who is meant is not served either, but only there.
            assert_eq!(users.check(address(1), name, b"annpw").await, Decision::Unavailable);
        }
        assert_eq!(users.check(address(2), "ann", b"annpw").await, Decision::Accept);
        assert_eq!(users.check(address(1), "bob", b"bobpw").await, Decision::Accept);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(users.check(address(1), "ann", b"annpw").await, Decision::Accept);
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_at_the_same_time_are_not_cheaper() {
    for is_proved in [false, true] {
        let users = users(&text());
        if is_proved {
            assert_eq!(users.check(None, "ann", b"annpw").await, Decision::Accept);
        }
        let mut guesses = tokio::task::JoinSet::new();
        for number in 0..200 {
            let users = users.clone();
            guesses.spawn(async move { users.check(None, "ann", format!("guess{number}").as_bytes()).await });
        }
        let decisions = guesses.join_all().await;
        let judged = decisions.iter().filter(|decision| **decision == Decision::BadCredentials).count();
        // Those that are hashed while the third failure is counted, one on each thread, come on top of the six.
        let threads = std::thread::available_parallelism().unwrap().get();
        assert!((6..=6 * threads).contains(&judged), "{judged} of 200 were judged, proved: {is_proved}");
    }
}

#[tokio::test]
async fn clients_that_come_at_once_with_one_password_hash_it_once() {
    let method = Method::Pbkdf2(NonZeroU32::new(1).unwrap());
    let users = users(&format!("ann:{}\n", Hash::create(method, b"annpw").unwrap()));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10_000 {
        let users = users.clone();
        clients.spawn(async move { users.check(address(1), "ann", b"annpw").await });
    }
    assert!(clients.join_all().await.iter().all(|decision| *decision == Decision::Accept));
}

#[test]
fn debug_output_has_no_secret() {
    let shown = format!("{:?} {:?}", users(&text()), parse(&text()).unwrap());
    assert!(!shown.contains("$6$"), "{shown}");
}

proptest! {
    #[test]
    fn no_file_panics_and_every_wrong_line_is_named(
        lines in prop::collection::vec(
            prop_oneof![Just(String::new()), Just("#x".into()), "[a-c]{0,2}:?(\\$6\\$|\\$7\\$1\\$)?[a-zA-Z0-9+/]{0,9}", ".{0,40}"],
            0..12,
        ),
        bytes in any::<Vec<u8>>(),
    ) {
        let _ = PasswordFile::parse("users", &bytes);
        let mut text = line("ann", b"x");
        for line in &lines {
            let _ = writeln!(text, "{}", line.replace('\n', ""));
        }
        let wrong = lines.iter().zip(2..).filter(|(line, _)| !(line.trim().is_empty() || line.starts_with('#')));
        let wrong: Vec<usize> = wrong.map(|(_, number)| number).collect();
        match parse(&text) {
            Ok(file) => prop_assert!(wrong.is_empty() && file.count() == 1, "{text}"),
            Err(error) => {
                let place = |problem: &Problem| match problem.place {
                    Place::Position { line, .. } => Some(line),
                    Place::File { .. } | Place::Environment { .. } | Place::CommandLine => None,
                };
                let places: Vec<_> = error.problems().iter().filter_map(place).collect();
                prop_assert_eq!(places, wrong, "{}", text);
            }
        }
    }
}
