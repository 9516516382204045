//! What was begun and what was acknowledged, by counter and task, in a file that all processes of a run share.
//!
//! A cell is two numbers: increments begun, and of these acknowledged; what was refused has not begun. One task writes it, each number
//! in one write, so whatever becomes of its process, the file says no less than was begun and no more than was acknowledged.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::worker::{KEYS, TASKS};

const CELL: usize = 16;
/// All cells of one counter.
const ROW: usize = CELL * TASKS;

/// The whole of it.
pub(crate) struct Notebook(File);

/// Begun and acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    pub(crate) begun: i64,
    pub(crate) acknowledged: i64,
}

/// One task's column.
pub(crate) struct Column {
    notebook: Notebook,
    task: usize,
    cells: Vec<Noted>,
}

impl Notebook {
    /// Makes an empty one.
    pub(crate) fn make(path: &Path) -> Notebook {
        let notebook = Notebook::open(path);
        notebook.0.set_len((KEYS * ROW) as u64).expect("there is room");
        notebook
    }

    pub(crate) fn open(path: &Path) -> Notebook {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        Notebook(file.expect("the directory is there"))
    }

    /// Of all tasks together.
    pub(crate) fn of(&self, key: usize) -> Noted {
        self.row(key).into_iter().fold(Noted::default(), |sum, cell| Noted {
            begun: sum.begun + cell.begun,
            acknowledged: sum.acknowledged + cell.acknowledged,
        })
    }

    fn row(&self, key: usize) -> Vec<Noted> {
        let mut bytes = [0; ROW];
        self.0.read_exact_at(&mut bytes, (key * ROW) as u64).expect("it is whole");
        let number = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        bytes.chunks(CELL).map(|cell| Noted { begun: number(&cell[..8]), acknowledged: number(&cell[8..]) }).collect()
    }

    /// A task goes on where it was in its process' life before.
    pub(crate) fn column(self, task: usize) -> Column {
        let cells = (0..KEYS).map(|key| self.row(key)[task]).collect();
        Column { notebook: self, task, cells }
    }
}

impl Column {
    /// Before the call.
    pub(crate) fn begin(&mut self, key: usize) {
        self.cells[key].begun += 1;
        self.write(key, 0, self.cells[key].begun);
    }

    /// It was accepted.
    pub(crate) fn acknowledge(&mut self, key: usize) {
        self.cells[key].acknowledged += 1;
        self.write(key, 8, self.cells[key].acknowledged);
    }

    /// It was not, and never will be.
    pub(crate) fn refuse(&mut self, key: usize) {
        self.cells[key].begun -= 1;
        self.write(key, 0, self.cells[key].begun);
    }

    fn write(&self, key: usize, at: usize, number: i64) {
        let at = (key * ROW + self.task * CELL + at) as u64;
        self.notebook.0.write_all_at(&number.to_le_bytes(), at).expect("there is room");
    }
}
