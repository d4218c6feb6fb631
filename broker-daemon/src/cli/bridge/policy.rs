//! `culex bridge policy`: what AWS IoT has to allow.

use super::Written;
use crate::bridge::policy::{CHARACTERS_MAX, Owner, minimal};
use crate::cli::human;
use crate::exit::Exit;

/// For which bridge.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  \
    culex bridge policy -c culex.toml aws --account 123456789012 > policy.json\n  \
    aws iot create-policy --policy-name culex --policy-document file://policy.json\n\n\
    Exit code 1 if the document is longer than AWS takes.")]
pub(super) struct Arguments {
    #[command(flatten)]
    written: Written,
    /// The account, 12 digits
    #[arg(long, value_name = "NUMBER", default_value = "ACCOUNT", hide_default_value = true, value_parser = account)]
    account: String,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (bridge, _) = match arguments.written.load() {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let host_name = crate::bridge::host_name();
    let document = minimal(&bridge, Owner { account: &arguments.account, host_name: &host_name });
    let printed = super::super::print(&format!("{}\n", document.text));
    if !bridge.is_aws_iot() {
        human::note(format_args!(
            "note: {} is no bridge to AWS IoT; this is what one would need",
            bridge.name
        ));
    }
    if arguments.account == "ACCOUNT" {
        human::note("note: put the number of the account in, or give it with --account");
    }
    if document.characters > CHARACTERS_MAX {
        human::complain(format_args!(
            "the document has {} characters without white space, and AWS takes {CHARACTERS_MAX}: fewer mappings with wider filters, \
             or several policies (10 at most) of one certificate",
            document.characters
        ));
        return Exit::Failed;
    }
    printed
}

fn account(text: &str) -> Result<String, String> {
    let is_number = text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || text == "ACCOUNT" {
        Ok(text.to_owned())
    } else {
        Err("an account has 12 digits".to_owned())
    }
}
