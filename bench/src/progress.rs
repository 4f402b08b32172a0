//! How far a run is: a bar with the time left on a terminal, plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two plain lines about one training.
const PATIENCE: Duration = Duration::from_secs(10);

/// Progress of a run on standard error.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
    started: Instant,
    total: u64,
    done: u64,
    /// Work that was there already: says nothing about the speed.
    reused: u64,
}

impl Progress {
    /// For `total` units of work.
    pub(crate) fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed} of about {duration}  {msg}");
            ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last: Instant::now(), started: Instant::now(), total, done: 0, reused: 0 }
    }

    /// `units` of work are done, of which the message tells.
    pub(crate) fn advance(&mut self, units: u64, message: impl FnOnce() -> String) {
        self.done += units;
        match &self.bar {
            Some(bar) => {
                bar.set_message(message());
                bar.inc(units);
            }
            None if self.last.elapsed() > PATIENCE => {
                self.last = Instant::now();
                let line = format!("{}{}", message(), self.left());
                say(&line);
            }
            None => {}
        }
    }

    /// `units` of work were done by an earlier process, or will never be.
    pub(crate) fn skip(&mut self, units: u64) {
        self.reused += units;
        self.done += units;
        if let Some(bar) = &self.bar {
            bar.inc(units);
            bar.reset_eta();
        }
    }

    /// A line that stays.
    pub(crate) fn line(&mut self, text: &str) {
        self.last = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| say(text)),
            None => say(text),
        }
    }

    fn left(&self) -> String {
        let (own, missing) = (self.done - self.reused, self.total.saturating_sub(self.done));
        if own == 0 {
            return String::new();
        }
        let seconds = self.started.elapsed().as_secs_f64() * missing as f64 / own as f64;
        format!(", about {} left", duration(seconds))
    }

    /// Removes the bar.
    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A line on standard error; if nobody can read it, nothing is lost.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Seconds, for people.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 100.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
