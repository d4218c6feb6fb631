//! `docs/mosquitto.md`, written from the table of options.

use std::fmt::Write;

use super::options::{GROUPS, Meaning, OptionOf};

/// The page.
pub(in crate::config) fn page() -> String {
    let mut page = String::from(include_str!("page_head.md"));
    for (title, options) in GROUPS {
        // Writing to a String cannot fail.
        let _ = write!(page, "\n## {title}\n\n| option | in Culex |\n| --- | --- |\n");
        for option in options {
            let _ = writeln!(page, "| `{}` | {} |", option.name, fate(option));
        }
    }
    page
}

fn fate(option: &OptionOf) -> String {
    let doc = option.doc;
    match &option.meaning {
        Meaning::Text(_) | Meaning::Switch(_) | Meaning::Number(..) | Meaning::Words(_) => doc.to_owned(),
        Meaning::Ignored if option.name == "include_dir" => doc.to_owned(),
        Meaning::Ignored => format!("ignored: {doc}"),
        Meaning::Refused(help) => format!("**not supported**: {doc}. What to do: {help}"),
        Meaning::Only(words, help) => {
            let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
            format!(
                "{} alone, for {doc}. Otherwise **not supported**; what to do: {help}",
                words.join(" or ")
            )
        }
    }
}
