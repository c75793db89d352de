//! Witnesses: whenever something was signed, each of them is asked to cosign the last checkpoints (C2SP tlog-witness), and its
//! cosignatures are stored in their notes.
//!
//! Each witness has a task of its own, which sends one checkpoint at a time. Nothing waits for a witness. Every process of an
//! installation asks: a witness that has cosigned a checkpoint cosigns it again.

mod protocol;
mod witness;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use identity_log::follow::Head;
use identity_log::primary::Primary;
use identity_log::proof::{self, Signed, cosignatures};
use identity_webhooks::address::SystemResolver;
use identity_webhooks::attempt::{DEFAULT_TIMEOUT, Sender};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::CertificateDer;

use self::protocol::{Answer, request};
pub use self::witness::Witness;

/// How long the task waits after new events, until they are signed.
const SIGNING_TIME: Duration = Duration::from_secs(2);

/// The longest time between two rounds. A log for which a witness could not be asked is left out for as long.
const MAX_ROUND_INTERVAL: Duration = Duration::from_mins(1);

/// After how long a witness is asked again for a log that it has refused.
const REFUSAL_INTERVAL: Duration = Duration::from_mins(10);

/// How often a checkpoint is sent in one round, each time from the size that the witness says it has.
const MAX_TRIES: usize = 3;

/// The tasks that ask witnesses. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct AskingWitnesses(Vec<JoinHandle<()>>);

impl AskingWitnesses {
    /// Starts a task for each witness.
    pub(crate) fn start(
        witnesses: &[Witness],
        authorities: &[CertificateDer<'static>],
        pool: &PgPool,
        head: &watch::Receiver<Head>,
        primary: &Primary,
    ) -> anyhow::Result<Self> {
        let asked = witnesses.iter().map(|witness| {
            let resolver = Arc::new(SystemResolver::default());
            let sender = Sender::new(witness::policy(), resolver, DEFAULT_TIMEOUT, authorities)?;
            let (witness, pool) = (witness.clone(), pool.clone());
            let asking = Asking { witness, pool, sender, sizes: HashMap::new(), left_out: HashMap::new() };
            Ok(tokio::spawn(asking.run(head.clone(), primary.clone())))
        });
        asked.collect::<anyhow::Result<_>>().map(Self)
    }
}

impl Drop for AskingWitnesses {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Asks one witness.
struct Asking {
    witness: Witness,
    pool: PgPool,
    sender: Sender,
    /// The size that the witness has of each log, by origin, as far as it has said so.
    sizes: HashMap<String, u64>,
    /// Organizations whose logs it did not cosign, and until when they are left out.
    left_out: HashMap<String, Instant>,
}

impl Asking {
    async fn run(mut self, mut head: watch::Receiver<Head>, primary: Primary) {
        loop {
            let round = primary.unless_silent(self.round()).await;
            if let Ok(Err(error)) = round {
                let (witness, error) = (self.witness.key.name(), format!("{error:#}"));
                tracing::warn!(
                    witness,
                    error,
                    "the witness was not asked for all cosignatures, trying again"
                );
            }
            primary.answers().await;
            // The result does not matter: each round asks the database which checkpoints have no cosignature.
            drop(tokio::time::timeout(MAX_ROUND_INTERVAL, head.changed()).await);
            tokio::time::sleep(SIGNING_TIME).await;
        }
    }

    /// Asks for a cosignature of each last checkpoint that has none. Ends with the first failure, since the witness may be away;
    /// the next round begins with another log.
    async fn round(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        self.left_out.retain(|_, until| *until > now);
        let left_out: Vec<String> = self.left_out.keys().cloned().collect();
        let missing = cosignatures::missing(&self.pool, &self.witness.key, &left_out).await?;
        for (organization_id, signed) in missing {
            let asked = self.ask(&organization_id, &signed).await;
            if let Ok(Some(why)) = &asked {
                tracing::warn!(organization_id, witness = self.witness.key.name(), why, "not cosigned");
            }
            let interval = if asked.is_ok() { REFUSAL_INTERVAL } else { MAX_ROUND_INTERVAL };
            if !matches!(asked, Ok(None)) {
                self.left_out.insert(organization_id, Instant::now() + interval);
            }
            asked?;
        }
        Ok(())
    }

    /// Asks for a cosignature of a checkpoint, and stores it. Returns why there is none.
    async fn ask(&mut self, organization_id: &str, signed: &Signed) -> anyhow::Result<Option<String>> {
        let (origin, size) = (&signed.checkpoint.origin, signed.checkpoint.size);
        for _ in 0..MAX_TRIES {
            let from = self.sizes.get(origin).copied().unwrap_or(0);
            if from > size {
                return self.overtaken(organization_id, from).await;
            }
            match self.send(organization_id, signed, from).await? {
                Answer::Lines(lines) => return self.keep(organization_id, signed, &lines).await,
                Answer::Size(size) => drop(self.sizes.insert(origin.clone(), size)),
                Answer::Refused(status) => return Ok(Some(format!("it answers {status}"))),
            }
        }
        Ok(Some(format!("it has named another size {MAX_TRIES} times")))
    }

    async fn send(&self, organization_id: &str, signed: &Signed, from: u64) -> anyhow::Result<Answer> {
        let to = signed.checkpoint.size;
        let proof = if (1..to).contains(&from) {
            let mut connection = self.pool.acquire().await?;
            proof::prove_consistency(&mut connection, organization_id, signed, from, to).await?
        } else {
            vec![]
        };
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/plain"))]);
        let body = request(from, &proof, &signed.note);
        Answer::read(self.sender.send(&self.witness.url, headers, body.into()).await)
    }

    /// Stores the cosignature in an answer. Lines of keys that are not known are ignored.
    async fn keep(
        &mut self,
        organization_id: &str,
        signed: &Signed,
        lines: &str,
    ) -> anyhow::Result<Option<String>> {
        let Witness { key, .. } = &self.witness;
        let line = lines.lines().find(|line| line.starts_with(&key.line_start())).unwrap_or_default();
        let found = key.find(&format!("{}{line}\n", signed.note)).ok().flatten();
        let Some(cosignature) = found else {
            return Ok(Some("its answer has no valid cosignature by its key".to_owned()));
        };
        cosignatures::add(&self.pool, organization_id, signed, key, &cosignature)
            .await
            .context("cannot store a cosignature")?;
        self.sizes.insert(signed.checkpoint.origin.clone(), signed.checkpoint.size);
        Ok(None)
    }

    /// The witness has cosigned a larger checkpoint than the one that was to be sent. That is well if another process has signed
    /// it meanwhile.
    async fn overtaken(&self, organization_id: &str, cosigned: u64) -> anyhow::Result<Option<String>> {
        let last = proof::last(&self.pool, organization_id).await?;
        let signed = last.map_or(0, |last| last.checkpoint.size);
        Ok((signed < cosigned).then(|| {
            format!(
                "it has cosigned {cosigned} events of this history, and only {signed} are signed here: events were lost, or \
                 there are two histories"
            )
        }))
    }
}
