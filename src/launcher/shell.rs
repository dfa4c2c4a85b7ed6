//! Expands quotes and variables in options, which the module's script leaves to the shell.
//!
//! Of the POSIX shell's word expansion (XCU 2.6) this is what the module's texts use: quoting, `$NAME`, `${NAME}` and
//! its forms with `-` and `+`, splitting at white space, and of all commands only `$(pwd)`. Patterns of file names are
//! not expanded.

use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
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
    /// `${` without a name behind it, or a form that the module does not use.
    #[error("`${{{0}` is not understood; write ${{NAME}}, ${{NAME:-default}} or ${{NAME:+instead}}")]
    Form(String),
    /// A command. The launcher runs none.
    #[error("it has a command to run in it; of these only $(pwd) is known")]
    Command,
    /// A required variable is not set.
    #[error("the variable {0} is not set")]
    Unset(String),
}

/// The shell's variables. `PWD` is also the value of `$(pwd)`.
pub trait Variables {
    /// A variable's value, if it is set.
    fn get(&self, name: &str) -> Option<&OsStr>;
}

/// Splits a text into words, as on a command line.
pub fn words(text: &str, variables: &dyn Variables) -> Result<Vec<OsString>, ShellError> {
    let mut expansion = Expansion::of(text, variables, true)?;
    expansion.end_word();
    Ok(expansion.words)
}

/// Expands a text to one word, whatever white space is in it or in the variables. A variable that is not set and has no
/// default is an error.
pub fn word(text: &str, variables: &dyn Variables) -> Result<OsString, ShellError> {
    Ok(Expansion::of(text, variables, false)?.word.unwrap_or_default())
}

type Input<'t> = Peekable<Chars<'t>>;

struct Expansion<'v> {
    variables: &'v dyn Variables,
    /// White space outside of quotes ends a word.
    split: bool,
    must_be_set: bool,
    words: Vec<OsString>,
    /// The word that has begun. A pair of quotes begins one too, even if it is empty.
    word: Option<OsString>,
}

impl<'v> Expansion<'v> {
    fn of(text: &str, variables: &'v dyn Variables, split: bool) -> Result<Self, ShellError> {
        let mut new = Self { variables, split, must_be_set: !split, words: Vec::new(), word: None };
        new.expand(&mut text.chars().peekable(), false, None)?;
        Ok(new)
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c.encode_utf8(&mut [0; 4]));
    }

    /// Expands up to the closing character, which it does not take, or to the end of the text.
    fn expand(&mut self, input: &mut Input<'_>, quoted: bool, close: Option<char>) -> Result<(), ShellError> {
        while let Some(c) = input.next_if(|c| Some(*c) != close) {
            match c {
                '\'' if !quoted => self.single_quoted(input)?,
                // Within quotes it can stand only within braces.
                '"' => {
                    self.word.get_or_insert_default();
                    self.expand(input, true, Some('"'))?;
                    input.next().ok_or(ShellError::OpenQuote('"'))?;
                }
                '\\' => match input.next() {
                    Some('\n') => {}
                    Some(next) if !quoted || "$`\"\\".contains(next) => self.push(next),
                    next if quoted => ['\\'].into_iter().chain(next).for_each(|c| self.push(c)),
                    _ => {}
                },
                '$' => self.dollar(input, quoted)?,
                '`' => return Err(ShellError::Command),
                c if c.is_ascii_whitespace() && self.split && !quoted => self.end_word(),
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

    /// Expands what follows `${`.
    fn braces(&mut self, input: &mut Input<'_>, quoted: bool) -> Result<(), ShellError> {
        let name = name(input);
        let colon = input.next_if_eq(&':');
        let form = input.next_if(|c| matches!(c, '-' | '+'));
        let value = self.variables.get(&name).filter(|value| colon.is_none() || !value.is_empty());
        if name.is_empty() || (colon.is_some() && form.is_none()) {
            return Err(ShellError::Form(name.chars().chain(colon).chain(form).collect()));
        }
        if form.is_some_and(|form| (form == '-') == value.is_none()) {
            self.expand(input, quoted, Some('}'))?;
        } else if form.is_some() {
            let words = std::mem::take(&mut self.words);
            let word = self.word.take();
            let must_be_set = std::mem::take(&mut self.must_be_set);
            // The text is not used, but has to be read to its end.
            self.expand(input, quoted, Some('}'))?;
            (self.words, self.word, self.must_be_set) = (words, word, must_be_set);
        }
        match input.next() {
            Some('}') if form.is_none() || (form == Some('-') && value.is_some()) => {
                self.variable(&name, quoted)
            }
            Some('}') => Ok(()),
            Some(c) => Err(ShellError::Form(format!("{name}{c}"))),
            None => Err(ShellError::OpenBrace),
        }
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

/// The parts between white space. The first or last one is empty where the value begins or ends with white space.
pub fn split(value: &OsStr) -> Vec<&OsStr> {
    let parts: Vec<_> = value.as_bytes().split(|b| b" \t\n".contains(b)).collect();
    let last = parts.len() - 1;
    let parts = parts.into_iter().enumerate();
    let kept = parts.filter(|(i, part)| !part.is_empty() || *i == 0 || *i == last);
    kept.map(|(_, part)| OsStr::from_bytes(part)).collect()
}

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn name(input: &mut Input<'_>) -> String {
    let mut name = String::new();
    while let Some(c) = input.next_if(|&c| is_name_start(c) || c.is_ascii_digit() && !name.is_empty()) {
        name.push(c);
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
