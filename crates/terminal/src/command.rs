//! The beginning and the end of a command.

use std::process::ExitCode;

use clap::Parser;

use crate::escape;
use crate::output::note;

/// Parses the command line of this process. A mistake in it ends the process with exit code 2.
pub fn parse<P: Parser>() -> P {
    P::try_parse().unwrap_or_else(|mistake| {
        // The message repeats an argument, which may come from a script that took it from somebody else.
        let escaped = std::env::args_os().map(|word| escape::text(&word.to_string_lossy()).into_owned());
        P::try_parse_from(escaped).err().unwrap_or(mistake).exit()
    })
}

/// The exit code of a command that ended like this. An error is one line on standard error and exit code 1.
pub fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {}", one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

/// The chain of causes, joined by colons. Some libraries repeat the cause in their own message; it is printed once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::one_line;

    #[test]
    fn an_error_is_one_line_and_says_nothing_twice() {
        let error = anyhow!("no such\nfile").context("cannot read it: no such\nfile").context("settings");
        assert_eq!(one_line(&error), "settings: cannot read it: no such file");
    }
}
