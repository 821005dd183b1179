use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::*;

#[test]
fn the_arguments_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn wait_needs_once() {
    let parse =
        |args: &[&str]| Cli::try_parse_from([&["ota", "agent", "--config", "c"], args].concat());
    assert!(parse(&["--once", "--wait", "3"]).is_ok());
    assert!(parse(&["--wait", "3"]).is_err());
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let of = |folder: &str| std::fs::read_dir(root.join(folder)).unwrap();
    let docs = of("docs").chain(of("docs/cloud")).map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.is_file()).chain([root.join("README.md")]);
    // A picture has no commands.
    pages.filter(|path| path.extension().is_none_or(|end| end != "png")).collect()
}

/// The lines of the blocks of shell; a line that ends with a backslash goes on.
fn shell_lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in page.replace("\\\n", " ").lines() {
        match line.strip_prefix("```") {
            Some(info) => inside = info.starts_with("sh "),
            None if inside => lines.push(line.to_owned()),
            None => {}
        }
    }
    lines
}

/// The agent alone takes what `ota agent` does.
fn of_ota(line: &str) -> String {
    match line.strip_prefix("ota-agent ") {
        Some(rest) => format!("ota agent {rest}"),
        None => line.to_owned(),
    }
}

/// The words behind the program's name, up to what is the shell's.
fn our_words(line: &str) -> Option<Vec<&str>> {
    let names = ["ota", "$OTA", "target/release/ota"];
    let mut words = line.split_whitespace();
    let mut before = "";
    // Behind `-p` it is the package.
    words.find(|word| std::mem::replace(&mut before, word) != "-p" && names.contains(word))?;
    let ends = |word: &str| word.starts_with(['>', '&', '|', ';', '#']) || word == "2>";
    let mut args = Vec::new();
    // What comes behind a bare `--` of cargo's is the program's.
    let words = words.skip_while(|word| *word == "--");
    for word in words.take_while(|word| !ends(word)) {
        // The shell puts a process's number there.
        args.push(if word == "$!" { "1" } else { word.trim_end_matches(';') });
        if word.ends_with(';') {
            break;
        }
    }
    // A path behind the name: the program is copied there.
    args.first().is_some_and(|word| !word.starts_with('/')).then_some(args)
}

/// The commands of the pages that nobody runs are commands all the same.
#[test]
fn every_command_of_the_pages_is_one() {
    let mut count = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        let mut lines = shell_lines(&page);
        let code = page.split('`').skip(1).step_by(2).map(of_ota);
        let code = code.filter(|code| code.starts_with("ota "));
        // What is named without its value is a name, and no command.
        let whole = code.filter(|code| !code.ends_with("--fault") && !code.ends_with("--broker"));
        lines.extend(whole);
        for line in lines {
            let line = of_ota(&line);
            let Some(args) = our_words(&line) else { continue };
            let result = Cli::try_parse_from([&["ota"], args.as_slice()].concat());
            let help = |kind| matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let incomplete = ErrorKind::MissingRequiredArgument;
            match result.map_err(|error| (error.kind(), error.to_string())) {
                Ok(_) => count += 1,
                Err((kind, _)) if help(kind) => count += 1,
                // Only a name, as in "`ota replay` plays it".
                Err((kind, _)) if kind == incomplete && args.len() <= 2 => {}
                Err((_, text)) => panic!("{}: `{line}`: {text}", path.display()),
            }
        }
    }
    assert!(count >= 30, "{count}");
}

/// Each command that does something, with its help.
fn helps(command: clap::Command, found: &mut Vec<String>) {
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    if below.is_empty() || command.get_after_help().is_some() {
        found.push(command.clone().render_long_help().to_string());
    }
    below.into_iter().for_each(|command| helps(command, found));
}

#[test]
fn every_help_has_an_example_that_is_a_command() {
    let mut found = Vec::new();
    helps(Cli::command(), &mut found);
    assert_eq!(found.len(), 70);
    for help in found {
        let (_, example) = help.split_once("Example:\n").unwrap_or_else(|| panic!("{help}"));
        let example = example.replace("\\\n", " ");
        let words = our_words(example.lines().next().unwrap()).unwrap();
        Cli::try_parse_from([&["ota"], words.as_slice()].concat()).unwrap();
    }
}
