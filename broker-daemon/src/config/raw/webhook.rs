//! `[[webhook]]` and the tables below it.

use culex_core::client::Secret;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::config::Webhook;
use crate::config::bridge::Places;
use crate::config::keys::{BRIDGE_QUEUE, WEBHOOK, WEBHOOK_RETRY, WEBHOOK_TLS};
use crate::config::problem::Complaint;
use crate::config::value::Input;
use crate::config::webhook::DraftWebhook;

impl Reader<'_> {
    pub(super) fn webhook(&mut self, table: &Spanned<DeValue<'_>>) -> DraftWebhook {
        let place = self.source.place(&table.span());
        let (webhook, places) = (Webhook::default(), Places::new());
        let mut draft = DraftWebhook { webhook, place, places, headers: Vec::new() };
        let DeValue::Table(keys) = table.get_ref() else { return draft };
        for (key, value) in keys {
            let name = key.get_ref().as_ref();
            let known = WEBHOOK.iter().map(|key| key.name).chain(["retry", "queue", "tls", "headers"]);
            if let Some(known) = known.into_iter().find(|known| *known == name) {
                draft.places.insert(known, self.source.place(&value.span()));
            }
            let webhook = &mut draft.webhook;
            match (name, value.get_ref()) {
                ("headers", DeValue::Table(table)) => self.headers(table, &mut draft),
                ("retry", DeValue::Table(table)) => {
                    self.section(WEBHOOK_RETRY, "[webhook.retry]", table, &mut webhook.retry);
                }
                ("queue", DeValue::Table(table)) => {
                    self.section(BRIDGE_QUEUE, "[webhook.queue]", table, &mut webhook.queue);
                }
                ("tls", DeValue::Table(table)) => {
                    self.section(WEBHOOK_TLS, "[webhook.tls]", table, webhook.tls.get_or_insert_default());
                }
                ("headers" | "retry" | "queue" | "tls", _) => {
                    let message = format!("`{name}` is written [webhook.{name}]");
                    self.complain(&key.span(), Complaint::new(message));
                }
                _ => {
                    self.key(WEBHOOK, "[[webhook]]", key, value, webhook);
                }
            }
        }
        draft
    }

    /// Names are the user's, so no table has them.
    fn headers(&mut self, table: &DeTable<'_>, draft: &mut DraftWebhook) {
        for (key, value) in table {
            match self.input(value.get_ref()) {
                Ok(Input::Text(text)) => {
                    let field = (key.get_ref().as_ref().to_owned(), Secret::new(text.as_str()));
                    draft.webhook.headers.push(field);
                    draft.headers.push(self.source.place(&key.span()));
                }
                Ok(Input::Integer(_) | Input::Switch(_) | Input::List(_) | Input::Other(_)) => {
                    let complaint = Complaint::new("the value of a header field is text");
                    self.complain(
                        &value.span(),
                        complaint.help("for example `Authorization = \"Bearer ${env:TOKEN}\"`"),
                    );
                }
                Err(complaint) => self.complain(&value.span(), complaint),
            }
        }
    }
}
