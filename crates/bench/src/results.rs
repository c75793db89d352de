//! The results: rounds, medians, and the promised ratios.

use std::io::Write as _;
use std::time::Duration;

use crate::load::Measured;

/// One round of one contestant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Answers, events or rows a second.
    pub(crate) per_second: f64,
    /// The median latency, in milliseconds.
    pub(crate) p50: f64,
    /// The 99th percentile of the latency, in milliseconds.
    pub(crate) p99: f64,
}

impl Round {
    /// The round of a load.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer answers than a float can count")]
    pub(crate) fn of(measured: &Measured) -> Self {
        Self {
            per_second: measured.latencies.len() as f64 / measured.elapsed.as_secs_f64(),
            p50: milliseconds(&measured.latencies, 50),
            p99: milliseconds(&measured.latencies, 99),
        }
    }

    /// A round with `count` items in a time.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts further than a float can")]
    pub(crate) fn work(done: usize, time: Duration) -> Self {
        let time = time.as_secs_f64();
        Self { per_second: done as f64 / time, p50: time * 1000.0, p99: time * 1000.0 }
    }
}

/// A percentile of ascending microseconds, in milliseconds.
pub(crate) fn milliseconds(ascending: &[u32], percent: usize) -> f64 {
    let place = (ascending.len() * percent / 100).min(ascending.len().saturating_sub(1));
    f64::from(ascending.get(place).copied().unwrap_or_default()) / 1000.0
}

/// All rounds of one contestant in one workload.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// The workload.
    pub(crate) workload: String,
    /// The contestant.
    pub(crate) contestant: &'static str,
    /// The number of connections.
    pub(crate) connections: usize,
    /// The rounds.
    pub(crate) rounds: Vec<Round>,
}

impl Series {
    /// The median of one figure over the rounds.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

/// The median; of an even number of values the lower of the two middle ones.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// The bound of a promise.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

/// A promise and its figure.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// The promise in words.
    pub(crate) claim: String,
    /// The measured figure.
    pub(crate) reached: f64,
    /// The bound.
    pub(crate) bound: Bound,
}

impl Verdict {
    /// Whether the promise is kept.
    pub(crate) fn is_kept(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.reached >= least,
            Bound::AtMost(most) => self.reached <= most,
        }
    }
}

/// All results of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// The series, in the order in which they were measured.
    pub(crate) series: Vec<Series>,
    /// Promises.
    pub(crate) verdicts: Vec<Verdict>,
    /// Further remarks.
    pub(crate) notes: Vec<String>,
}

impl Results {
    /// Adds a series, and prints it.
    pub(crate) fn add(&mut self, series: Series) {
        say(&format!(
            "{:<28} {:>4} {:<8} {:>10.0} /s   p50 {:>8.2} ms   p99 {:>8.2} ms",
            series.workload,
            series.connections,
            series.contestant,
            series.median(|round| round.per_second),
            series.median(|round| round.p50),
            series.median(|round| round.p99)
        ));
        self.series.push(series);
    }

    /// Checks a promise by the median of the ratios of rounds that ran side by side.
    pub(crate) fn promise(&mut self, workload: &str, connections: usize, of: &str, to: &str, least: f64) {
        let Some(reached) = self.ratio(workload, connections, of, to) else { return };
        let claim = format!("{workload} at {connections} connections: {of} by {to}");
        self.judge(claim, reached, Bound::AtLeast(least));
    }

    /// Adds a promise with its figure.
    pub(crate) fn judge(&mut self, claim: String, reached: f64, bound: Bound) {
        let verdict = Verdict { claim, reached, bound };
        say(&format!(
            "  {}: {reached:.2} {}",
            verdict.claim,
            if verdict.is_kept() { "kept" } else { "MISSED" }
        ));
        self.verdicts.push(verdict);
    }

    fn ratio(&self, workload: &str, connections: usize, of: &str, to: &str) -> Option<f64> {
        let (of, to) = (self.find(workload, connections, of)?, self.find(workload, connections, to)?);
        let ratios = of.rounds.iter().zip(&to.rounds).map(|(of, to)| of.per_second / to.per_second);
        Some(median(ratios.collect()))
    }

    /// The series of a contestant.
    pub(crate) fn find(&self, workload: &str, connections: usize, contestant: &str) -> Option<&Series> {
        self.series.iter().find(|series| {
            series.workload == workload
                && series.connections == connections
                && series.contestant == contestant
        })
    }
}

/// Prints a line of progress.
pub(crate) fn say(line: &str) {
    // If standard output is closed, nobody reads the line.
    let _ = writeln!(std::io::stdout(), "{line}");
}
