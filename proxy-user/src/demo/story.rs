//! The demo's steps, told one line at a time as they are done.

use std::time::Instant;

use super::error::DemoError;
use crate::cli::{Format, Output};

/// Tells the steps on stdout; not with `-o json` or `-q`.
pub(super) struct Story<'a> {
    output: &'a Output,
    steps: u32,
    step: u32,
    since: Instant,
}

impl<'a> Story<'a> {
    pub(super) fn new(output: &'a Output, steps: u32) -> Self {
        Self { output, steps, step: 0, since: Instant::now() }
    }

    /// A step that is done, and how long it took. Further lines of `text` are indented.
    pub(super) fn tell(&mut self, name: &str, text: &str) -> Result<(), DemoError> {
        self.step += 1;
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        if self.output.format != Format::Table || self.output.quiet {
            return Ok(());
        }
        let text = text.replace('\n', &format!("\n{:15}", ""));
        let width = WIDTH.saturating_sub(15);
        let last = text.lines().last().map_or(0, |line| line.trim_start().chars().count());
        let fill = " ".repeat(width.saturating_sub(last));
        Ok(self
            .output
            .text(&format!("{}/{} {name:<10} {text}{fill}  {seconds:.2} s\n", self.step, self.steps))?)
    }
}

/// Of a line without its time.
const WIDTH: usize = 92;
