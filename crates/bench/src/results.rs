//! What came out: rounds, medians, and the ratios that are promised.

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
    /// What one in a hundred exceeds, in milliseconds.
    pub(crate) p99: f64,
}

impl Round {
    /// What a load measured.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer answers than a float can count")]
    pub(crate) fn of(measured: &Measured) -> Self {
        Self {
            per_second: measured.latencies.len() as f64 / measured.elapsed.as_secs_f64(),
            p50: milliseconds(&measured.latencies, 50),
            p99: milliseconds(&measured.latencies, 99),
        }
    }

    /// So many of something in so long.
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
    /// What was done.
    pub(crate) workload: String,
    /// By whom.
    pub(crate) contestant: &'static str,
    /// Over how many connections.
    pub(crate) connections: usize,
    /// What came out.
    pub(crate) rounds: Vec<Round>,
}

impl Series {
    /// The median over the rounds of one of their figures.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(figure).collect())
    }
}

/// The middle one; of an even number the lower of the two middle ones.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// What is promised.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

/// A promise, and what it came to.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// The promise in words.
    pub(crate) claim: String,
    /// What it came to.
    pub(crate) reached: f64,
    /// What was promised.
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

/// Everything that came out of a run.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Figures, in the order in which they came.
    pub(crate) series: Vec<Series>,
    /// Promises.
    pub(crate) verdicts: Vec<Verdict>,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

impl Results {
    /// Takes a series, and tells at once.
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

    /// Holds a promise against the median of the ratios of rounds that were run side by side.
    pub(crate) fn promise(&mut self, workload: &str, connections: usize, of: &str, to: &str, least: f64) {
        let Some(reached) = self.ratio(workload, connections, of, to) else { return };
        let claim = format!("{workload} at {connections} connections: {of} by {to}");
        self.judge(claim, reached, Bound::AtLeast(least));
    }

    /// Notes a promise whose figure is known.
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

/// Tells whoever waits for the bench how it goes.
pub(crate) fn say(line: &str) {
    // Nobody is left to be told when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{line}");
}
