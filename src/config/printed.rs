//! `--print-config`: what the options come to, as a file that says the same.

use std::fmt::Write;

use toml::Value;

use super::file::{From, Origin, Setting};

/// Every option, with who said so.
#[must_use]
pub fn printed(origin: &Origin) -> String {
    let mut text = String::from("# The options of this server, with who says so.\n");
    for setting in &origin.options {
        let from = match setting.from {
            From::Flag => "flag",
            From::Variable => "environment",
            From::File => "file",
            From::Default => "default",
        };
        let name = &setting.name;
        // A String takes all that is written to it.
        let _ = match &setting.value {
            None => writeln!(text, "# {name} is not set"),
            Some(_) if setting.is_secret => {
                writeln!(text, "# {name} is set and not shown # {from}")
            }
            Some(value) => writeln!(text, "{name} = {} # {from}", written(setting, value)),
        };
    }
    text
}

fn written(setting: &Setting, value: &str) -> Value {
    let single = |text: &str| match (text.parse(), text.parse()) {
        (Ok(number), _) => Value::Integer(number),
        (_, Ok(is_on)) => Value::Boolean(is_on),
        _ => Value::String(text.to_owned()),
    };
    match setting.is_list {
        true => Value::Array(value.split(',').map(|text| Value::String(text.to_owned())).collect()),
        false => single(value),
    }
}
