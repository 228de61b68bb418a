//! Notes of readers: what is left is found, and what lies among them does no harm.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    reason = "a failed unwrap or index is a failed test; cases are tuples"
)]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Asked, MAGIC, MAX_ARGUMENTS, MAX_LEN, Spool, bytes, leave, parse, within};
use crate::audit::Now;
use crate::event::Text;
use crate::event::control::Reader;

const NAME: &str = "00000000000000000001-1.read";

/// A place that looks like that of a log.
fn log() -> TempDir {
    let log = tempfile::tempdir().unwrap();
    fs::create_dir(log.path().join("keys")).unwrap();
    fs::write(log.path().join("keys/log.key"), "").unwrap();
    log
}

fn reader(at_ns: u64) -> Reader {
    let asked = Asked { command: "replay", from: Some(3), to: None, follow: true };
    asked.by_this_process(Now { realtime_ns: at_ns, boottime_ns: 1 })
}

fn notes(log: &Path) -> Vec<PathBuf> {
    fs::read_dir(log.join("reads")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// The directory of notes, with one file in it.
fn with_file(content: &[u8]) -> TempDir {
    let log = log();
    fs::create_dir(log.path().join("reads")).unwrap();
    fs::write(log.path().join("reads").join(NAME), content).unwrap();
    log
}

/// Why the only entry is refused; that it stays, and is told once.
fn refused(log: &Path) -> String {
    let mut spool = Spool::new(log);
    let found = spool.find();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].reader.is_none());
    spool.told(&found[0]);
    assert!(!spool.has_told() && spool.find().is_empty());
    spool.sealed();
    assert_eq!(notes(log).len(), 1);
    found[0].error.clone().unwrap()
}

#[test]
fn a_note_is_found_once_in_order_and_goes_when_it_is_sealed() {
    let log = log();
    assert!(Spool::new(log.path()).find().is_empty(), "nobody read it yet");
    for at in [20, 3, 100] {
        assert!(leave(log.path(), &reader(at)).unwrap());
    }
    assert_eq!(fs::metadata(log.path().join("reads")).unwrap().permissions().mode() & 0o777, 0o700);
    let mut spool = Spool::new(log.path());
    let found = spool.find();
    let readers: Vec<Reader> = found.iter().map(|read| read.reader.clone().unwrap()).collect();
    assert_eq!(readers, [3, 20, 100].map(reader));
    assert_eq!(readers[0].pid, std::process::id());
    assert_eq!(readers[0].uid, rustix::process::geteuid().as_raw());
    let argv: Vec<Text> = std::env::args_os().map(|word| word.as_bytes().into()).collect();
    assert_eq!((&readers[0].argv, readers[0].argv_cut), (&argv, 0));
    for read in &found[..2] {
        spool.told(read);
    }
    assert_eq!(spool.find(), found[2..], "what is told is not found again, nor lost before it is sealed");
    assert_eq!(notes(log.path()).len(), 3);
    spool.sealed();
    assert!(!spool.has_told());
    assert_eq!(
        notes(log.path()),
        [log.path()
            .join("reads")
            .join("00000000000000000100-".to_owned() + &std::process::id().to_string() + ".read")]
    );
}

#[test]
fn a_copy_without_the_key_gets_no_note() {
    let log = tempfile::tempdir().unwrap();
    assert!(!leave(log.path(), &reader(1)).unwrap());
    assert!(!leave(&log.path().join("not there"), &reader(1)).unwrap());
    assert!(!log.path().join("reads").exists());
}

#[test]
fn a_reader_follows_no_link_and_says_where_it_cannot_write() {
    let (log, elsewhere) = (log(), tempfile::tempdir().unwrap());
    symlink(elsewhere.path(), log.path().join("reads")).unwrap();
    let told = leave(log.path(), &reader(1)).unwrap_err().to_string();
    assert!(told.starts_with("leave a note in ") && told.contains("/reads: "), "{told}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    // Nor does the recorder.
    fs::write(elsewhere.path().join(NAME), bytes(&reader(1))).unwrap();
    let found = Spool::new(log.path()).find();
    assert!(
        found.len() == 1 && found[0].error.as_ref().unwrap().starts_with("it cannot be read: "),
        "{found:?}"
    );
    fs::remove_file(log.path().join("reads")).unwrap();
    fs::write(log.path().join("reads"), "a file").unwrap();
    assert!(leave(log.path(), &reader(1)).is_err());
}

#[test]
fn what_is_no_note_is_told_and_stays() {
    let good = bytes(&reader(1));
    assert!(parse(&good, reader(1).uid).is_ok());
    let cases: [(&[u8], &str); 5] = [
        (b"", "does not begin"),
        (b"goaudit-read/2\n", "does not begin"),
        (MAGIC, "no whole note"),
        (&[&good[..], b"x"].concat(), "bytes follow"),
        (&[MAGIC, &vec![0x80; MAX_LEN]].concat(), "more than 65536 bytes"),
    ];
    for (content, why) in cases {
        let told = refused(with_file(content).path());
        assert!(told.contains(why), "{told}");
    }
    let mut other = reader(1);
    other.uid = other.uid.wrapping_add(1);
    assert!(refused(with_file(&bytes(&other)).path()).contains("belongs to user"));
}

#[test]
fn every_beginning_of_a_note_is_refused() {
    let (good, uid) = (bytes(&reader(1)), reader(1).uid);
    for end in 0..good.len() {
        assert!(parse(&good[..end], uid).is_err(), "{end} bytes");
    }
    // A list that claims to be as long as memory.
    let huge = [MAGIC, &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]].concat();
    assert!(parse(&huge, uid).is_err());
}

#[test]
fn links_pipes_and_directories_are_not_followed_nor_waited_for() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), bytes(&reader(1))).unwrap();
    let entries: [(&str, &dyn Fn(&Path)); 4] = [
        ("it is a link", &|path| symlink(secret.path(), path).unwrap()),
        ("no regular file", &|path| fs::create_dir(path).unwrap()),
        ("no regular file", &|path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
                .unwrap();
        }),
        ("second name", &|path| {
            let original = path.parent().unwrap().parent().unwrap().join("original");
            fs::write(&original, bytes(&reader(1))).unwrap();
            fs::hard_link(original, path).unwrap();
        }),
    ];
    for (why, make) in entries {
        let log = log();
        fs::create_dir(log.path().join("reads")).unwrap();
        make(&log.path().join("reads").join(NAME));
        let told = refused(log.path());
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(fs::read(secret.path()).unwrap(), bytes(&reader(1)));
}

#[test]
fn a_note_that_is_being_written_is_waited_for_and_a_cut_off_one_told() {
    let log = with_file(b"");
    let path = log.path().join("reads").join(NAME.to_owned() + ".tmp");
    fs::rename(log.path().join("reads").join(NAME), &path).unwrap();
    assert!(Spool::new(log.path()).find().is_empty());
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_mins(2)).unwrap();
    assert!(refused(log.path()).contains("cut off"));
}

#[test]
fn any_number_of_entries_is_borne() {
    let log = with_file(b"");
    let folder = log.path().join("reads");
    for n in 0..5_000 {
        fs::write(folder.join(format!("junk-{n}")), "").unwrap();
    }
    let mut spool = Spool::new(log.path());
    let mut told = Vec::new();
    for _ in 0..20 {
        let found = spool.find();
        assert!(found.len() <= 65, "{}", found.len());
        for read in found {
            spool.told(&read);
            told.push(read.error.unwrap());
        }
    }
    assert_eq!(told.len(), 64, "told of so many, and then no more");
    assert!(told.iter().any(|why| why.contains("more than 4096")), "{told:?}");
    assert_eq!(fs::metadata(&folder).unwrap().nlink(), 2);
    assert_eq!(notes(log.path()).len(), 5_001);
}

#[test]
fn a_long_command_line_is_cut_at_an_argument() {
    let (kept, cut) = within(vec![b"goaudit".to_vec(), vec![b'x'; MAX_ARGUMENTS], b"y".to_vec()]);
    assert_eq!((kept, cut), (vec!["goaudit".into()], 2));
    let (kept, cut) = within(vec![Vec::new(); 100_000]);
    assert_eq!(kept.len() as u64 + cut, 100_000);
    let note = bytes(&Reader { argv: kept, argv_cut: cut, ..reader(1) });
    assert!(note.len() < MAX_LEN && parse(&note, reader(1).uid).is_ok());
}
