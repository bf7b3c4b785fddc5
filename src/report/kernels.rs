//! Sets of kernels as text: consecutive releases become a range, `6.12–7.0`, both ends included.
//!
//! Which releases are consecutive is a fact of the tables (6.19 is followed by 7.0), so the list
//! comes from them; a kernel that is not in it (a point release, a BTF file) stands by itself.

/// The known releases, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Series(Vec<String>);

impl Series {
    /// The releases in order, as the tables give them.
    pub fn new<S: ToString>(releases: impl IntoIterator<Item = S>) -> Self {
        Self(
            releases
                .into_iter()
                .map(|release| release.to_string())
                .collect(),
        )
    }

    /// `6.12–6.14, 7.0, 7.1.3` for the kernels named, whatever their order.
    pub fn ranges<S: AsRef<str>>(&self, kernels: &[S]) -> String {
        let mut listed: Vec<usize> = Vec::new();
        let mut others: Vec<&str> = Vec::new();
        for kernel in kernels {
            match self.0.iter().position(|release| release == kernel.as_ref()) {
                Some(at) => listed.push(at),
                None => others.push(kernel.as_ref()),
            }
        }
        listed.sort_unstable();
        listed.dedup();
        let mut parts: Vec<String> = Vec::new();
        for run in listed.chunk_by(|a, b| a + 1 == *b) {
            let (Some(first), Some(last)) = (self.name(run.first()), self.name(run.last())) else {
                continue;
            };
            parts.push(if first == last {
                first.to_owned()
            } else {
                format!("{first}–{last}")
            });
        }
        let mut seen: Vec<&str> = Vec::new();
        for other in others {
            if !seen.contains(&other) {
                seen.push(other);
                parts.push(other.to_owned());
            }
        }
        parts.join(", ")
    }

    fn name(&self, at: Option<&usize>) -> Option<&str> {
        at.and_then(|&at| self.0.get(at)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series() -> Series {
        Series::new(["6.12", "6.13", "6.19", "7.0", "7.1"])
    }

    #[test]
    fn neighbours_in_the_tables_become_a_range() {
        assert_eq!(series().ranges(&["7.0", "6.19", "6.13"]), "6.13–7.0");
        assert_eq!(series().ranges(&["6.12", "6.13", "7.0"]), "6.12–6.13, 7.0");
        assert_eq!(series().ranges(&["7.1"]), "7.1");
        assert_eq!(series().ranges::<&str>(&[]), "");
    }

    #[test]
    fn others_stand_by_themselves_and_once() {
        assert_eq!(
            series().ranges(&["7.0.13", "6.12", "vmlinux", "vmlinux"]),
            "6.12, 7.0.13, vmlinux"
        );
    }
}
