//! How far an import is, on a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar with the rows that are done and all that there are.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Drawn there, where that is a terminal.
    pub(super) fn on(target: ProgressDrawTarget) -> anyhow::Result<Self> {
        let style = ProgressStyle::with_template("{bar:40} {percent:>3} %  {pos}/{len} rows  {elapsed}  {msg}")?;
        Ok(Self(ProgressBar::with_draw_target(Some(0), target).with_style(style)))
    }

    /// So many rows are done of all, and one of this kind was the last.
    pub(super) fn at(&self, done: u64, all: u64, entity: &str) {
        self.0.set_length(all.max(done));
        self.0.set_position(done);
        if self.0.message() != entity {
            self.0.set_message(entity.to_owned());
        }
    }

    /// Leaves the terminal to what comes after.
    pub(super) fn clear(self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io, sync::Arc};

    use indicatif::TermLike;
    use jiff::{Timestamp, tz::TimeZone};
    use parking_lot::Mutex;

    use super::*;
    use crate::import::{
        Import,
        gateway::Gateway,
        report::Report,
        translate::{Books, World},
        window::Clock,
    };

    /// A terminal that keeps what is written on it.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<Vec<String>>>);

    impl Paper {
        fn says(&self, text: &str) -> bool {
            self.0.lock().iter().any(|line| line.contains(text))
        }
    }

    impl TermLike for Paper {
        fn width(&self) -> u16 {
            120
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().push(text.to_owned());
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_row_that_is_dealt_with_moves_the_bar_on() {
        let paper = Paper::default();
        let bar = Bar::on(ProgressDrawTarget::term_like(Box::new(paper.clone()))).unwrap();
        let progress = |done: u64, all: u64, entity: &str| bar.at(done, all, entity);
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let mut import = Import {
            gateway: Gateway::default(),
            books: Books { budgets: HashMap::new(), aliases: HashMap::new(), clock },
            world: World::default(),
            report: Report::default(),
            all: 3,
            progress: &progress,
        };
        import.unreadable("team", String::new());
        assert!(paper.says("1/3 rows") && paper.says("team"), "{paper:?}");
        assert!(!paper.says("2/3 rows"), "{paper:?}");
        import.unreadable("key", String::new());
        assert!(paper.says("2/3 rows") && paper.says("key"), "{paper:?}");
    }
}
