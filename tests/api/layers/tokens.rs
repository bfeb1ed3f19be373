//! Reads the tokens of Rust source that tell what a file imports: names and punctuation, without comments, texts and tests.

/// A name, or one character of punctuation.
pub type Token = String;

/// The tokens of a source file, without the items that exist only in tests.
pub fn tokens(source: &str) -> Vec<Token> {
    without_tests(&all_tokens(source))
}

pub fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn all_tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while at < chars.len() {
        let next = chars.get(at + 1).copied().unwrap_or(' ');
        match chars[at] {
            '/' if next == '/' => at = find(&chars, at, '\n'),
            '/' if next == '*' => at = end_of_comment(&chars, at),
            '"' => at = end_of_text(&chars, at),
            '\'' => at = end_of_character_or_lifetime(&chars, at),
            c if c.is_alphabetic() || c == '_' => {
                let end = end_of_name(&chars, at);
                match raw_text(&chars, at, end) {
                    Some(end) => at = end,
                    None => {
                        tokens.push(chars[at..end].iter().collect());
                        at = end;
                    }
                }
            }
            c if c.is_ascii_digit() => at = end_of_name(&chars, at),
            c if c.is_whitespace() => at += 1,
            c => {
                tokens.push(c.to_string());
                at += 1;
            }
        }
    }
    tokens
}

fn find(chars: &[char], from: usize, wanted: char) -> usize {
    (from..chars.len()).find(|at| chars[*at] == wanted).unwrap_or(chars.len())
}

fn end_of_name(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|at| !chars[*at].is_alphanumeric() && chars[*at] != '_').unwrap_or(chars.len())
}

fn end_of_comment(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0, from);
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

fn end_of_text(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// The end of `'a'`, `'\n'` or the lifetime `'a`.
fn end_of_character_or_lifetime(chars: &[char], from: usize) -> usize {
    if chars.get(from + 1) == Some(&'\\') {
        find(chars, from + 3, '\'') + 1
    } else if chars.get(from + 2) == Some(&'\'') {
        from + 3
    } else {
        end_of_name(chars, from + 1)
    }
}

/// The end of the text that begins with this name, as `r"…"`, `br#"…"#` and `b"…"` do.
fn raw_text(chars: &[char], from: usize, end: usize) -> Option<usize> {
    let prefix: String = chars[from..end].iter().collect();
    match prefix.as_str() {
        "b" | "c" if chars.get(end) == Some(&'"') => Some(end_of_text(chars, end)),
        "b" if chars.get(end) == Some(&'\'') => Some(end_of_character_or_lifetime(chars, end)),
        "r" | "br" | "cr" => {
            let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
            if chars.get(end + hashes) != Some(&'"') {
                return None;
            }
            let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
            let text = end + hashes + 1;
            let length = chars[text..].windows(closing.len()).position(|window| window == closing)?;
            Some(text + length + closing.len())
        }
        _ => None,
    }
}

/// Leaves out every item under `#[cfg(test)]` and its like.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let (mut kept, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if tokens[at] == "#" && tokens.get(at + 1).is_some_and(|token| token == "[") {
            let end = end_of_group(tokens, at + 1);
            at = if only_in_tests(&tokens[at + 2..end]) { end_of_item(tokens, end) } else { end };
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn only_in_tests(attribute: &[Token]) -> bool {
    let has = |name: &str| attribute.iter().any(|token| token == name);
    attribute.first().is_some_and(|token| token == "cfg") && has("test") && !has("not")
}

/// The place after the bracket that closes the one at `open`.
pub fn end_of_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The place after the item, statement or field that begins here, with its other attributes.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    const ITEMS: &[&str] =
        &["fn", "impl", "struct", "enum", "trait", "mod", "const", "static", "type", "unsafe", "async"];
    let mut at = from;
    while tokens.get(at).is_some_and(|token| token == "#") {
        at = end_of_group(tokens, at + 1);
    }
    if tokens.get(at).is_some_and(|token| token == "pub") {
        at += 1;
        if tokens.get(at).is_some_and(|token| token == "(") {
            at = end_of_group(tokens, at);
        }
    }
    let is_use = tokens.get(at).is_some_and(|token| token == "use");
    let is_item = is_use || tokens.get(at).is_some_and(|token| ITEMS.contains(&token.as_str()));
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if !is_use => return end_of_group(tokens, at),
            "(" | "[" | "{" => at = end_of_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}
