//! Single identities, found by one query for all who ask while another query is on its way. Each by itself would take the
//! database and the service as long to ask and to be told as the search itself takes.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};

use super::visible::{IdentityBody, Wanted, find};

/// The most identities that one query finds.
const MOST: usize = 256;

/// How long a query may take: all others wait behind it, and a connection that has died without a word must not hold them up.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to ask for identities. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Finder {
    questions: mpsc::Sender<Question>,
}

/// The task that finds them. Run it with [`Finding::run`].
#[derive(Debug)]
pub struct Finding {
    questions: mpsc::Receiver<Question>,
    pool: PgPool,
}

/// Why an identity was not looked for to the end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FindError {
    /// The database refused, or went away; for all who asked together.
    #[error("database error")]
    Database(#[source] Arc<sqlx::Error>),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Late,
    /// Nobody looks any more.
    #[error("the service is stopping")]
    Stopped,
}

#[derive(Debug)]
struct Question {
    wanted: Wanted,
    reply: oneshot::Sender<Result<Option<IdentityBody>, FindError>>,
}

impl Finder {
    /// A finder in this database. Its [`Finding`] ends when the last clone of it is gone.
    pub fn new(pool: PgPool) -> (Self, Finding) {
        let (sender, questions) = mpsc::channel(MOST);
        (Self { questions: sender }, Finding { questions, pool })
    }

    /// The identity as it is when this is called, or later.
    pub async fn find(&self, wanted: Wanted) -> Result<Option<IdentityBody>, FindError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.questions.send(Question { wanted, reply }).await;
        sent.map_err(|_| FindError::Stopped)?;
        answer.await.map_err(|_| FindError::Stopped)?
    }
}

impl Finding {
    /// Finds what is asked for, as long as somebody may ask.
    pub async fn run(mut self) {
        let mut questions = Vec::with_capacity(MOST);
        while self.questions.recv_many(&mut questions, MOST).await > 0 {
            self.answer(&mut questions).await;
        }
    }

    async fn answer(&self, questions: &mut Vec<Question>) {
        questions.retain(|question| !question.reply.is_closed());
        let (wanted, replies): (Vec<_>, Vec<_>) =
            questions.drain(..).map(|Question { wanted, reply }| (wanted, reply)).unzip();
        if wanted.is_empty() {
            return;
        }
        let answers = match tokio::time::timeout(PATIENCE, find(&self.pool, &wanted)).await {
            Ok(Ok(found)) => found.into_iter().map(Ok).collect(),
            Ok(Err(error)) => vec![Err(FindError::Database(Arc::new(error))); wanted.len()],
            Err(_elapsed) => vec![Err(FindError::Late); wanted.len()],
        };
        for (reply, answer) in replies.into_iter().zip(answers) {
            // Whoever has gone away meanwhile needs no answer.
            drop(reply.send(answer));
        }
    }
}
