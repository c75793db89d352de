//! What the load asks for, workload by workload.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::Rng as _;
use rand::distr::{Distribution as _, Uniform};
use rand::rngs::StdRng;
use rand_distr::Zipf;

use crate::load::Requests;
use crate::seed::Seeded;

/// Writes one request behind what `request` has.
pub(crate) fn write(request: &mut Vec<u8>, method: &str, path: &str, key: &str, body: &str) {
    // Writing into memory does not fail.
    let _ = write!(
        request,
        "{method} /api/v1/identities{path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n"
    );
    if !body.is_empty() {
        let _ = write!(request, "content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    let _ = write!(request, "\r\n{body}");
}

/// The body of a create, with a handle that was never used.
pub(crate) fn birth(handle: &str) -> String {
    format!(
        r#"{{"agent_handle":"{handle}","display_name":"Agent {handle}","description":"Answers letters"}}"#
    )
}

/// Creates, each with a fresh handle.
pub(crate) struct Creates {
    /// Of an admin.
    pub(crate) key: String,
    /// What the handles begin with.
    pub(crate) prefix: String,
    next: AtomicUsize,
}

impl Creates {
    /// Creates whose handles begin with `prefix`.
    pub(crate) fn new(key: &str, prefix: &str) -> Self {
        Self { key: key.to_owned(), prefix: prefix.to_owned(), next: AtomicUsize::new(0) }
    }

    fn write_one(&self, request: &mut Vec<u8>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(request, "POST", "", &self.key, &birth(&format!("{}-{number}", self.prefix)));
    }
}

impl Requests for Creates {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        self.write_one(request);
        true
    }
}

/// Gets of every identity once.
pub(crate) struct Walk {
    /// Of an admin.
    pub(crate) key: String,
    /// What the handles begin with.
    pub(crate) prefix: String,
    /// How many there are.
    pub(crate) count: usize,
    /// How many were asked for.
    pub(crate) next: AtomicUsize,
}

impl Requests for Walk {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        write(request, "GET", &format!("/{}-{number}", self.prefix), &self.key, "");
        number < self.count
    }
}

/// Which identities are asked for.
pub(crate) enum Choice {
    /// All alike.
    Uniform(Uniform<usize>),
    /// A few very often.
    Zipf(Zipf<f64>),
}

impl Choice {
    /// All of `count` alike.
    pub(crate) fn uniform(count: usize) -> anyhow::Result<Self> {
        Ok(Self::Uniform(Uniform::new(0, count)?))
    }

    /// The first of `count` most often, the others as Zipf's law says.
    #[expect(clippy::cast_precision_loss, reason = "there are fewer identities than a float can count")]
    pub(crate) fn zipf(count: usize) -> anyhow::Result<Self> {
        Ok(Self::Zipf(Zipf::new(count as f64, 1.0)?))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are whole numbers from 1"
    )]
    fn pick(&self, random: &mut StdRng) -> usize {
        match self {
            Self::Uniform(uniform) => uniform.sample(random),
            Self::Zipf(zipf) => zipf.sample(random) as usize - 1,
        }
    }
}

/// Gets by handle.
pub(crate) struct Gets {
    /// Of an admin.
    pub(crate) key: String,
    /// What the handles begin with.
    pub(crate) prefix: String,
    /// Which.
    pub(crate) choice: Choice,
}

impl Requests for Gets {
    fn write(&self, _connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.choice.pick(random);
        write(request, "GET", &format!("/{}-{number}", self.prefix), &self.key, "");
        true
    }
}

/// The same request again and again.
pub(crate) struct Same(pub(crate) Vec<u8>);

impl Requests for Same {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        request.extend_from_slice(&self.0);
        true
    }
}

/// Changes to one identity after the other, each to be changed once a turn.
pub(crate) struct Changes {
    /// Of an admin.
    pub(crate) key: String,
    /// Whom.
    pub(crate) seeded: Seeded,
    /// How.
    pub(crate) kind: Change,
    next: AtomicUsize,
}

/// The kinds of change that are measured by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A new handle.
    Rename,
    /// Sight for one viewer.
    Grant,
    /// The end.
    Delete,
}

impl Changes {
    /// Changes of one kind to `seeded`, each identity at most once; grants go on with the next viewer.
    pub(crate) fn new(key: &str, seeded: Seeded, kind: Change) -> Self {
        Self { key: key.to_owned(), seeded, kind, next: AtomicUsize::new(0) }
    }
}

impl Requests for Changes {
    fn write(&self, _connection: usize, _random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.seeded.ids.len();
        let path = format!("/{}", self.seeded.handle(number % count));
        match self.kind {
            Change::Rename if number < count => {
                let body = format!(r#"{{"agent_handle":"{}-renamed-{number}"}}"#, self.seeded.prefix);
                write(request, "PATCH", &path, &self.key, &body);
            }
            Change::Delete if number < count => write(request, "DELETE", &path, &self.key, ""),
            Change::Rename | Change::Delete => return false,
            Change::Grant => {
                let viewer = (number + 1 + number / count) % count;
                let viewer = self.seeded.ids.get(viewer).copied().unwrap_or_default();
                let body = format!(r#"{{"viewer_identity_id":"{viewer}"}}"#);
                write(request, "POST", &format!("{path}/access"), &self.key, &body);
            }
        }
        true
    }
}

/// Ninety gets in a hundred, five changes of the display name, three creates, two grants.
pub(crate) struct Mixed {
    /// Keys of agents, each with the number of its identity. Half of all gets and changes are an agent's own.
    pub(crate) agents: Vec<(usize, String)>,
    /// Who is there already.
    pub(crate) seeded: Seeded,
    /// Creates, with the admin's key.
    pub(crate) creates: Creates,
    /// Counts grants, so that each is of another pair.
    pub(crate) grants: AtomicUsize,
}

impl Mixed {
    fn somebody(&self, random: &mut StdRng) -> (usize, &str) {
        let agent = self.agents.get(random.random_range(0..self.agents.len().max(1)));
        match agent {
            Some((number, key)) if random.random() => (*number, key),
            _ => (random.random_range(0..self.seeded.ids.len()), &self.creates.key),
        }
    }

    fn grant(&self, request: &mut Vec<u8>) {
        let number = self.grants.fetch_add(1, Ordering::Relaxed);
        let count = self.seeded.ids.len();
        let viewer = self.seeded.ids.get((number + 1 + number / count) % count).copied().unwrap_or_default();
        let path = format!("/{}/access", self.seeded.handle(number % count));
        let body = format!(r#"{{"viewer_identity_id":"{viewer}"}}"#);
        write(request, "POST", &path, &self.creates.key, &body);
    }
}

impl Requests for Mixed {
    fn write(&self, _connection: usize, random: &mut StdRng, request: &mut Vec<u8>) -> bool {
        let dice = random.random_range(0..100);
        if dice < 90 {
            let (number, key) = self.somebody(random);
            write(request, "GET", &format!("/{}", self.seeded.handle(number)), key, "");
        } else if dice < 95 {
            let (number, key) = self.somebody(random);
            let body = format!(r#"{{"display_name":"Agent {}"}}"#, random.random::<u32>());
            write(request, "PATCH", &format!("/{}", self.seeded.handle(number)), key, &body);
        } else if dice < 98 {
            self.creates.write_one(request);
        } else {
            self.grant(request);
        }
        true
    }
}
