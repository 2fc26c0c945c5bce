//! Documents that can drift: every test a document names exists, every file a document names exists.

use super::{root, rust_files, text_of};
use std::collections::BTreeSet;

/// Not ours to read: made by tools, or not text.
const SKIPPED: &[&str] = &["target", ".git", "Cargo.lock", "LICENSE"];

/// The page whose every promise names the tests that show it.
const BEHAVIOUR: &str = "docs/behaviour.md";

/// Every file below a folder of the tree, by path from its root.
pub(super) fn files_below(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("the folder can be read to its end").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if SKIPPED.contains(&name) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(inner) = path.strip_prefix(root()) {
                found.push(inner.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every text file of the tree.
pub(super) fn text_files() -> Vec<String> {
    let mut files = files_below("");
    files.retain(|file| {
        std::fs::read(root().join(file)).is_ok_and(|bytes| std::str::from_utf8(&bytes).is_ok())
    });
    files
}

fn names_of_tests() -> BTreeSet<String> {
    let mut files = rust_files("src");
    files.extend(rust_files("tests"));
    files
        .iter()
        .flat_map(|file| tests_in(&text_of(file)))
        .collect()
}

/// Lines under which a function is a test; the macro of `support::cluster` makes one for each version of the server.
const MARKS: &[&str] = &["#[test]", "#[tokio::test", "on_every_server!"];

/// The functions that stand under such a line.
fn tests_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in source.lines().map(str::trim_start) {
        marked = marked || MARKS.iter().any(|mark| line.starts_with(mark));
        let Some((_, rest)) = line
            .split_once("fn ")
            .filter(|(before, _)| matches!(*before, "" | "async "))
        else {
            continue;
        };
        if std::mem::take(&mut marked) {
            found.extend(rest.split(['(', '<']).next().map(str::to_owned));
        }
    }
    found
}

/// The sections of the page, each with the tests its `Shown by` line names.
fn sections(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut in_list = false;
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("### ") {
            found.push((title, Vec::new()));
        }
        in_list = line.starts_with("Shown by") || in_list && !line.is_empty();
        if let Some((_, tests)) = found.last_mut().filter(|_| in_list) {
            tests.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

fn unnamed(page: &str) -> Vec<String> {
    let without = sections(page)
        .into_iter()
        .filter(|(_, named)| named.is_empty());
    without
        .map(|(title, _)| format!("{BEHAVIOUR}: `{title}` names no test that shows it"))
        .collect()
}

fn missing(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut found = Vec::new();
    for (title, named) in sections(page) {
        let gone = named.iter().filter(|name| !tests.contains(**name));
        found.extend(gone.map(|name| format!("{BEHAVIOUR}: `{title}`: there is no test `{name}`")));
    }
    found
}

#[test]
fn every_promise_names_tests_that_exist() {
    let page = text_of(BEHAVIOUR);
    assert!(
        sections(&page).len() >= 10,
        "{BEHAVIOUR} has lost its sections"
    );
    let mut found = unnamed(&page);
    found.extend(missing(&page, &names_of_tests()));
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

/// Links and file names in the documents lead somewhere.
#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    let mut found = Vec::new();
    for file in text_files().iter().filter(|file| file.ends_with(".md")) {
        let folder = root()
            .join(file)
            .parent()
            .map(std::path::Path::to_path_buf)
            .unwrap_or_default();
        for (number, line) in text_of(file).lines().enumerate() {
            for link in line
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split([')', '#']).next())
            {
                let outside = link.is_empty() || link.contains("://");
                if !outside && !folder.join(link).exists() {
                    found.push(format!("{file}:{}: `{link}` is not there", number + 1));
                }
            }
        }
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn a_planted_promise_without_a_test_is_caught() {
    let source =
        "#[tokio::test(flavor = \"current_thread\")]\nasync fn shown() {}\nfn not_a_test() {}\n";
    let tests: BTreeSet<String> = tests_in(source).into_iter().collect();
    assert_eq!(
        tests.iter().map(String::as_str).collect::<Vec<_>>(),
        ["shown"]
    );
    let page = "### A\nwords `code`\n\nShown by `shown`,\n`not_a_test`.\n\n### B\nwords\n";
    assert_eq!(
        missing(page, &tests),
        ["docs/behaviour.md: `A`: there is no test `not_a_test`"]
    );
    assert_eq!(
        unnamed(page),
        ["docs/behaviour.md: `B` names no test that shows it"]
    );
}
