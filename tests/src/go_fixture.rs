//! Builds the Go programs of `tests/fixtures/go`, with several Go versions, once.
//!
//! Built programs are kept in `target/fixtures/go`, named after all that went into them, so a second run builds
//! nothing. Other toolchains than the one on PATH come through Go's own mechanism (`GOTOOLCHAIN`, since Go 1.21), which
//! checks them against Go's checksum database and keeps them in the module cache.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

/// Versions that tests use by default: one of the function table's old format, whose code enters at the stack check's
/// jump; and the two newest.
pub const DEFAULT: [&str; 3] = ["1.19.13", "1.26.8", "1.27.3"];

/// Every release with the register calling convention, by its last version.
pub const ALL: [&str; 11] = [
    "1.17.13", "1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.10", "1.23.12", "1.24.11", "1.25.5",
    "1.26.8", "1.27.3",
];

/// Chooses versions: `all`, or a comma-separated list.
pub const VERSIONS: &str = "GOAUDIT_GO_VERSIONS";

/// The versions to test with.
#[must_use]
pub fn versions() -> Vec<String> {
    match std::env::var(VERSIONS) {
        Ok(_) if all() => ALL.map(str::to_owned).to_vec(),
        Ok(list) if !list.is_empty() => list.split(',').map(str::to_owned).collect(),
        _ => DEFAULT.map(str::to_owned).to_vec(),
    }
}

/// Whether all versions are to be tested, and so all fixtures too.
#[must_use]
pub fn all() -> bool {
    std::env::var(VERSIONS).is_ok_and(|versions| versions == "all")
}

/// A Go command of a version, without this machine's Go settings. `Err` says why there is none.
pub fn toolchain(version: &str) -> Result<Toolchain, String> {
    let toolchain = Toolchain { version: version.to_owned() };
    let output =
        toolchain.go().arg("version").output().map_err(|error| format!("go did not start: {error}"))?;
    let told = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && told.contains(&format!("go{version} ")) {
        return Ok(toolchain);
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "go {version} is not on PATH and did not come by GOTOOLCHAIN: {} {}",
        told.trim(),
        why.trim()
    ))
}

/// Runs `test` with each version that is to be tested; those that this machine cannot have are told as skipped.
///
/// # Panics
/// As `test` does.
pub fn each_version(name: &str, test: impl Fn(&Toolchain)) {
    with_versions(name, &versions(), test);
}

/// The same with the newest one alone, unless all are to be tested.
///
/// # Panics
/// As `test` does.
pub fn newest_version(name: &str, test: impl Fn(&Toolchain)) {
    let mut versions = versions();
    if !all() {
        versions.drain(..versions.len().saturating_sub(1));
    }
    with_versions(name, &versions, test);
}

/// The same with these, unless others were chosen.
///
/// # Panics
/// As `test` does.
pub fn these_versions(name: &str, these: &[&str], test: impl Fn(&Toolchain)) {
    let these: Vec<String> = these.iter().map(|version| (*version).to_owned()).collect();
    let chosen = std::env::var_os(VERSIONS).is_some_and(|chosen| !chosen.is_empty());
    with_versions(name, if chosen { versions() } else { these }.as_slice(), test);
}

fn with_versions(name: &str, versions: &[String], test: impl Fn(&Toolchain)) {
    for version in versions {
        match toolchain(version) {
            Ok(toolchain) => test(&toolchain),
            Err(why) => crate::ability::tell_skip(name, &format!("go toolchain {version}"), &why),
        }
    }
}

/// A Go version that works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Toolchain {
    version: String,
}

/// What to build, and how.
#[derive(Debug, Clone, Copy, Hash)]
pub struct Build<'a> {
    /// Folder below `tests/fixtures/go`.
    pub fixture: &'a str,
    /// GOARCH.
    pub arch: &'a str,
    /// Link C code, with the system's C compiler.
    pub cgo: bool,
    /// Further flags of `go build`.
    pub flags: &'a [&'a str],
}

/// Position independent, and without interpreter.
pub const STATIC_PIE: &str = "static PIE";

/// Ways of building that change the code or how it is loaded, by name.
pub const FLAVOURS: [(&str, Build<'static>); 6] = [
    ("-race", Build::of("").cgo().flags(&["-race"])),
    ("-N -l", Build::of("").flags(&["-gcflags=all=-N -l"])),
    ("cgo, external linker", Build::of("").cgo().flags(&["-ldflags=-linkmode=external"])),
    (
        STATIC_PIE,
        Build::of("")
            .cgo()
            .flags(&["-buildmode=pie", "-ldflags=-s -w -linkmode=external -extldflags=-static-pie"]),
    ),
    ("PIE, stripped", Build::of("").flags(&["-buildmode=pie", "-ldflags=-s -w"])),
    ("stripped", Build::of("").flags(&["-ldflags=-s -w"])),
];

/// Those of them that an ordinary run builds, with the newest version: the code of one is not optimized, that of the
/// other is watched.
pub const FEW: [&str; 2] = ["-race", "-N -l"];

impl<'a> Build<'a> {
    /// A plain build for amd64, without C.
    #[must_use]
    pub const fn of(fixture: &'a str) -> Self {
        Self { fixture, arch: "amd64", cgo: false, flags: &[] }
    }

    /// The same with these flags.
    #[must_use]
    pub const fn flags(self, flags: &'a [&'a str]) -> Self {
        Self { flags, ..self }
    }

    /// The same for another architecture.
    #[must_use]
    pub const fn arch(self, arch: &'a str) -> Self {
        Self { arch, ..self }
    }

    /// The same with C code.
    #[must_use]
    pub const fn cgo(self) -> Self {
        Self { cgo: true, ..self }
    }
}

impl Toolchain {
    /// Its version, as in `1.26.8`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its minor release, as in 26.
    #[must_use]
    pub fn minor(&self) -> u32 {
        self.version.split('.').nth(1).and_then(|minor| minor.parse().ok()).unwrap_or_default()
    }

    /// Its `go` command.
    #[must_use]
    pub fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.env("GOTOOLCHAIN", format!("go{}", self.version))
            // A value that every version knows, so that this machine's settings do not count.
            .env("GOFLAGS", "-trimpath")
            .env("GO111MODULE", "on")
            .env("GOOS", "linux")
            .env_remove("GOROOT")
            .env_remove("GOEXPERIMENT")
            .env_remove("GOAMD64")
            .stdin(Stdio::null());
        go
    }

    /// Builds a fixture, or finds it built. Returns the program's path.
    pub fn build(&self, build: &Build<'_>) -> Result<PathBuf> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let source = fixtures().join(build.fixture);
        let directory = target()?.join("fixtures/go");
        fs::create_dir_all(&directory)?;
        let key = key(&source, build)?;
        let path = directory.join(format!("{}-{}-{}-{key:016x}", build.fixture, self.version, build.arch));
        if path.is_file() {
            return Ok(path);
        }
        let _guard = ONE_AT_A_TIME.lock();
        // Another process may build the same: each makes its own file, the last rename wins.
        let unfinished = path.with_extension(format!("{}", std::process::id()));
        let mut go = self.go();
        go.current_dir(&source)
            .env("GOARCH", build.arch)
            .env("CGO_ENABLED", if build.cgo { "1" } else { "0" })
            .args(["build", "-o"])
            .arg(&unfinished);
        if self.minor() >= 18 {
            go.arg("-buildvcs=false");
        }
        let output = go.args(build.flags).arg(".").output().context("go did not start")?;
        if !output.status.success() {
            bail!("{go:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// Runs a tool of the toolchain on a program and returns what it tells.
    pub fn tell(&self, arguments: &[&str], program: &Path) -> Result<String> {
        let output = self.go().args(arguments).arg(program).output().context("go did not start")?;
        if !output.status.success() {
            bail!("go {arguments:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Folder of the fixtures' sources.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/go")
}

fn target() -> Result<PathBuf> {
    // target/PROFILE/deps/TEST-HASH
    let test = std::env::current_exe()?;
    test.ancestors().nth(3).map(Path::to_owned).context("cargo puts tests into target/PROFILE/deps")
}

/// Changes when any file of the fixture, of the modules beside it that it replaces, or any flag does.
fn key(source: &Path, build: &Build<'_>) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    build.hash(&mut hasher);
    let mut open = vec![source.to_owned()];
    let module = fs::read_to_string(source.join("go.mod"))?;
    open.extend(
        module
            .lines()
            .filter_map(|line| line.split_once("=> ../"))
            .map(|(_, beside)| fixtures().join(beside)),
    );
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in
            fs::read_dir(&directory).with_context(|| format!("no fixture {}", directory.display()))?
        {
            let path = entry?.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for file in files {
        file.strip_prefix(fixtures())?.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}
