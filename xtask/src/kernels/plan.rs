//! `kernels.toml`: which kernels there should be and how each is had.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::KernelError;

const PLAN: &str = include_str!("../../kernels.toml");

/// The whole plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Where packages come from and what they are called.
    pub packages: Packages,
    /// The kernels, oldest first.
    #[serde(rename = "kernel")]
    pub kernels: Vec<Entry>,
}

/// Names of packages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// Suites besides the machine's own.
    pub suites: Vec<String>,
    /// Keys that sign them.
    pub keyring: String,
    /// What comes before the release in the name of a package with an image, preferred first.
    pub image_prefixes: Vec<String>,
    /// What such a name ends in.
    pub image_suffix: String,
    /// What comes before the release in the name of the package with the configuration.
    pub config_prefix: String,
}

/// One series.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `6.12`
    pub series: Series,
    /// The package with the source, for a kernel that has to be built.
    pub source: Option<String>,
}

impl Plan {
    /// The plan in the tree.
    pub fn load() -> Result<Plan, KernelError> {
        toml::from_str(PLAN).map_err(|source| KernelError::Plan(Box::new(source)))
    }

    /// The entry a wanted kernel belongs to.
    pub fn entry(&self, wanted: Wanted) -> Result<&Entry, KernelError> {
        self.kernels
            .iter()
            .find(|entry| entry.series == wanted.series)
            .ok_or_else(|| KernelError::NotInPlan {
                wanted,
                known: self
                    .kernels
                    .iter()
                    .map(|entry| entry.series.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

/// `7.1`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Series {
    major: u32,
    minor: u32,
}

/// `7.1` (its newest point release) or `7.1.13`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The series it belongs to.
    pub series: Series,
    /// The point release, if a certain one is meant.
    pub point: Option<u32>,
}

impl Wanted {
    /// Whether that release is what is wanted.
    pub fn accepts(self, release: Point) -> bool {
        release.series == self.series && self.point.is_none_or(|point| point == release.point)
    }
}

/// `7.1.13`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// `7.1`
    pub series: Series,
    /// `13`
    pub point: u32,
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.series, self.point)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.series)?;
        self.point.map_or(Ok(()), |point| write!(f, ".{point}"))
    }
}

/// Not a kernel version.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a kernel version such as 7.1 or 7.1.13")]
pub struct BadVersion(String);

impl FromStr for Wanted {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.split('.').map(str::parse::<u32>);
        match (
            numbers.next(),
            numbers.next(),
            numbers.next(),
            numbers.next(),
        ) {
            (Some(Ok(major)), Some(Ok(minor)), point, None) => Ok(Wanted {
                series: Series { major, minor },
                point: match point {
                    None => None,
                    Some(Ok(point)) => Some(point),
                    Some(Err(_)) => return Err(BadVersion(text.to_owned())),
                },
            }),
            _ => Err(BadVersion(text.to_owned())),
        }
    }
}

impl FromStr for Point {
    type Err = BadVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted: Wanted = text.parse()?;
        wanted
            .point
            .map(|point| Point {
                series: wanted.series,
                point,
            })
            .ok_or_else(|| BadVersion(text.to_owned()))
    }
}

impl TryFrom<String> for Series {
    type Error = BadVersion;

    fn try_from(text: String) -> Result<Self, BadVersion> {
        match text.parse()? {
            Wanted {
                series,
                point: None,
            } => Ok(series),
            Wanted { .. } => Err(BadVersion(text)),
        }
    }
}

/// A package that has a kernel image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePackage {
    /// Its name.
    pub name: String,
    /// The kernel in it.
    pub release: Point,
    /// The part of the name after the prefix: release, revision and flavour.
    pub tail: String,
    preference: usize,
}

impl ImagePackage {
    fn parse(name: &str, packages: &Packages) -> Option<ImagePackage> {
        let (preference, tail) =
            packages
                .image_prefixes
                .iter()
                .enumerate()
                .find_map(|(preference, prefix)| {
                    let tail = name.strip_prefix(prefix.as_str())?;
                    tail.starts_with(|c: char| c.is_ascii_digit())
                        .then_some((preference, tail))
                })?;
        let version = tail.strip_suffix(packages.image_suffix.as_str())?;
        // `7.1.13+deb13`
        let (release, _revision) = version.split_once('+').unwrap_or((version, ""));
        Some(ImagePackage {
            name: name.to_owned(),
            release: release.parse().ok()?,
            tail: tail.to_owned(),
            preference,
        })
    }
}

/// The packages that may hold the wanted kernel, best first: newest release, then the order of
/// the prefixes, then the newest revision.
pub fn candidates(names: &[String], wanted: Wanted, packages: &Packages) -> Vec<ImagePackage> {
    let mut found: Vec<ImagePackage> = names
        .iter()
        .filter_map(|name| ImagePackage::parse(name, packages))
        .filter(|package| wanted.accepts(package.release))
        .collect();
    found.sort_by(|a, b| -> Ordering {
        (b.release.cmp(&a.release))
            .then(a.preference.cmp(&b.preference))
            .then(b.tail.cmp(&a.tail))
    });
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_newest_point_release_is_first_and_a_package_with_an_image_before_an_empty_one() {
        let plan = Plan::load().unwrap();
        let names: Vec<String> = [
            "linux-image-7.2.9+deb13-cloud-amd64",
            "linux-image-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-cloud-amd64",
            "linux-binary-unsigned-7.2.12+deb13-cloud-amd64",
            "linux-binary-7.2.12+deb13-amd64",
            "linux-binary-7.1.13+deb13-cloud-amd64",
            "linux-image-cloud-amd64",
        ]
        .map(str::to_owned)
        .to_vec();
        let found = candidates(&names, "7.2".parse().unwrap(), &plan.packages);
        let found: Vec<&str> = found.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            found,
            [
                "linux-binary-7.2.12+deb13-cloud-amd64",
                "linux-binary-unsigned-7.2.12+deb13-cloud-amd64",
                "linux-image-7.2.12+deb13-cloud-amd64",
                "linux-image-7.2.9+deb13-cloud-amd64",
            ]
        );
    }

    #[test]
    fn a_version_is_a_series_or_a_point_release() {
        assert_eq!("7.1".parse::<Wanted>().unwrap().to_string(), "7.1");
        assert_eq!("7.1.13".parse::<Wanted>().unwrap().to_string(), "7.1.13");
        for bad in ["", "7", "7.x", "7.1.", "7.1.2.3", "v7.1"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
