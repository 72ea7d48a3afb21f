//! What waits for a receiver, oldest first: the batch at the front, then disk, or memory where nothing is on disk.

use std::{collections::VecDeque, io};

use prost::Message;

use crate::{Batching, Event, spill::Spill};

/// Where the batch at the front came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Front {
    Memory,
    Disk,
}

pub(crate) struct Buffer {
    /// The batch that is sent now or next.
    front: VecDeque<Event>,
    of: Front,
    /// Behind it, each with its length on disk; empty where there is anything on disk.
    memory: VecDeque<(Event, usize)>,
    memory_bytes: usize,
    max_memory: usize,
    spill: Spill,
    /// Records that found no room.
    pub(crate) lost: u64,
    /// Why the disk takes none.
    pub(crate) fault: Option<io::Error>,
}

impl Buffer {
    pub(crate) fn new(spill: Spill, max_memory: usize) -> Self {
        Self {
            front: VecDeque::new(),
            of: Front::Memory,
            memory: VecDeque::new(),
            memory_bytes: 0,
            max_memory: max_memory.max(1),
            spill,
            lost: 0,
            fault: None,
        }
    }

    /// Takes one more. Nothing overtakes: while records lie on disk, new ones go behind them.
    pub(crate) fn push(&mut self, event: Event) {
        if !self.spill.is_empty() {
            return self.spill_one(&event);
        }
        let length = event.encoded_len();
        self.memory_bytes += length;
        self.memory.push_back((event, length));
        if self.memory.len() > self.max_memory {
            self.empty_memory();
        }
    }

    /// Fills the front where it is empty. `whole`: also with less than a batch.
    pub(crate) fn fill(&mut self, batching: &Batching, whole: bool) {
        if !self.front.is_empty() {
            return;
        }
        if !self.spill.is_empty() {
            return self.fill_from_disk(batching);
        }
        self.of = Front::Memory;
        if whole || self.memory.len() >= batching.max_records || self.memory_bytes >= batching.max_bytes {
            let mut bytes = 0;
            while let Some((event, length)) = self.memory.pop_front() {
                bytes += length;
                if self.front.len() >= batching.max_records || (bytes > batching.max_bytes && !self.front.is_empty()) {
                    self.memory.push_front((event, length));
                    break;
                }
                self.memory_bytes -= length;
                self.front.push_back(event);
            }
        }
    }

    fn fill_from_disk(&mut self, batching: &Batching) {
        match self.spill.peek(batching.max_records, batching.max_bytes) {
            Ok(found) => {
                self.of = Front::Disk;
                // Their checksums held when they were found, or they were written by this process.
                self.front = found.iter().map(|bytes| Event::decode(bytes.as_slice()).unwrap_or_default()).collect();
            }
            Err(error) => self.fault = Some(error),
        }
    }

    /// The batch at the front.
    pub(crate) fn front(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.front.iter()
    }

    /// The first `count` of the front are dealt with.
    pub(crate) fn done(&mut self, count: usize) {
        let count = count.min(self.front.len());
        self.front.drain(..count);
        if self.of == Front::Disk
            && let Err(error) = self.spill.advance(count)
        {
            self.fault = Some(error);
        }
    }

    /// Sending has failed: what is in memory goes to disk, where a crash does not reach it, as far as there is room.
    pub(crate) fn keep(&mut self) {
        if self.of == Front::Memory && !self.front.is_empty() {
            let records: Vec<_> = self.front.iter().map(Message::encode_to_vec).collect();
            match self.spill.prepend(&records) {
                // Read again when its turn comes.
                Ok(true) => self.front.clear(),
                Ok(false) => {}
                Err(error) => self.fault = Some(error),
            }
        }
        self.empty_memory();
    }

    /// The end: what finds no room on disk is lost.
    pub(crate) fn close(&mut self) {
        self.keep();
        if self.of == Front::Memory {
            self.lost += self.front.len() as u64;
        }
        self.front.clear();
    }

    /// Records in memory.
    pub(crate) fn waiting(&self) -> usize {
        self.memory.len() + if self.of == Front::Memory { self.front.len() } else { 0 }
    }

    /// Records and bytes on disk.
    pub(crate) fn spilled(&self) -> (usize, u64) {
        (self.spill.records(), self.spill.bytes())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front.is_empty() && self.memory.is_empty() && self.spill.is_empty()
    }

    fn empty_memory(&mut self) {
        self.memory_bytes = 0;
        for (event, _) in std::mem::take(&mut self.memory) {
            self.spill_one(&event);
        }
    }

    fn spill_one(&mut self, event: &Event) {
        match self.spill.append(&event.encode_to_vec()) {
            Ok(true) => {}
            Ok(false) => self.lost += 1,
            Err(error) => {
                self.lost += 1;
                self.fault = Some(error);
            }
        }
    }
}
