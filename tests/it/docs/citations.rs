//! Comments and documents cite sections, decisions and scenarios of docs/contract.md. All of them exist.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use super::repository::{files, name, root};

/// A part of the contract that can be cited.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Cited {
    Section(String),
    Decision(String),
    Scenario(String),
}

impl fmt::Display for Cited {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Section(number) => write!(formatter, "section {number}"),
            Self::Decision(name) => write!(formatter, "decision {name}"),
            Self::Scenario(number) => write!(formatter, "scenario {number}"),
        }
    }
}

#[test]
fn everything_that_is_cited_of_the_contract_exists() {
    let defined = defined(&std::fs::read_to_string(root().join("docs/contract.md")).unwrap());
    let cited: Vec<(PathBuf, Cited)> = files(&root(), &["md", "rs", "sql"])
        .into_iter()
        .flat_map(|path| cited(&prose(&path)).into_iter().map(move |cited| (path.clone(), cited)))
        .collect();
    assert!(cited.len() > 200, "citations are not recognized any more: {}", cited.len());
    let unknown: Vec<String> = cited
        .iter()
        .filter(|(_, cited)| !defined.contains(cited))
        .map(|(path, cited)| format!("{} cites {cited}", name(path)))
        .collect();
    assert!(unknown.is_empty(), "docs/contract.md does not have these: {unknown:#?}");
}

/// The parts that the contract has. A heading begins with the number of its section, a row of a table with its
/// decision, and a line of section 14 with the number of its scenario.
fn defined(contract: &str) -> HashSet<Cited> {
    let sections =
        contract.lines().filter_map(|line| number(line.strip_prefix('#')?.trim_start_matches('#')));
    let decisions = contract.lines().filter_map(|line| decision(line.strip_prefix("| ")?.split(' ').next()?));
    let scenarios = contract.split("\n## 14. ").nth(1).unwrap().lines().filter_map(number);
    sections.map(Cited::Section).chain(decisions).chain(scenarios.map(Cited::Scenario)).collect()
}

/// The number at the beginning of a line.
fn number(line: &str) -> Option<String> {
    let first = line.split_whitespace().next()?.trim_end_matches('.');
    is_number(first).then(|| first.to_owned())
}

fn is_number(word: &str) -> bool {
    word.starts_with(|letter: char| letter.is_ascii_digit())
        && word.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
}

fn decision(word: &str) -> Option<Cited> {
    let digits = word.strip_prefix('D')?;
    let is_decision = matches!(digits.len(), 1 | 2) && digits.chars().all(|letter| letter.is_ascii_digit());
    is_decision.then(|| Cited::Decision(word.to_owned()))
}

/// The text of a document, or the comments of a source file.
fn prose(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let marker = match path.extension().unwrap().to_str().unwrap() {
        "rs" => "//",
        "sql" => "--",
        _ => return text,
    };
    let comments = text.lines().filter_map(|line| line.trim_start().strip_prefix(marker));
    comments.map(|comment| comment.trim_start_matches(['/', '!'])).collect::<Vec<_>>().join("\n")
}

/// The parts that a text cites: decisions by their names, sections and scenarios by the numbers that follow these
/// words. A section of an RFC does not count.
fn cited(prose: &str) -> Vec<Cited> {
    let words: Vec<&str> = prose.split_whitespace().collect();
    let mut cited: Vec<Cited> = words.iter().filter_map(|word| decision(bare(word))).collect();
    for (place, word) in words.iter().enumerate() {
        let numbers = numbers(&words[place + 1..]).into_iter().map(str::to_owned);
        match bare(word).to_lowercase().as_str() {
            "section" | "sections" if !is_of_an_rfc(&words[..place]) => {
                cited.extend(numbers.map(Cited::Section));
            }
            "scenario" | "scenarios" => cited.extend(numbers.map(Cited::Scenario)),
            _ => {}
        }
    }
    cited
}

fn bare(word: &str) -> &str {
    word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric())
}

/// Whether these words end like `RFC 9110, section`.
fn is_of_an_rfc(before: &[&str]) -> bool {
    matches!(before, [.., rfc, number] if bare(rfc) == "RFC" && is_number(bare(number)))
}

/// The numbers at the beginning of these words, in one sentence: `2`, `2.1 and 3`, `5, 6 to 8`.
fn numbers<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut numbers = vec![];
    for word in words {
        if is_number(bare(word)) {
            numbers.push(bare(word));
        } else if !["and", "to"].contains(word) {
            break;
        }
        if word.ends_with(['.', ')', ':', ';']) {
            break;
        }
    }
    numbers
}

#[test]
fn a_citation_is_recognized_however_it_is_written() {
    let text =
        "Contract, sections 0.4 and 7.1 to 7.3, (D26). RFC 9110, section 5.3. Section 12: x. Scenario 4 and
        decision D9, in scenarios 16, 26 of section";
    let all: Vec<String> = cited(text).iter().map(Cited::to_string).collect();
    let expected = ["decision D26", "decision D9", "section 0.4", "section 7.1", "section 7.3", "section 12"];
    assert_eq!(all, [&expected[..], &["scenario 4", "scenario 16", "scenario 26"]].concat());
}

#[test]
fn what_the_contract_defines_is_found() {
    let contract = "## 0. Base\n### 0.1 Keys\n1. no scenario\n| D1 | x |\n## 14. Scenarios\n\n1. Given\n";
    let expected = [
        Cited::Section("0".into()),
        Cited::Section("0.1".into()),
        Cited::Section("14".into()),
        Cited::Decision("D1".into()),
        Cited::Scenario("1".into()),
    ];
    assert_eq!(defined(contract), HashSet::from(expected));
}
