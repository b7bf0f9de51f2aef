//! What is printed: for people a table for each case, for programs one JSON object a line.

use serde_json::{Value, json};

use super::proxies::Which;
use super::wire::Speech;
use super::{Case, Figures, Memory};

/// What a case came to.
pub(super) struct Results {
    pub(super) case: Case,
    /// Of each round, who was measured without a failed request.
    pub(super) rounds: Vec<Vec<(Which, Figures)>>,
    pub(super) memory: Vec<Vec<(Which, Memory)>>,
    /// Figures that do not count, since a request failed.
    pub(super) void: usize,
    /// Rounds that a median needs.
    pub(super) wanted: usize,
}

impl Results {
    /// The median of a figure; none if too few rounds have one.
    fn of(&self, which: Which, part: fn(&Figures) -> f64) -> Option<f64> {
        let found = self.rounds.iter().filter_map(|round| find(round, which).map(part));
        median(found, self.wanted)
    }

    /// The median of one's figure over the other's of the same round.
    fn ratio(&self, one: Which, other: Which, part: fn(&Figures) -> f64) -> Option<f64> {
        let found = self
            .rounds
            .iter()
            .filter_map(|round| Some(part(find(round, one)?) / part(find(round, other)?)))
            .filter(|ratio| ratio.is_finite());
        median(found, self.wanted)
    }

    fn memory_of(&self, which: Which, part: fn(&Memory) -> f64) -> Option<f64> {
        let found = self.memory.iter().filter_map(|round| find(round, which).map(part));
        median(found.filter(|value| value.is_finite()), 1)
    }

    fn bulk(&self) -> bool {
        self.case.shape.speech == Speech::Bulk
    }

    /// One object.
    pub(super) fn json(&self) -> Value {
        let weir = |part| self.of(Which::Weir, part);
        let ratio = |other, part| self.ratio(Which::Weir, other, part);
        let mut line = json!({
            "name": self.case.name,
            "cpu_us": weir(CPU),
            "p50_us_half_load": self.half(weir(P50_HALF)),
            "ratio_floor": ratio(Which::Floor, CPU),
            "ratio_haproxy": ratio(Which::Haproxy, CPU),
            "ratio_nginx": ratio(Which::Nginx, CPU),
            "ratio_mosn": ratio(Which::Mosn, CPU),
            "cpu_us_half_load": self.half(weir(CPU_HALF)),
            "ratio_haproxy_half_load": self.half(ratio(Which::Haproxy, CPU_HALF)),
            "ratio_floor_p50_half_load": self.half(ratio(Which::Floor, P50_HALF)),
            "memory": self.memory_json(),
            "rounds": self.rounds.len(),
            "void": self.void,
        });
        let rate = weir(RATE);
        if let Some(line) = line.as_object_mut() {
            match self.bulk() {
                true => line.insert("gbps".into(), json!(rate.map(|rate| rate * 8.0 / 1e9))),
                false => line.insert("rps".into(), json!(rate)),
            };
        }
        line
    }

    /// Bulk has no half load.
    fn half(&self, value: Option<f64>) -> Option<f64> {
        value.filter(|_| !self.bulk())
    }

    fn memory_json(&self) -> Value {
        if self.memory.is_empty() {
            return Value::Null;
        }
        let one = |which| {
            json!({
                "idle_connection_bytes": self.memory_of(which, IDLE),
                "total_mb": self.memory_of(which, TOTAL),
                "once_mb": self.memory_of(which, ONCE),
            })
        };
        let all = Which::ALL.into_iter().filter(|which| self.memory_of(*which, TOTAL).is_some());
        Value::Object(all.map(|which| (which.label().to_owned(), one(which))).collect())
    }

    /// Prints a table, and the aims beside what weir reached.
    pub(super) fn print(&self) {
        let unit = if self.bulk() { "MB" } else { "request" };
        let rate = if self.bulk() { "MB/s" } else { "/s" };
        println!("{}, {} rounds, CPU in us per {unit}", self.case.name, self.rounds.len());
        println!(
            "  {:8} {:>8} {:>8} {:>10} {:>9} {:>9} {:>10} {:>9} {:>9}",
            "", "CPU", "x floor", rate, "half: CPU", "P50 us", "idle bytes", "total MB", "once MB"
        );
        for which in Which::ALL {
            let Some(cpu) = self.of(which, CPU) else { continue };
            let scale = if self.bulk() { 1e-6 } else { 1.0 };
            println!(
                "  {:8} {cpu:8.2} {:>8} {:>10} {:>9} {:>9} {:>10} {:>9} {:>9}",
                which.label(),
                show(self.ratio(which, Which::Floor, CPU), 2),
                show(self.of(which, RATE).map(|rate| rate * scale), 0),
                show(self.half(self.of(which, CPU_HALF)), 2),
                show(self.half(self.of(which, P50_HALF)), 0),
                show(self.memory_of(which, IDLE), 0),
                show(self.memory_of(which, TOTAL), 1),
                show(self.memory_of(which, ONCE), 1),
            );
        }
        let against = |other| self.ratio(Which::Weir, other, CPU);
        let mut found: Vec<(&str, Option<f64>, f64)> =
            self.case.aims.iter().map(|(other, aim)| (other.label(), against(*other), *aim)).collect();
        if !self.bulk() {
            let half = |other, part| self.half(self.ratio(Which::Weir, other, part));
            found.push(("floor's P50 at half load", half(Which::Floor, P50_HALF), 1.1));
            if Which::Haproxy.speaks(self.case.shape.speech) {
                found.push(("haproxy's CPU at half load", half(Which::Haproxy, CPU_HALF), 1.0));
            }
        }
        for (what, ratio, aim) in found {
            let word = match ratio {
                None => "not measured",
                Some(ratio) if ratio <= aim => "met",
                Some(_) => "missed",
            };
            println!("  weir / {what}: {}, aim {aim}: {word}", show(ratio, 3));
        }
        if self.void > 0 {
            println!("  {} figures do not count: a request failed", self.void);
        }
        println!();
    }
}

fn find<T>(round: &[(Which, T)], which: Which) -> Option<&T> {
    round.iter().find(|(other, _)| *other == which).map(|(_, figures)| figures)
}

fn show(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn median(values: impl Iterator<Item = f64>, wanted: usize) -> Option<f64> {
    let mut all: Vec<f64> = values.collect();
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied().filter(|_| all.len() >= wanted)
}

const CPU: fn(&Figures) -> f64 = |figures| figures.cpu;
const RATE: fn(&Figures) -> f64 = |figures| figures.rate;
const CPU_HALF: fn(&Figures) -> f64 = |figures| figures.cpu_half;
const P50_HALF: fn(&Figures) -> f64 = |figures| figures.p50_half;
const IDLE: fn(&Memory) -> f64 = |memory| memory.idle_bytes;
const TOTAL: fn(&Memory) -> f64 = |memory| memory.total_mb;
const ONCE: fn(&Memory) -> f64 = |memory| memory.once_mb;

#[cfg(test)]
mod tests {
    use super::super::CASES;
    use super::*;

    /// Rounds in which everyone who speaks the protocol spends its place in [`Which::ALL`] in microseconds.
    fn results(case: Case, rounds: usize) -> Results {
        let figures = |which: Which| {
            let cpu = (which as u8 + 1).into();
            Figures { cpu, rate: 1e9, p50_half: cpu, cpu_half: cpu }
        };
        let who: Vec<Which> =
            Which::ALL.into_iter().filter(|which| which.speaks(case.shape.speech)).collect();
        let round: Vec<(Which, Figures)> = who.iter().map(|which| (*which, figures(*which))).collect();
        let memory = who
            .iter()
            .map(|which| (*which, Memory { idle_bytes: 900.0, total_mb: 8.0, once_mb: 6.0 }))
            .collect();
        let memory = if case.memory { vec![memory] } else { Vec::new() };
        Results { case, rounds: vec![round; rounds], memory, void: 0, wanted: 5 }
    }

    #[test]
    fn a_line_has_the_keys_that_others_read() {
        let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names, ["http1-1k", "bolt-1k-8x32", "bolt-1k-64x1", "tcp-1k", "tcp-bulk"]);
        for case in CASES {
            let line = results(case, 5).json();
            let number = |key: &str| line[key].as_f64();
            assert_eq!(line["name"], case.name);
            assert_eq!((number("cpu_us"), number("ratio_floor")), (Some(2.0), Some(2.0)), "{line}");
            assert_eq!(number("ratio_mosn"), Some(2.0 / 5.0), "{line}");
            let bolt = case.shape.speech == Speech::Bolt;
            for (key, value) in [("ratio_haproxy", 2.0 / 3.0), ("ratio_nginx", 2.0 / 4.0)] {
                let known = !bolt && (key == "ratio_haproxy" || Which::Nginx.speaks(case.shape.speech));
                assert_eq!(number(key), known.then_some(value), "{key}: {line}");
                assert!(line.get(key).is_some(), "null is said: {line}");
            }
            let bulk = case.name == "tcp-bulk";
            assert_eq!(number("gbps"), bulk.then_some(8.0), "{line}");
            assert_eq!(number("rps"), (!bulk).then_some(1e9), "{line}");
            assert_eq!(number("p50_us_half_load"), (!bulk).then_some(2.0), "{line}");
            assert_eq!(number("cpu_us_half_load"), (!bulk).then_some(2.0), "{line}");
            let idle = line["memory"]["weir"]["idle_connection_bytes"].as_f64();
            assert_eq!(idle, case.memory.then_some(900.0), "{line}");
        }
    }

    #[test]
    fn a_figure_of_too_few_rounds_is_none() {
        let mut few = results(CASES[0], 5);
        few.rounds[2].retain(|(which, _)| *which != Which::Nginx);
        let line = few.json();
        assert!(line["ratio_nginx"].is_null() && line["ratio_haproxy"].is_number(), "{line}");
    }

    #[test]
    fn a_ratio_is_of_the_same_round() {
        let mut swings = results(CASES[0], 5);
        for (number, round) in swings.rounds.iter_mut().enumerate() {
            for (_, figures) in round.iter_mut() {
                figures.cpu *= f64::from(u32::try_from(number + 1).unwrap());
            }
        }
        assert_eq!(swings.json()["ratio_haproxy"].as_f64(), Some(2.0 / 3.0));
        assert_eq!(swings.json()["cpu_us"].as_f64(), Some(6.0));
    }
}
