//! Owns `docs/postgresql-matrix.md`: writes it from what was seen, and reads it back.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What a database administrator is told, one statement per line; nothing where clean-up needs nobody.
pub(super) type Told = Vec<String>;

/// The table: what was told, by row and major version. A row that cannot come about in a version has no cell there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) cells: BTreeMap<(String, u32), Told>,
}

const VERSIONS: [u32; 6] = [13, 14, 15, 16, 17, 18];
const CLEAN: &str = "closed, clean";
const TOLD: &str = "closed, then ";
const IMPOSSIBLE: &str = "–";

const HEAD: &str = "\
# What a person can leave behind, version by version

Written by the test run that saw it: `APONO_REWRITE_MATRIX=1 make test-matrix` writes this page, every other run checks its own columns
against it. For each row a person with ADMIN on the database left the thing behind, and her grant was ended.

- *closed*: the end was complete at once, whatever she had left or still held: no membership, no session, no login.
- *clean*: clean-up then removed the login by itself. What she owned belongs to the powerless role `leftovers_apono`; what she had been
  granted is gone, and so is what she had passed on.
- *then A*: clean-up says, in the result of the grant and in `apono.login.leftovers`, exactly the statements of list A below. The run
  executed them as written, and the next clean-up removed the login. Until then the login stays blocked.
- –: this version does not let it happen.
";

impl Page {
    /// Writes the page, rows in the order given.
    pub(super) fn render(&self, names: &[&str]) -> String {
        let mut page = format!("{HEAD}\n| left behind |");
        for version in VERSIONS {
            write!(page, " {version} |").unwrap();
        }
        page += "\n|---|---|---|---|---|---|---|\n";
        let mut lists: Vec<&Told> = Vec::new();
        for name in names {
            write!(page, "| {name} |").unwrap();
            for version in VERSIONS {
                let cell = match self.cells.get(&((*name).to_owned(), version)) {
                    None => IMPOSSIBLE.to_owned(),
                    Some(told) if told.is_empty() => CLEAN.to_owned(),
                    Some(told) => {
                        let at = lists.iter().position(|known| *known == told);
                        let at = at.unwrap_or_else(|| {
                            lists.push(told);
                            lists.len() - 1
                        });
                        format!("{TOLD}{}", label(at))
                    }
                };
                write!(page, " {cell} |").unwrap();
            }
            page.push('\n');
        }
        for (at, told) in lists.iter().enumerate() {
            write!(
                page,
                "\n### {}\n\n```sql\n{}\n```\n",
                label(at),
                told.join("\n")
            )
            .unwrap();
        }
        page
    }

    /// Reads a page this code has written.
    pub(super) fn parse(page: &str) -> Self {
        let mut lists: BTreeMap<&str, Told> = BTreeMap::new();
        let mut heading = "";
        let mut fenced = false;
        for line in page.lines() {
            match line.strip_prefix("### ") {
                Some(name) => heading = name,
                None if line.starts_with("```") => fenced = !fenced,
                None if fenced => lists.entry(heading).or_default().push(line.to_owned()),
                None => {}
            }
        }
        let mut cells = BTreeMap::new();
        for line in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let mut columns = line.trim_matches('|').split('|').map(str::trim);
            let name = columns.next().unwrap_or_default();
            for (version, cell) in VERSIONS.into_iter().zip(columns) {
                let told = match cell.strip_prefix(TOLD) {
                    Some(label) => lists[label].clone(),
                    None if cell == CLEAN => Told::new(),
                    None => continue,
                };
                cells.insert((name.to_owned(), version), told);
            }
        }
        Self { cells }
    }

    /// One version's cells.
    pub(super) fn column(&self, version: u32) -> BTreeMap<&str, &Told> {
        let of_version = self.cells.iter().filter(|((_, of), _)| *of == version);
        of_version
            .map(|((name, _), told)| (name.as_str(), told))
            .collect()
    }

    /// Replaces one version's cells.
    pub(super) fn put(&mut self, version: u32, column: BTreeMap<String, Told>) {
        self.cells.retain(|(_, of), _| *of != version);
        let cells = column
            .into_iter()
            .map(|(name, told)| ((name, version), told));
        self.cells.extend(cells);
    }
}

/// `A` to `Z`; the page is wrong long before it needs more.
fn label(at: usize) -> char {
    char::from(b'A' + u8::try_from(at).unwrap())
}

#[test]
fn what_is_written_is_read_back() {
    let mut page = Page::default();
    let told = |text: &str| vec![text.to_owned(), format!("{text} too;")];
    let column = [("a", Told::new()), ("b", told("REVOKE"))];
    page.put(
        13,
        column.map(|(name, told)| (name.to_owned(), told)).into(),
    );
    page.put(15, [("b".to_owned(), told("DROP"))].into());
    let text = page.render(&["a", "b"]);
    assert!(text.contains("| a | closed, clean | – |"), "{text}");
    assert!(
        text.contains("| b | closed, then A | – | closed, then B |"),
        "{text}"
    );
    assert_eq!(Page::parse(&text), page);
    assert_eq!(page.column(15)["b"], &told("DROP"));
}
