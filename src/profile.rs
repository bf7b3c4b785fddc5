//! The load profile: what user space does to an object between opening and loading it. It sets
//! read-only data, switches programs off and clears `struct_ops` members; each decides what can run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// The name of the configuration file that is read from the current directory without being asked.
pub const CONFIG_FILE: &str = "scx-lint.toml";

/// What user space does before loading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadProfile {
    /// Values of variables in `.rodata`, the last of a name counts.
    pub set: BTreeMap<String, i128>,
    /// Programs that are not loaded.
    pub no_autoload: Vec<String>,
    /// `struct_ops` members that are cleared.
    pub null: Vec<MemberPath>,
}

impl LoadProfile {
    /// Adds `other`, whose settings win.
    pub fn extend(&mut self, other: Self) {
        self.set.extend(other.set);
        self.no_autoload.extend(other.no_autoload);
        self.null.extend(other.null);
    }
}

/// `VAR=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Variable.
    pub variable: String,
    /// Its value; wide enough for any 64-bit one, signed or not.
    pub value: i128,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (variable, value) = text
            .split_once('=')
            .ok_or("expected VAR=VALUE, for example slice_us=20000")?;
        if variable.is_empty() {
            return Err("the variable's name is missing before `=`".to_owned());
        }
        Ok(Self {
            variable: variable.to_owned(),
            value: parse_value(value)?,
        })
    }
}

/// `MAP.MEMBER`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MemberPath {
    /// `struct_ops` map (variable) name.
    pub map: String,
    /// Member.
    pub member: String,
}

impl FromStr for MemberPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('.') {
            Some((map, member)) if !map.is_empty() && !member.is_empty() => Ok(Self {
                map: map.to_owned(),
                member: member.to_owned(),
            }),
            _ => Err("expected MAP.MEMBER, for example simple_ops.cpu_release".to_owned()),
        }
    }
}

impl TryFrom<String> for MemberPath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for MemberPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.map, self.member)
    }
}

/// A number as C writes it, or `true` or `false`.
fn parse_value(text: &str) -> Result<i128, String> {
    let invalid = || format!("`{text}` is no value: expected a 64-bit number, true or false");
    match text {
        "true" => return Ok(1),
        "false" => return Ok(0),
        _ => {}
    }
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16),
        _ if digits.starts_with('+') => return Err(invalid()),
        _ => digits.parse(),
    };
    let value = i128::from(magnitude.map_err(|_| invalid())?);
    let value = if negative { -value } else { value };
    if value < i128::from(i64::MIN) {
        Err(invalid())
    } else {
        Ok(value)
    }
}

/// Why a configuration file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It says something that is not understood.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// 1-based line.
        line: usize,
        /// 1-based column.
        column: usize,
        /// What is wrong, one line.
        message: String,
    },
}

/// The configuration file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    profile: ProfileTable,
}

/// Its `[profile]` table.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct ProfileTable {
    set: BTreeMap<String, Value>,
    no_autoload: Vec<String>,
    null: Vec<MemberPath>,
}

/// A number, a boolean, or a string with what TOML numbers cannot hold.
#[derive(Debug, Deserialize)]
#[serde(try_from = "RawValue")]
struct Value(i128);

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number, a boolean or a string with a number"
)]
enum RawValue {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl TryFrom<RawValue> for Value {
    type Error = String;

    fn try_from(raw: RawValue) -> Result<Self, String> {
        match raw {
            RawValue::Bool(value) => Ok(Self(i128::from(value))),
            RawValue::Number(value) => Ok(Self(i128::from(value))),
            RawValue::Text(text) => parse_value(&text).map(Self),
        }
    }
}

impl LoadProfile {
    /// Reads the `[profile]` table of the configuration file `named`, or of [`CONFIG_FILE`] in the
    /// current directory if none is named and that exists.
    ///
    /// # Errors
    /// When the file cannot be read or has anything in it that is not understood.
    pub fn from_config(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(CONFIG_FILE));
        match std::fs::read_to_string(path) {
            Ok(text) => Self::from_toml(path, &text),
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            Err(source) => Err(ConfigError::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    fn from_toml(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| {
            let before = error
                .span()
                .and_then(|span| text.get(..span.start))
                .unwrap_or_default();
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            ConfigError::Malformed {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
                message: error.message().replace('\n', " "),
            }
        })?;
        let set = config
            .profile
            .set
            .into_iter()
            .map(|(name, Value(value))| (name, value));
        Ok(Self {
            set: set.collect(),
            no_autoload: config.profile.no_autoload,
            null: config.profile.null,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn setting(text: &str) -> Result<i128, String> {
        text.parse().map(|setting: Setting| setting.value)
    }

    #[test]
    fn values_as_c_writes_them() {
        assert_eq!(setting("a=20000"), Ok(20000));
        assert_eq!(setting("a=0x10"), Ok(16));
        assert_eq!(setting("a=-1"), Ok(-1));
        assert_eq!(setting("a=true"), Ok(1));
        assert_eq!(setting("a=18446744073709551615"), Ok(i128::from(u64::MAX)));
        for wrong in [
            "a",
            "=1",
            "a=",
            "a=x",
            "a=1.5",
            "a=+1",
            "a=0x+1",
            "a=--1",
            "a=0x1ffffffffffffffff",
        ] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_profile_table_is_read_in_full() {
        let text = r#"
            [profile]
            no-autoload = ["probe"]
            null = ["simple_ops.cpu_release"]
            [profile.set]
            slice_us = 20_000
            debug = true
            mask = "0xffffffffffffffff"
        "#;
        let profile = LoadProfile::from_toml(Path::new("c.toml"), text).unwrap();
        assert_eq!(profile.set["slice_us"], 20000);
        assert_eq!(profile.set["debug"], 1);
        assert_eq!(profile.set["mask"], i128::from(u64::MAX));
        assert_eq!(profile.no_autoload, ["probe"]);
        assert_eq!(profile.null[0].to_string(), "simple_ops.cpu_release");
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_place() {
        let error = |text| {
            LoadProfile::from_toml(Path::new("c.toml"), text)
                .unwrap_err()
                .to_string()
        };
        let unknown = error("[profile]\nnul = []\n");
        assert!(
            unknown.starts_with("c.toml:2:1: unknown field `nul`"),
            "{unknown}"
        );
        assert!(error("[profile]\nnull = [\"x\"]\n").starts_with("c.toml:2:"));
        assert!(error("[profile.set]\na = []\n").starts_with("c.toml:2:5: expected a number"));
        assert!(error("=").starts_with("c.toml:1:1: "));
        assert_eq!(error("[profile]\n\"\u{1b}\" = 1").lines().count(), 1);
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let mut profile = LoadProfile {
            set: [("a".into(), 1)].into(),
            ..LoadProfile::default()
        };
        profile.extend(LoadProfile {
            set: [("a".into(), 2)].into(),
            ..LoadProfile::default()
        });
        assert_eq!(profile.set["a"], 2);
    }
}
