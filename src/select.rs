//! Which kernels a request means, and where their facts come from.

use std::fs;
use std::path::Path;

use crate::check::Kernels;
use crate::input::Input;
use crate::kernel::{Kernel, KernelSelection, Release, RulesError, Tables};
use crate::{Error, KernelRequest};

/// Where a running kernel shows its own BTF.
const HOST_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Where a running kernel says its release.
const HOST_RELEASE: &str = "/proc/sys/kernel/osrelease";

/// Resolves a request.
///
/// # Errors
/// When tables, selection or BTF cannot be used.
pub fn kernels(request: &KernelRequest) -> Result<Kernels, Error> {
    let tables = tables(request)?;
    let selections = request
        .selection
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<KernelSelection>, RulesError>>()?;
    let kernels = match &request.btf {
        Some(path) => vec![from_file(path, &selections, &tables)?],
        None => from_selection(&selections, &tables)?,
    };
    Ok(Kernels {
        tables,
        kernels,
        named: request.btf.is_some() || !request.selection.is_empty(),
    })
}

/// The tables a request asks for.
///
/// # Errors
/// When they cannot be read or contradict themselves.
pub fn tables(request: &KernelRequest) -> Result<Tables, Error> {
    Ok(match &request.rules {
        Some(directory) => Tables::load(directory)?,
        None => Tables::bundled()?,
    })
}

fn from_selection(selections: &[KernelSelection], tables: &Tables) -> Result<Vec<Kernel>, Error> {
    if selections.is_empty() {
        return Ok(tables.kernels()?);
    }
    let mut kernels = Vec::new();
    let mut releases = Vec::new();
    for selection in selections {
        match selection {
            KernelSelection::Host => kernels.push(host(tables)?),
            selection => releases.extend(selection.releases(tables)?),
        }
    }
    releases.sort_unstable();
    releases.dedup();
    for release in releases {
        kernels.push(tables.kernel(release)?);
    }
    kernels.sort_by_key(|kernel| kernel.release);
    Ok(kernels)
}

fn from_file(
    path: &Path,
    selections: &[KernelSelection],
    tables: &Tables,
) -> Result<Kernel, Error> {
    // `--kernel V` beside `--btf` says which release's behaviour the types belong to.
    let release = match selections {
        [] => None,
        [KernelSelection::One(release)] => Some(*release),
        [KernelSelection::Host] => Some(host_release()?),
        _ => return Err(Error::BtfWithRange),
    };
    let input = Input::open(path)?;
    Ok(Kernel::from_btf(
        &path.display().to_string(),
        input.bytes().to_vec(),
        tables,
        release,
    )?)
}

fn host(tables: &Tables) -> Result<Kernel, Error> {
    let release = host_release()?;
    // sysfs files cannot be mapped everywhere; this one is a few MB.
    let bytes = fs::read(HOST_BTF).map_err(|error| Error::Host {
        what: HOST_BTF,
        error,
    })?;
    Ok(Kernel::from_btf(
        &format!("host ({release})"),
        bytes,
        tables,
        Some(release),
    )?)
}

fn host_release() -> Result<Release, Error> {
    let text = fs::read_to_string(HOST_RELEASE).map_err(|error| Error::Host {
        what: HOST_RELEASE,
        error,
    })?;
    release_of(&text).ok_or_else(|| Error::HostRelease {
        release: text.trim().to_owned(),
    })
}

/// The leading `X.Y[.Z]` of what `uname -r` prints: `6.12.48+deb13-amd64`.
pub fn release_of(uname: &str) -> Option<Release> {
    let end = uname
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(uname.len());
    let parts: Vec<&str> = uname
        .get(..end)?
        .split('.')
        .filter(|part| !part.is_empty())
        .take(3)
        .collect();
    parts.join(".").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::release_of;

    #[test]
    fn releases_of_distribution_kernels() {
        for (uname, release) in [
            ("6.12.48+deb13-amd64", "6.12.48"),
            ("7.3.4\n", "7.3.4"),
            ("7.1-rc3", "7.1"),
            ("6.19.14-cloud", "6.19.14"),
        ] {
            assert_eq!(
                release_of(uname).map(|r| r.to_string()).as_deref(),
                Some(release)
            );
        }
        assert_eq!(release_of("weird"), None);
    }
}
