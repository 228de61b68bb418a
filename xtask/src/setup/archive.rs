//! Single packages from other Debian suites, without touching the machine's apt set-up.
//!
//! The machine's own sources say which mirror and which key to use; a copy of that stanza with the suite's name
//! replaced goes into a private folder together with private lists. Nothing of it is installed: packages are
//! unpacked and single files taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};

use crate::command::{capture, command, retried};
use crate::workspace::{cache, is_debian};

/// Lists older than this are refreshed before they are asked.
const LISTS_LIVE: Duration = Duration::from_hours(6);

/// Where the machine's apt reads its sources.
const SOURCES: &str = "/etc/apt/sources.list.d";
const SOURCES_LIST: &str = "/etc/apt/sources.list";

/// Private lists of one suite.
pub(super) struct Suite {
    name: &'static str,
    dir: PathBuf,
}

impl Suite {
    /// Opens the suite, refreshing its lists when they are old.
    pub(super) fn open(name: &'static str) -> Result<Self> {
        if !is_debian() {
            bail!("this is not Debian, whose packages are needed here");
        }
        let suite = Self { name, dir: cache().join("apt").join(name) };
        for dir in ["parts", "lists/partial", "archives"] {
            fs::create_dir_all(suite.dir.join(dir))
                .with_context(|| format!("failed to create {}", suite.dir.display()))?;
        }
        let parts = suite.dir.join("parts/suite.sources");
        fs::write(&parts, stanza(name)?).with_context(|| format!("failed to write {}", parts.display()))?;
        let stamp = suite.dir.join("updated");
        let fresh = fs::metadata(&stamp)
            .and_then(|data| data.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok())
            .is_some_and(|age| age < LISTS_LIVE);
        if !fresh {
            retried(&format!("reading the package lists of {name}"), || {
                // Without this option apt-get calls a list that it could not fetch a warning.
                capture(suite.apt("apt-get").args(["update", "-q", "-o", "APT::Update::Error-Mode=any"]))
            })?;
            fs::write(&stamp, "").with_context(|| format!("failed to write {}", stamp.display()))?;
        }
        Ok(suite)
    }

    /// An apt command that sees this suite and nothing else.
    fn apt(&self, program: &str) -> Command {
        let dir = self.dir.display();
        let mut apt = command(program);
        for option in [
            "Dir::Etc::sourcelist=/dev/null".to_owned(),
            format!("Dir::Etc::sourceparts={dir}/parts"),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State::Lists={dir}/lists"),
            "Dir::State::status=/dev/null".to_owned(),
            "Dir::Cache::pkgcache=".to_owned(),
            "Dir::Cache::srcpkgcache=".to_owned(),
            format!("Dir::Cache::archives={dir}/archives"),
            "APT::Sandbox::User=root".to_owned(),
            // Only package lists: no translations, no software-centre metadata.
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }

    /// Names of this suite's packages that start with `prefix`.
    pub(super) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = capture(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Versions of a package that this suite carries.
    pub(super) fn versions(&self, package: &str) -> Result<Vec<String>> {
        let table = capture(self.apt("apt-cache").args(["madison", package]))?;
        Ok(table
            .lines()
            .filter_map(|line| line.split('|').nth(1))
            .map(|cell| cell.trim().to_owned())
            .collect())
    }

    /// Downloads a package (`name` or `name=version`) and unpacks it into a new folder, which the caller removes.
    pub(super) fn unpack(&self, package: &str) -> Result<PathBuf> {
        let dir = self.dir.join(format!("unpack-{}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(dir.join("root"))
            .with_context(|| format!("failed to create {}", dir.display()))?;
        println!("setup: downloading {package} from {}", self.name);
        retried(&format!("downloading {package} from {}", self.name), || {
            capture(self.apt("apt-get").args(["download", "-q", package]).current_dir(&dir))
        })?;
        let deb = fs::read_dir(&dir)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download {package} left no package file"))?;
        capture(command("dpkg-deb").arg("-x").arg(&deb).arg(dir.join("root")))?;
        fs::remove_file(&deb)?;
        Ok(dir.join("root"))
    }

    /// Removes what [`Suite::unpack`] made.
    pub(super) fn discard(unpacked: &Path) {
        if let Some(dir) = unpacked.parent() {
            // Best effort: a folder left in the cache harms nobody.
            fs::remove_dir_all(dir).ok();
        }
    }
}

/// The machine's Debian stanza with the suite replaced, in deb822 form.
fn stanza(suite: &str) -> Result<String> {
    let mut texts = Vec::new();
    if let Ok(entries) = fs::read_dir(SOURCES) {
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let kind =
                path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_owned();
            if kind == "sources" || kind == "list" {
                texts.push((kind, fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    texts.push(("list".to_owned(), fs::read_to_string(SOURCES_LIST).unwrap_or_default()));
    let mirror = texts
        .iter()
        .find_map(
            |(kind, text)| if kind == "sources" { mirror_of_stanzas(text) } else { mirror_of_lines(text) },
        )
        .with_context(|| format!("no Debian archive found in {SOURCES} or {SOURCES_LIST}"))?;
    Ok(mirror.stanza(suite))
}

/// Where the machine gets Debian from.
#[derive(Debug, PartialEq)]
struct Mirror {
    uri: String,
    signed_by: Option<String>,
}

impl Mirror {
    fn stanza(&self, suite: &str) -> String {
        let key = self.signed_by.as_deref().unwrap_or("/usr/share/keyrings/debian-archive-keyring.gpg");
        format!("Types: deb\nURIs: {}\nSuites: {suite}\nComponents: main\nSigned-By: {key}\n", self.uri)
    }
}

/// Security and update archives have other suites than the main one; third parties have other components.
fn is_main_archive(uri: &str, suites: &str, components: &str) -> bool {
    uri.trim_end_matches('/').ends_with("/debian")
        && suites.split_whitespace().any(|suite| !suite.contains('/'))
        && components.split_whitespace().any(|component| component == "main")
}

fn mirror_of_stanzas(text: &str) -> Option<Mirror> {
    text.split("\n\n").find_map(|stanza| {
        let field = |name: &str| {
            stanza
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(|value| value.trim().to_owned())
        };
        let uri = field("URIs")?.split_whitespace().next()?.to_owned();
        is_main_archive(&uri, &field("Suites")?, &field("Components")?)
            .then(|| Mirror { uri, signed_by: field("Signed-By").filter(|key| key.starts_with('/')) })
    })
}

fn mirror_of_lines(text: &str) -> Option<Mirror> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
        is_main_archive(uri, suite, &words.collect::<Vec<_>>().join(" "))
            .then(|| Mirror { uri: uri.to_owned(), signed_by: signed_by.map(str::to_owned) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(uri: &str, key: Option<&str>) -> Mirror {
        Mirror { uri: uri.to_owned(), signed_by: key.map(str::to_owned) }
    }

    #[test]
    fn the_main_archive_is_found_among_stanzas() {
        let text = "Types: deb\nURIs: http://host.invalid/debian-security\nSuites: bookworm-security\nComponents: main\n\n\
                    Types: deb\n# a comment\nURIs: http://host.invalid/debian\nSuites: bookworm bookworm-updates\n\
                    Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n";
        assert_eq!(
            mirror_of_stanzas(text),
            Some(mirror("http://host.invalid/debian", Some("/usr/share/keyrings/k.gpg")))
        );
    }

    #[test]
    fn the_main_archive_is_found_among_lines() {
        let text = "# deb http://old.invalid/debian bookworm main\ndeb http://vendor.invalid/apt stable main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://host.invalid/debian/ bookworm main contrib\n";
        assert_eq!(mirror_of_lines(text), Some(mirror("http://host.invalid/debian/", Some("/k.gpg"))));
        assert_eq!(mirror_of_lines("deb http://host.invalid/ubuntu noble main\n"), None);
    }
}
