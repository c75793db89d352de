//! Links between documents lead to files and headings that exist.

use std::path::Path;

use super::repository::{files, name, root};

#[test]
fn every_link_between_documents_leads_somewhere() {
    let documents = files(&root(), &["md"]);
    let links: Vec<(&Path, String)> = documents
        .iter()
        .flat_map(|path| {
            links(&std::fs::read_to_string(path).unwrap()).into_iter().map(|link| (path.as_path(), link))
        })
        .collect();
    assert!(links.len() > 50, "{links:?}");
    let broken: Vec<String> = links
        .iter()
        .filter(|(path, link)| !leads_somewhere(path, link))
        .map(|(path, link)| format!("{} links {link}", name(path)))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The targets of links within this repository.
fn links(markdown: &str) -> Vec<String> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).map(str::to_owned).collect()
}

fn leads_somewhere(from: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = if file.is_empty() { from.to_owned() } else { from.parent().unwrap().join(file) };
    target.exists() && (heading.is_empty() || has_heading(&std::fs::read_to_string(target).unwrap(), heading))
}

fn has_heading(markdown: &str, anchor: &str) -> bool {
    markdown.lines().filter(|line| line.starts_with('#')).any(|line| anchor_of(line) == anchor)
}

/// The anchor that GitHub gives to a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn links_are_told_from_addresses() {
    let markdown = "[a](b.md#what-it-is), [c](https://example.com/), `[d]`, [e](#what-it-is)";
    assert_eq!(links(markdown), ["b.md#what-it-is", "#what-it-is"]);
    assert!(has_heading("# Title\n## What it is\n", "what-it-is"));
    assert!(!has_heading("What it is\n", "what-it-is"));
}
