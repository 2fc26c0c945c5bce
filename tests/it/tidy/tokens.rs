//! Owns a rough reading of Rust source: which paths it names, on which line, and whether in test code. Never a full parser:
//! comments and the insides of literals are dropped, macros are read like any other text.

/// One path as written, for example `crate::domain::Grant`; a macro's name keeps its `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
    pub(super) in_test: bool,
    /// How many `mod name { … }` blocks of this file surround it.
    pub(super) inline_modules: usize,
}

/// One file, read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) paths: Vec<Path>,
    /// Lines that hold code outside test modules; blank and comment lines are not counted.
    pub(super) code_lines: usize,
    /// Lines of `Name {` where a value of that name is built, with the name.
    pub(super) built: Vec<(String, usize)>,
}

#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

/// Reads one file.
pub(super) fn read(source: &str) -> Reading {
    let tokens = tokens(source);
    let scopes = scopes(&tokens);
    let mut code: Vec<usize> = tokens
        .iter()
        .zip(&scopes)
        .filter(|(_, scope)| !scope.in_test)
        .map(|(token, _)| token.line)
        .collect();
    code.dedup();
    Reading {
        paths: paths(&tokens, &scopes),
        code_lines: code.len(),
        built: built(&tokens),
    }
}

fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if source[at..].starts_with("//") => {
                source[at..].find('\n').map_or(bytes.len(), |n| at + n)
            }
            b'/' if source[at..].starts_with("/*") => block_comment(bytes, at),
            b'"' => quoted(bytes, at),
            b'\'' => quote_or_lifetime(bytes, at),
            b'r' | b'b' | b'c' if raw_string(source, at).is_some() => {
                raw_string(source, at).unwrap_or(bytes.len())
            }
            c if word(c) => at + bytes[at..].iter().take_while(|c| word(**c)).count(),
            b':' if source[at..].starts_with("::") => at + 2,
            _ => at + 1,
        };
        let text = &source.as_bytes()[at..end];
        let skipped =
            text[0].is_ascii_whitespace() || text.starts_with(b"//") || text.starts_with(b"/*");
        if !skipped {
            let text = if matches!(text[0], b'"' | b'\'') || text.contains(&b'"') {
                "literal\"".to_owned()
            } else {
                String::from_utf8_lossy(text).into_owned()
            };
            found.push(Token { text, line });
        }
        line += text.iter().filter(|c| **c == b'\n').count();
        at = end;
    }
    found
}

fn word(c: u8) -> bool {
    c == b'_' || c.is_ascii_alphanumeric() || c >= 0x80
}

fn block_comment(bytes: &[u8], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted(bytes: &[u8], from: usize) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

fn quote_or_lifetime(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from + 1) {
        Some(b'\\') => {
            let close = bytes[(from + 3).min(bytes.len())..]
                .iter()
                .position(|c| *c == b'\'');
            close.map_or(bytes.len(), |n| from + 3 + n + 1)
        }
        Some(_) => {
            // A character is closed within four bytes; a lifetime is not closed at all.
            let close = (from + 2..=from + 5).find(|at| bytes.get(*at) == Some(&b'\''));
            let is_char = close.is_some_and(|at| at == from + 2 || bytes[from + 1] >= 0x80);
            close.filter(|_| is_char).map_or(from + 1, |at| at + 1)
        }
        None => bytes.len(),
    }
}

/// Finds the end of `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#` and `c"…"`.
fn raw_string(source: &str, from: usize) -> Option<usize> {
    let prefix = ["br", "cr", "r", "b", "c"]
        .into_iter()
        .find(|p| source[from..].starts_with(p))?;
    let rest = &source[from + prefix.len()..];
    let hashes = rest.bytes().take_while(|c| *c == b'#').count();
    if rest.as_bytes().get(hashes) != Some(&b'"') || (hashes > 0 && !prefix.contains('r')) {
        return None;
    }
    let open = from + prefix.len() + hashes;
    if !prefix.contains('r') {
        return Some(quoted(source.as_bytes(), open));
    }
    let close = format!("\"{}", "#".repeat(hashes));
    source[open + 1..]
        .find(&close)
        .map(|n| open + 1 + n + close.len())
}

#[derive(Debug, Clone, Copy, Default)]
struct Scope {
    in_test: bool,
    inline_modules: usize,
}

/// Says of each token whether it stands in a `#[cfg(test)]` item and inside how many inline modules.
fn scopes(tokens: &[Token]) -> Vec<Scope> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut found = Vec::with_capacity(tokens.len());
    let mut open: Vec<Scope> = Vec::new();
    let mut test_item_at = None;
    for at in 0..tokens.len() {
        let outer = open.last().copied().unwrap_or_default();
        if text(at) == "#"
            && text(at + 2) == "cfg"
            && (text(at + 4) == "test" || text(at + 6) == "test" && text(at + 4) == "all")
        {
            test_item_at = Some(open.len());
        }
        let in_test = outer.in_test || test_item_at == Some(open.len());
        found.push(Scope { in_test, ..outer });
        match text(at) {
            "{" => {
                let is_module = at >= 2 && text(at - 2) == "mod";
                open.push(Scope {
                    in_test,
                    inline_modules: outer.inline_modules + usize::from(is_module),
                });
            }
            "}" => {
                open.pop();
                if test_item_at == Some(open.len()) {
                    test_item_at = None;
                }
            }
            ";" if test_item_at == Some(open.len()) => test_item_at = None,
            _ => {}
        }
    }
    found
}

fn paths(tokens: &[Token], scopes: &[Scope]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let continues = follows_a_path(tokens, at);
        if word(tokens[at].text.as_bytes()[0]) && !tokens[at].text.contains('"') && !continues {
            at = tree(tokens, scopes, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Says whether the name here belongs to a path already read; a leading `::` begins one.
fn follows_a_path(tokens: &[Token], at: usize) -> bool {
    let before = |n: usize| at.checked_sub(n).map_or("", |at| tokens[at].text.as_str());
    before(1) == "."
        || before(1) == "::" && (before(2) == ">" || before(2).bytes().next().is_some_and(word))
}

/// Reads one use-tree, or one path of an expression, which is the same thing without braces.
fn tree(
    tokens: &[Token],
    scopes: &[Scope],
    from: usize,
    prefix: &[String],
    found: &mut Vec<Path>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let mut segments = prefix.to_vec();
    let mut at = from;
    while at < tokens.len() && word(text(at).as_bytes()[0]) {
        segments.push(text(at).to_owned());
        at += 1;
        if text(at) != "::" {
            break;
        }
        if text(at + 1) == "{" {
            at += 2;
            while at < tokens.len() && text(at) != "}" {
                at = if text(at) == "," {
                    at + 1
                } else {
                    tree(tokens, scopes, at, &segments, found)
                };
            }
            return at + 1;
        }
        at += 1;
    }
    if text(at) == "!"
        && text(at + 1) != "="
        && let Some(last) = segments.last_mut()
    {
        last.push('!');
    }
    found.push(Path {
        segments,
        line: tokens[from].line,
        in_test: scopes[from].in_test,
        inline_modules: scopes[from].inline_modules,
    });
    // A star, or anything else that is no name, must not stop the reader.
    if at == from { at + 1 } else { at }
}

/// Finds `Name { …` where it builds a value: not after `struct`, `impl`, `for`, `->` and the like.
fn built(tokens: &[Token]) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in 1..tokens.len() {
        let name = &tokens[at - 1].text;
        let before = if at >= 2 {
            tokens[at - 2].text.as_str()
        } else {
            ""
        };
        let declares = matches!(
            before,
            "struct" | "enum" | "union" | "impl" | "for" | "trait" | "mod" | ">"
        );
        let is_type = name.starts_with(|c: char| c.is_ascii_uppercase());
        if tokens[at].text == "{" && is_type && !declares {
            found.push((name.clone(), tokens[at - 1].line));
        }
    }
    found
}
