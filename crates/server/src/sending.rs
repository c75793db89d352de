//! Webhooks as a part of the service: started when it is ready, stopped with it.

use anyhow::Context as _;
use identity_http::Readiness;
use identity_log::Log;
use identity_log::follow::Head;
use identity_webhooks::Webhooks;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// The tasks that send webhooks.
#[derive(Debug)]
pub(crate) struct SendingWebhooks {
    fan_out: JoinHandle<()>,
    senders: [(oneshot::Sender<()>, JoinHandle<()>); 2],
    webhooks: Webhooks,
}

impl SendingWebhooks {
    /// Starts them. They begin when the service is ready: read models of an older version do not say who gets what.
    pub(crate) fn start(
        webhooks: Webhooks,
        head: &watch::Receiver<Head>,
        log: Log,
        readiness: &Readiness,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (stop_log, log_stopped) = oneshot::channel();
        let fan_out = webhooks.fan_out(head.clone(), log.clone()).run();
        let dispatcher = webhooks.dispatcher(log).run(stopped);
        let log_sender = webhooks.log_sender(head.clone()).run(log_stopped);
        Self {
            fan_out: spawn_when_ready(readiness.clone(), fan_out),
            senders: [
                (stop, spawn_when_ready(readiness.clone(), dispatcher)),
                (stop_log, spawn_when_ready(readiness.clone(), log_sender)),
            ],
            webhooks,
        }
    }

    /// Ends them. The fan-out ends because nobody tells it of the log any more.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        self.fan_out.await.context("the fan-out of webhooks was cut off")?;
        for (stop, sender) in self.senders {
            let _: Result<(), ()> = stop.send(());
            sender.await.context("the sending of webhooks was cut off")?;
        }
        self.webhooks.close().await;
        Ok(())
    }
}

/// Runs a task when the service is ready. If it never will be, the task does not begin.
fn spawn_when_ready(
    mut readiness: Readiness,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        if readiness.wait_for(Option::is_none).await.is_ok() {
            task.await;
        }
    })
}
