//! The command line of identityd.

mod cli;
mod escape;
mod logging;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // The future is boxed because it contains those of all commands.
    match Box::pin(cli::run(cli::Arguments::of_command_line())).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::output::note(&format!("error: {}", one_line(&error)));
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
