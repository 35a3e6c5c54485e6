//! The commented sample, written from the list of keys.

use super::keys::{DEFAULT_TOPIC, Default, Key, PROPERTIES, SECTIONS, Section, TOPIC};

const WIDTH: usize = 98;

const OPENING: &str = "Keyhawk's configuration: every key with its default. A line that begins \
    with `#` and a name states what holds anyhow; remove the `#` to change it. Durations are \
    written like \"5m\", \"250ms\" or \"1.5s\", sizes like \"64MiB\"; relative paths begin at the \
    folder of this file. Secrets stand in a file or in an environment variable, never here.";

/// Properties shown as examples.
const PROPERTY_EXAMPLES: &str = "#security.protocol = \"SASL_SSL\"\n\
    #sasl.mechanism = \"SCRAM-SHA-512\"\n\
    #sasl.username = \"keyhawk\"\n\
    #sasl.password = { env = \"KAFKA_PASSWORD\" }\n";

/// The sample. With `active`, the keys that have a default are not commented out, so that a test
/// can read them.
pub(super) fn render(active: bool) -> String {
    let mut out = String::new();
    prose(&mut out, OPENING);
    for section in SECTIONS {
        open(&mut out, section);
        for key in section.keys {
            entry(&mut out, key, active);
        }
        if section.name == PROPERTIES {
            out.push_str(PROPERTY_EXAMPLES);
        }
    }
    out
}

fn open(out: &mut String, section: &Section) {
    if section.name.is_empty() {
        return;
    }
    out.push('\n');
    prose(out, section.doc);
    match section.name {
        TOPIC => out.push_str(&format!("[topics.{DEFAULT_TOPIC}]\n")),
        name => out.push_str(&format!("[{name}]\n")),
    }
}

fn entry(out: &mut String, key: &Key, active: bool) {
    out.push('\n');
    prose(out, key.doc);
    match key.default {
        Default::Value(default) => {
            prose(out, &format!("Takes {}.", key.takes));
            let mark = if active { "" } else { "#" };
            out.push_str(&format!("{mark}{} = {default}\n", key.name));
        }
        Default::Unset { example } => {
            prose(
                out,
                &format!("Takes {}. There is no default; an example:", key.takes),
            );
            out.push_str(&format!("#{} = {example}\n", key.name));
        }
    }
}

/// A paragraph of comment, broken into lines.
fn prose(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}
