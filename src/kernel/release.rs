//! Kernel releases, and the points in time that ranges in `rules/` are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A kernel release, `6.12` (any point release) or `7.0.13`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Release {
    /// 6 of 6.12.
    pub major: u16,
    /// 12 of 6.12.
    pub minor: u16,
    /// Point release if one was asked for.
    pub patch: Option<u16>,
}

impl Release {
    /// The series it belongs to: `7.0` of `7.0.13`.
    pub fn series(self) -> Release {
        Release {
            patch: None,
            ..self
        }
    }

    /// The first kernel it can mean: `7.0` is 7.0.0.
    pub(crate) fn first(self) -> Point {
        Point {
            major: self.major,
            minor: self.minor,
            patch: self.patch.unwrap_or(0),
        }
    }

    /// The last kernel it can mean: `7.0` reaches past every 7.0.y.
    pub(crate) fn last(self) -> Point {
        Point {
            major: self.major,
            minor: self.minor,
            patch: self.patch.unwrap_or(u16::MAX),
        }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.patch {
            Some(patch) => write!(f, ".{patch}"),
            None => Ok(()),
        }
    }
}

/// A text that is not a kernel release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kernel release; write `6.12` or `7.0.13`")]
pub struct NotARelease(pub String);

impl FromStr for Release {
    type Err = NotARelease;

    fn from_str(text: &str) -> Result<Release, NotARelease> {
        let wrong = || NotARelease(text.to_owned());
        let number = |part: &str| -> Result<u16, NotARelease> {
            // u16::from_str takes a leading `+`, a release does not.
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
            part.parse().map_err(|_| wrong())
        };
        let mut parts = text.split('.');
        let (Some(major), Some(minor)) = (parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let patch = parts.next().map(number).transpose()?;
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Release {
            major: number(major)?,
            minor: number(minor)?,
            patch,
        })
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Release, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Release {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One exact kernel, to compare with the ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Point {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

impl Point {
    /// Before every kernel.
    pub const START: Point = Point {
        major: 0,
        minor: 0,
        patch: 0,
    };
    /// After every kernel.
    pub const END: Point = Point {
        major: u16::MAX,
        minor: u16::MAX,
        patch: u16::MAX,
    };
}

/// When something holds, as the line formats of `rules/` write it: nothing (always), `6.13..`,
/// `..6.16`, `6.13..6.16` (inclusive), and `6.13~6.16..` for what is there from 6.16, is not there
/// before 6.13, and is not known in between. `~6.16..` knows nothing of what was before, `7.1~..`
/// is never certain, and `~..` knows nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// First kernel that may have it.
    pub maybe_since: Point,
    /// First kernel that has it.
    pub since: Point,
    /// Last kernel that has it.
    pub until: Point,
    /// Last kernel that may have it.
    pub maybe_until: Point,
}

impl Range {
    /// At every time.
    pub const ALWAYS: Range = Range {
        maybe_since: Point::START,
        since: Point::START,
        until: Point::END,
        maybe_until: Point::END,
    };

    /// What the range says of a kernel; `None` where it does not say.
    pub fn holds(&self, at: Point) -> Option<bool> {
        if at < self.maybe_since || at > self.maybe_until {
            Some(false)
        } else if at < self.since || at > self.until {
            None
        } else {
            Some(true)
        }
    }

    /// Whether a kernel may be in both.
    pub fn overlaps(&self, other: &Range) -> bool {
        self.maybe_since <= other.maybe_until && other.maybe_since <= self.maybe_until
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let Some((since, until)) = text.split_once("..") else {
            return Err(format!(
                "`{text}` is not a range; write `6.13..`, `..6.16` or `6.13..6.16`"
            ));
        };
        let release = |text: &str| text.parse::<Release>().map_err(|e| e.to_string());
        let (maybe_since, since) = match since.split_once('~') {
            Some((maybe, since)) => (
                if maybe.is_empty() {
                    Point::START
                } else {
                    release(maybe)?.first()
                },
                if since.is_empty() {
                    Point::END
                } else {
                    release(since)?.first()
                },
            ),
            None if since.is_empty() => (Point::START, Point::START),
            None => (release(since)?.first(), release(since)?.first()),
        };
        let (until, maybe_until) = match until.split_once('~') {
            Some((until, maybe)) => (
                release(until)?.last(),
                if maybe.is_empty() {
                    Point::END
                } else {
                    release(maybe)?.last()
                },
            ),
            None if until.is_empty() => (Point::END, Point::END),
            None => (release(until)?.last(), release(until)?.last()),
        };
        if maybe_since > since || since > until || until > maybe_until {
            return Err(format!("the range `{text}` is empty or out of order"));
        }
        Ok(Range {
            maybe_since,
            since,
            until,
            maybe_until,
        })
    }
}
