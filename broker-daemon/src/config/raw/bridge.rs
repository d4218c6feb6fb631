//! `[[bridge]]` and the tables below it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::config::bridge::{DraftBridge, Places};
use crate::config::keys::{BRIDGE, BRIDGE_PACE, BRIDGE_QUEUE, BRIDGE_TLS, MAPPING};
use crate::config::problem::{Complaint, Place};
use crate::config::setting::Key;
use crate::config::{Bridge, Mapping};

impl Reader<'_> {
    pub(super) fn bridge(&mut self, table: &Spanned<DeValue<'_>>) -> DraftBridge {
        let mut draft = DraftBridge::new(Bridge::default(), self.source.place(&table.span()));
        let DeValue::Table(keys) = table.get_ref() else { return draft };
        for (key, value) in keys {
            let name = key.get_ref().as_ref();
            // What is wrong is reported once.
            if let Some(known) = BRIDGE.iter().find(|known| known.name == name) {
                draft.places.insert(known.name, self.source.place(&value.span()));
            }
            match (name, value.get_ref()) {
                ("tls", DeValue::Table(table)) => {
                    let mut tls = draft.bridge.tls.take().unwrap_or_default();
                    draft.places.insert("tls", self.source.place(&key.span()));
                    let places = [
                        ("certificate", "tls.certificate"),
                        ("key", "tls.key"),
                        ("alpn", "tls.alpn"),
                        ("insecure", "tls.insecure"),
                    ];
                    self.placed(BRIDGE_TLS, "[bridge.tls]", table, (&mut tls, &mut draft.places), &places);
                    draft.bridge.tls = Some(tls);
                }
                ("queue", DeValue::Table(table)) => {
                    self.section(BRIDGE_QUEUE, "[bridge.queue]", table, &mut draft.bridge.queue);
                }
                ("pace", DeValue::Table(table)) => {
                    self.section(BRIDGE_PACE, "[bridge.pace]", table, &mut draft.bridge.pace);
                }
                ("out" | "in", DeValue::Array(tables))
                    if tables.iter().all(|table| table.get_ref().is_table()) =>
                {
                    let is_out = name == "out";
                    for table in tables.iter() {
                        let (mapping, places) =
                            self.mapping(table, if is_out { "[[bridge.out]]" } else { "[[bridge.in]]" });
                        let DraftBridge { bridge, outgoing, incoming, .. } = &mut draft;
                        if is_out {
                            bridge.outgoing.push(mapping);
                            outgoing.push(places);
                        } else {
                            bridge.incoming.push(mapping);
                            incoming.push(places);
                        }
                    }
                }
                ("tls" | "queue" | "pace", _) => {
                    self.complain(
                        &key.span(),
                        Complaint::new(format!("`{name}` is written [bridge.{name}]")),
                    );
                }
                ("out" | "in", _) => {
                    self.complain(
                        &key.span(),
                        Complaint::new(format!("`{name}` is written [[bridge.{name}]]")),
                    );
                }
                _ => {
                    self.key(BRIDGE, "[[bridge]]", key, value, &mut draft.bridge);
                }
            }
        }
        draft
    }

    fn mapping(&mut self, table: &Spanned<DeValue<'_>>, written: &str) -> (Mapping, (Place, Places)) {
        let (mut mapping, mut places) = (Mapping::default(), Places::new());
        if let DeValue::Table(keys) = table.get_ref() {
            let names = MAPPING.iter().map(|key| (key.name, key.name)).collect::<Vec<_>>();
            self.placed(MAPPING, written, keys, (&mut mapping, &mut places), &names);
        }
        (mapping, (self.source.place(&table.span()), places))
    }

    /// A section, and where those of its keys stand that may be wrong together with others: each with the name that its
    /// place has.
    fn placed<T>(
        &mut self,
        keys: &[Key<T>],
        written: &str,
        table: &DeTable<'_>,
        (target, places): (&mut T, &mut Places),
        names: &[(&'static str, &'static str)],
    ) {
        for (key, value) in table {
            let found = names.iter().find(|(name, _)| *name == key.get_ref().as_ref());
            if let Some((_, name)) = found {
                places.insert(name, self.source.place(&value.span()));
            }
            self.key(keys, written, key, value, target);
        }
    }
}
