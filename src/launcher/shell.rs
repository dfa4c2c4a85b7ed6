//! What the module's script leaves to the shell: quotes and variables in options.
//!
//! Of the POSIX shell's word expansion (XCU 2.6) this is what the module's texts use: quoting, `$NAME`, `${NAME}` and
//! its forms with `-` and `+`, splitting at white space, and of all commands only `$(pwd)`. File name patterns stand
//! for themselves.

use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::str::Chars;

/// Why a text cannot be expanded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShellError {
    /// A quote has no end.
    #[error("the quote `{0}` is not closed")]
    OpenQuote(char),
    /// A brace has no end.
    #[error("`${{` is not closed")]
    OpenBrace,
    /// Something else than a name behind the dollar's brace, or a form that the module does not use.
    #[error("`${{{0}` is not understood; write ${{NAME}}, ${{NAME:-default}} or ${{NAME:+instead}}")]
    Form(String),
    /// A command; running one is not the launcher's business.
    #[error("it has a command to run in it; of these only $(pwd) is known")]
    Command,
    /// A variable without a value where one is needed.
    #[error("the variable {0} is not set")]
    Unset(String),
}

/// The shell's variables by name; `PWD` is also what `$(pwd)` gives.
pub trait Variables {
    /// The value, if it is set.
    fn get(&self, name: &str) -> Option<&OsStr>;
}

/// Every word of a text, as a command line would have them.
pub fn words(text: &str, variables: &dyn Variables) -> Result<Vec<OsString>, ShellError> {
    let mut expansion =
        Expansion { variables, split: true, must_be_set: false, words: Vec::new(), word: None };
    expansion.unquoted(&mut text.chars().peekable(), None)?;
    expansion.end_word();
    Ok(expansion.words)
}

/// A text as one word, whatever white space is in it or in the variables. A variable that is not set, and has no
/// default, is an error.
pub fn word(text: &str, variables: &dyn Variables) -> Result<OsString, ShellError> {
    let mut expansion =
        Expansion { variables, split: false, must_be_set: true, words: Vec::new(), word: None };
    expansion.unquoted(&mut text.chars().peekable(), None)?;
    Ok(expansion.word.unwrap_or_default())
}

type Input<'t> = Peekable<Chars<'t>>;

struct Expansion<'v> {
    variables: &'v dyn Variables,
    /// White space outside of quotes ends a word.
    split: bool,
    must_be_set: bool,
    words: Vec<OsString>,
    /// The word that has begun; a pair of quotes begins one too.
    word: Option<OsString>,
}

impl Expansion<'_> {
    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c.encode_utf8(&mut [0; 4]));
    }

    /// Goes on to the end of the text or, without taking it, to the closing character.
    fn unquoted(&mut self, input: &mut Input<'_>, close: Option<char>) -> Result<(), ShellError> {
        while let Some(&c) = input.peek() {
            if Some(c) == close {
                return Ok(());
            }
            input.next();
            match c {
                '\'' => self.single_quoted(input)?,
                '"' => {
                    self.word.get_or_insert_default();
                    self.double_quoted(input, '"')?;
                    input.next().ok_or(ShellError::OpenQuote('"'))?;
                }
                '\\' => {
                    if let Some(next) = input.next().filter(|next| *next != '\n') {
                        self.push(next);
                    }
                }
                '$' => self.dollar(input, false)?,
                '`' => return Err(ShellError::Command),
                c if c.is_ascii_whitespace() && self.split => self.end_word(),
                c => self.push(c),
            }
        }
        Ok(())
    }

    fn single_quoted(&mut self, input: &mut Input<'_>) -> Result<(), ShellError> {
        self.word.get_or_insert_default();
        loop {
            match input.next() {
                Some('\'') => return Ok(()),
                Some(c) => self.push(c),
                None => return Err(ShellError::OpenQuote('\'')),
            }
        }
    }

    /// Goes on to the end of the text or, without taking it, to the closing character.
    fn double_quoted(&mut self, input: &mut Input<'_>, close: char) -> Result<(), ShellError> {
        while let Some(&c) = input.peek() {
            if c == close {
                return Ok(());
            }
            input.next();
            match c {
                '\\' => match input.next() {
                    Some('\n') => {}
                    Some(next @ ('$' | '`' | '"' | '\\')) => self.push(next),
                    Some(next) => {
                        self.push('\\');
                        self.push(next);
                    }
                    None => self.push('\\'),
                },
                // Within braces within quotes.
                '"' => {
                    self.double_quoted(input, '"')?;
                    input.next().ok_or(ShellError::OpenQuote('"'))?;
                }
                '$' => self.dollar(input, true)?,
                '`' => return Err(ShellError::Command),
                c => self.push(c),
            }
        }
        Ok(())
    }

    fn dollar(&mut self, input: &mut Input<'_>, quoted: bool) -> Result<(), ShellError> {
        match input.peek() {
            Some('{') => {
                input.next();
                self.braces(input, quoted)
            }
            Some('(') => {
                let inside: String = input.by_ref().skip(1).take_while(|c| *c != ')').collect();
                if inside.trim() != "pwd" {
                    return Err(ShellError::Command);
                }
                self.variable("PWD", quoted)
            }
            Some(c) if is_name_start(*c) => {
                let name = name(input);
                self.variable(&name, quoted)
            }
            // A dollar that begins nothing stands for itself.
            _ => {
                self.push('$');
                Ok(())
            }
        }
    }

    /// What follows `${`.
    fn braces(&mut self, input: &mut Input<'_>, quoted: bool) -> Result<(), ShellError> {
        let name = name(input);
        let mut form = String::new();
        while let Some(c @ (':' | '-' | '+')) = input.peek().copied() {
            form.push(c);
            input.next();
            if c != ':' {
                break;
            }
        }
        let value = self.variables.get(&name);
        let value_or_nothing = value.filter(|value| !value.is_empty());
        let use_word = match form.as_str() {
            _ if name.is_empty() => return Err(ShellError::Form(name + &form)),
            "" => false,
            ":-" => value_or_nothing.is_none(),
            "-" => value.is_none(),
            ":+" => value_or_nothing.is_some(),
            "+" => value.is_some(),
            _ => return Err(ShellError::Form(name + &form)),
        };
        if form.is_empty() {
            if input.peek() != Some(&'}') {
                return Err(input
                    .next()
                    .map_or(ShellError::OpenBrace, |c| ShellError::Form(format!("{name}{c}"))));
            }
            self.variable(&name, quoted)?;
        } else if use_word {
            if quoted { self.double_quoted(input, '}') } else { self.unquoted(input, Some('}')) }?;
        } else {
            let words = std::mem::take(&mut self.words);
            let word = self.word.take();
            let must_be_set = std::mem::take(&mut self.must_be_set);
            // What is not used is read over, with whatever is nested in it.
            if quoted { self.double_quoted(input, '}') } else { self.unquoted(input, Some('}')) }?;
            (self.words, self.word, self.must_be_set) = (words, word, must_be_set);
            if form.ends_with('-') {
                self.variable(&name, quoted)?;
            }
        }
        input.next().map(|_| ()).ok_or(ShellError::OpenBrace)
    }

    fn variable(&mut self, name: &str, quoted: bool) -> Result<(), ShellError> {
        let value = match self.variables.get(name) {
            Some(value) => value,
            None if self.must_be_set => return Err(ShellError::Unset(name.to_owned())),
            None => OsStr::new(""),
        };
        if quoted || !self.split {
            self.word.get_or_insert_default().push(value);
            return Ok(());
        }
        for (i, part) in split(value).into_iter().enumerate() {
            if i > 0 {
                self.end_word();
            }
            if !part.is_empty() {
                self.word.get_or_insert_default().push(part);
            }
        }
        Ok(())
    }
}

/// The parts between white space; an empty first or last one where the value begins or ends with it.
pub fn split(value: &OsStr) -> Vec<&OsStr> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = value.as_bytes();
    let mut parts: Vec<&[u8]> = bytes.split(|b| matches!(b, b' ' | b'\t' | b'\n')).collect();
    let last = parts.len() - 1;
    let mut i = 0;
    parts.retain(|part| {
        i += 1;
        !part.is_empty() || i == 1 || i == last + 1
    });
    parts.into_iter().map(OsStr::from_bytes).collect()
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn name(input: &mut Input<'_>) -> String {
    let mut name = String::new();
    while let Some(&c) = input.peek() {
        if !(is_name_start(c) || c.is_ascii_digit() && !name.is_empty()) {
            break;
        }
        name.push(c);
        input.next();
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::process::Command;

    struct Map(BTreeMap<&'static str, &'static str>);

    impl Variables for Map {
        fn get(&self, name: &str) -> Option<&OsStr> {
            self.0.get(name).map(OsStr::new)
        }
    }

    fn variables() -> Map {
        Map(BTreeMap::from([
            ("EMPTY", ""),
            ("A", "one"),
            ("SPACED", " two  words\t"),
            ("PWD", "/tmp"),
            ("COMMA", "a,b"),
        ]))
    }

    /// The shell itself says what is right.
    #[test]
    fn words_are_those_of_the_shell() {
        let texts = [
            "",
            "   ",
            "-usb",
            "-device usb-tablet,bus=usb-bus.0",
            "-append \"a b\"  c",
            "'a b'c",
            "a\\ b",
            "''",
            "\"\"",
            "$A",
            "x$A",
            "${A}x",
            "\"$A\"",
            "'$A'",
            "\\$A",
            "$SPACED",
            "x${SPACED}y",
            "\"$SPACED\"",
            "$EMPTY",
            "\"$EMPTY\"",
            "x$EMPTY",
            "$UNSET",
            "\"$UNSET\"",
            "${UNSET:-d}",
            "${EMPTY:-d e}",
            "\"${EMPTY:-d e}\"",
            "${EMPTY-d}",
            "${UNSET-d}",
            "${A:+,$A}",
            "${UNSET:+,$UNSET}",
            "\"${UNSET:-$A/xchg}\"",
            "\"$A\"/xchg",
            "$(pwd)/x",
            "\"$(pwd)\"",
            "${UNSET:-'a b'}",
            "\"${A:+\"b  c\"}\"",
            "\"a\\\"b\\\\c\\d\"",
            "$",
            "a$",
            "$.x",
            "\"$A$EMPTY$A\"",
            "${A:-${UNSET:-x}}y",
            "${UNSET:-${UNSET:-x y}}z",
            "user,id=user.0,${EMPTY:+,$EMPTY}",
            "tab\there",
            "${UNSET+}",
            "${A:-a}${A:+b}",
        ];
        let mut script =
            String::from("p() { printf '%s' \"$#\"; for w; do printf '<%s>' \"$w\"; done; echo; }\n");
        for text in texts {
            writeln!(script, "p {text}").unwrap();
        }
        let output = Command::new("sh")
            .args(["-c", &script])
            .env_clear()
            .envs(variables().0)
            .current_dir("/tmp")
            .output()
            .unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        let stdout = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines.len(), texts.len());
        for (text, line) in texts.iter().zip(lines) {
            let words = words(text, &variables()).unwrap();
            let mut ours = words.len().to_string();
            for word in words {
                write!(ours, "<{}>", word.to_str().unwrap()).unwrap();
            }
            assert_eq!(ours, line, "`{text}`");
        }
    }

    #[test]
    fn one_word_keeps_white_space_and_needs_its_variables() {
        let one = |text| word(text, &variables());
        assert_eq!(one("a b$SPACED").unwrap(), "a b two  words\t");
        assert_eq!(one("\"${UNSET:-$PWD/x}\"").unwrap(), "/tmp/x");
        assert_eq!(one("$UNSET/x"), Err(ShellError::Unset("UNSET".into())));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        let error = |text| words(text, &variables()).unwrap_err().to_string();
        for (text, what) in [
            ("'a", "quote `'`"),
            ("\"a", "quote `\"`"),
            ("${A", "not closed"),
            ("${A:-x", "not closed"),
            ("${A%x}", "`${A%`"),
            ("${}", "`${`"),
            ("${A:=x}", "`${A:`"),
            ("$(id)", "command"),
            ("\"$(cat x)\"", "command"),
            ("`id`", "command"),
        ] {
            assert!(error(text).contains(what), "{text}: {}", error(text));
        }
    }
}
