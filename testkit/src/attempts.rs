//! What the init of a machine says of the commands that it runs.

use std::collections::BTreeMap;

/// Lines `NAME says …` and `NAME ended with STATUS` on a console.
pub struct Attempts(BTreeMap<String, Attempt>);

#[derive(Default, Debug)]
struct Attempt {
    output: String,
    status: i32,
}

impl Attempts {
    pub fn read(console: &str) -> Self {
        let mut attempts: BTreeMap<String, Attempt> = BTreeMap::new();
        for line in console.lines() {
            if let Some((name, output)) = line.split_once(" says ") {
                let attempt = attempts.entry(name.to_owned()).or_default();
                attempt.output += output;
                attempt.output.push('\n');
            } else if let Some((name, status)) = line.split_once(" ended with ") {
                attempts.entry(name.to_owned()).or_default().status = status.parse().unwrap();
            }
        }
        Self(attempts)
    }

    /// What an attempt printed, which must have ended so.
    pub fn of(&self, name: &str, status: i32) -> &str {
        let attempt = self.0.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.0));
        assert_eq!(attempt.status, status, "{name}: {}", attempt.output);
        println!("{name}: {}", attempt.output.trim_end());
        &attempt.output
    }
}
