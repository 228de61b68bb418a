//! The programs that are known: planned and put into the kernel's tables when they are seen first, taken out when nobody runs
//! them any more.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goaudit_ebpf::hook::go::PROBES_MAX;

use super::book::{self, Names};
use super::told::{not_attached, unseen};
use super::{GoWatch, Identity, Known, sniff};
use crate::event::Control;
use crate::golang::Program;
use crate::golang::target::Target;

/// After this time a program that nobody runs is forgotten: its file is closed (it may have been deleted), and the places of
/// its functions in the tables are free for others.
const UNUSED: Duration = Duration::from_mins(5);
/// The same when others wait for room. What the functions sent has long been taken from the ring by then: a process's end
/// is told by the ring, too, behind all that the process did.
const UNUSED_IF_FULL: Duration = Duration::from_secs(10);

impl GoWatch {
    /// What to probe in a program; none if it is no Go program, has nothing to probe, or cannot be read.
    pub(super) fn plan(&mut self, file: &File, path: &Path) -> Option<Target> {
        if !sniff::is_go(file) {
            return None;
        }
        let bytes = book::read(file)?;
        let program = match Program::parse(&bytes) {
            Ok(program) => program,
            Err(error) => {
                self.told.push(not_attached("all", path, error.to_string(), "everything in this program"));
                return None;
            }
        };
        let target = Target::plan(&program, &self.config.profile);
        for not_probed in &target.not_probed {
            let function = format!("{} ({})", not_probed.function, path.display());
            let reason = not_probed.reason.clone();
            self.told.push(Control::Probe(unseen(&not_probed.id, function, reason, "its calls")));
        }
        if !target.has_calls() && !self.config.all_panics {
            return None;
        }
        self.load()?;
        Some(target)
    }

    /// Puts a program into the tables; none, which is told, if there is no room or its file cannot be kept open.
    pub(super) fn know(&mut self, file: &File, path: &Path, target: Target) -> Option<Known> {
        let names = match file.try_clone() {
            Ok(file) => Arc::new(Names::new(file)),
            Err(error) => {
                self.told.push(not_attached("all", path, error.to_string(), "its calls"));
                return None;
            }
        };
        match self.add(&target, &names) {
            Ok(indexes) => Some(Known { path: path.to_owned(), names, target, indexes }),
            Err(id) => {
                let reason = format!(
                    "the table of probes is full: the programs that run, or ran within the last seconds, have \
                     {PROBES_MAX} functions together; it is probed when others have ended; else probe fewer functions \
                     (--profile)"
                );
                self.told.push(not_attached(&id, path, reason, "its calls"));
                None
            }
        }
    }

    /// Puts all functions of a program into the tables, or none: then the error is the id of one that has no room.
    fn add(&mut self, target: &Target, names: &Arc<Names>) -> Result<Vec<u32>, String> {
        let mut indexes = Vec::with_capacity(target.planned.len());
        for planned in &target.planned {
            let probes = self.kernel.probes();
            let added = probes
                .map(|probes| probes.add(planned.kernel, &planned.entry_fields, &planned.return_fields));
            let Some(Ok(Some(index))) = added else {
                self.remove(&indexes);
                return Err(planned.id.clone());
            };
            self.book.add(index, planned, target.code_delta, Arc::clone(names));
            let fields = |fields: &[_]| u64::try_from(fields.len()).unwrap_or(u64::MAX);
            let entry = (planned.entry.class, fields(&planned.entry_fields));
            let exit = planned.return_class.map(|class| (class, fields(&planned.return_fields)));
            self.budget.know(index, entry, exit);
            indexes.push(index);
        }
        Ok(indexes)
    }

    /// Takes functions out of the tables.
    fn remove(&mut self, indexes: &[u32]) {
        for index in indexes {
            self.book.remove(*index);
            self.budget.forget(*index);
            if let Some(probes) = self.kernel.probes() {
                // One that cannot be cleared is not given to others, which is all that can be done.
                probes.remove(*index).ok();
            }
        }
    }

    /// Forgets what nobody runs, and looks again at processes that had to wait for that.
    pub(super) fn make_room(&mut self) {
        for waiting in self.crowded.values_mut() {
            waiting.retain(|tgid| Path::new(&format!("/proc/{tgid}")).exists());
        }
        let time = if self.crowded.is_empty() { UNUSED } else { UNUSED_IF_FULL };
        if self.forget_unused(time) > 0 {
            for tgid in std::mem::take(&mut self.crowded).into_values().flatten() {
                self.executed(tgid, None);
            }
        }
    }

    /// Forgets programs that nobody has run for some time, but those of which a probe was too dear: it stays away. Returns how
    /// many.
    fn forget_unused(&mut self, time: Duration) -> usize {
        let used: HashSet<Identity> = self.processes.values().map(|probed| probed.identity).collect();
        let is_unused = |(identity, known): (&Identity, &Option<Arc<Known>>)| {
            let known = known.as_ref().filter(|_| !used.contains(identity))?;
            let dear = known.indexes.iter().any(|index| self.budget.is_spent(*index));
            (!dear).then_some(*identity)
        };
        let unused: Vec<Identity> = self.programs.iter().filter_map(is_unused).collect();
        let now = Instant::now();
        let before = std::mem::take(&mut self.unused);
        let mut forgotten = 0;
        for identity in unused {
            let since = before.get(&identity).copied().unwrap_or(now);
            if now.duration_since(since) < time {
                self.unused.insert(identity, since);
            } else if let Some(Some(known)) = self.programs.remove(&identity) {
                self.keep_health(&known);
                self.remove(&known.indexes);
                forgotten += 1;
            }
        }
        forgotten
    }
}
