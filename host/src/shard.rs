//! A share of many photos, so that several machines divide the work without speaking to each other: which share a photo belongs to follows from its name alone.

use crate::hash::sha256_hex;
use anyhow::{Context as _, ensure};
use std::fmt;
use std::str::FromStr;

/// One of several shares: `3/16` is the third of sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 1 on.
    number: u64,
    of: u64,
}

/// Shares at most: more than there are machines.
const MOST: u64 = 1_000_000;

/// The number, from 1 on, of the share that a photo of this name belongs to: one more than the first 64 bits of the name's SHA-256, modulo the number of shares. Every
/// name belongs to exactly one, on every machine and in every run. None if there cannot be so many shares.
pub fn number_of(name: &str, of: u64) -> Option<u64> {
    let hash = u64::from_str_radix(&sha256_hex(name.as_bytes())[..16], 16).unwrap_or(0);
    (1..=MOST).contains(&of).then(|| hash % of + 1)
}

impl Shard {
    /// Whether a photo of this name belongs to the share.
    pub fn holds(&self, name: &str) -> bool {
        number_of(name, self.of) == Some(self.number)
    }
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let numbers = text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        let (number, of) = numbers.context("expected a share such as 3/16, the third of sixteen")?;
        ensure!((1..=MOST).contains(&of), "expected 1 to {MOST} shares, found {of}");
        ensure!((1..=of).contains(&number), "expected a share from 1/{of} to {of}/{of}");
        Ok(Self { number, of })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are those of Python: `int(hashlib.sha256(name).hexdigest()[:16], 16) % 3 + 1`.
    #[test]
    fn each_name_belongs_to_one_share_the_same_everywhere() {
        for (name, number) in [("cat.jpg", 2), ("dogs/a b.png", 3), ("\u{e4}.webp", 3), ("", 2)] {
            let held: Vec<u64> = (1..=3).filter(|number| Shard { number: *number, of: 3 }.holds(name)).collect();
            assert_eq!(held, [number], "{name}");
        }
    }

    #[test]
    fn what_is_no_share_is_refused() {
        assert_eq!("3/16".parse::<Shard>().unwrap().to_string(), "3/16");
        for text in ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/2/3", "a/b", "1/1000001"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
