//! Webhooks as a part of the service: started when it is ready, stopped with it.

use std::pin::pin;

use anyhow::Context as _;
use identity_http::Readiness;
use identity_log::Log;
use identity_log::follow::Head;
use identity_log::primary::{Primary, Silent};
use identity_webhooks::Webhooks;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// The tasks that send webhooks.
#[derive(Debug)]
pub(crate) struct SendingWebhooks([(oneshot::Sender<()>, JoinHandle<()>); 3]);

impl SendingWebhooks {
    /// Starts them. They begin when the service is ready: read models of an older version may not tell which
    /// subscription gets which event.
    pub(crate) fn start(
        webhooks: Webhooks,
        head: &watch::Receiver<Head>,
        log: Log,
        readiness: &Readiness,
        primary: &Primary,
    ) -> Self {
        let fan_out = {
            let (webhooks, head, log) = (webhooks.clone(), head.clone(), log.clone());
            // The fan-out ends when the channel of the head is closed.
            spawn(readiness, primary, move |_| webhooks.fan_out(head.clone(), log.clone()).run())
        };
        let dispatcher = {
            let webhooks = webhooks.clone();
            spawn(readiness, primary, move |stopped| webhooks.dispatcher(log.clone()).run(stopped))
        };
        let log_sender = {
            let head = head.clone();
            spawn(readiness, primary, move |stopped| webhooks.log_sender(head.clone()).run(stopped))
        };
        Self([fan_out, dispatcher, log_sender])
    }

    /// Tells all of them to end.
    pub(crate) fn stop(self) -> Stopping {
        Stopping(self.0.map(|(stop, task)| {
            let _: Result<(), ()> = stop.send(());
            task
        }))
    }
}

/// The tasks after they were told to end.
#[derive(Debug)]
pub(crate) struct Stopping([JoinHandle<()>; 3]);

impl Stopping {
    /// Waits until they have ended.
    pub(crate) async fn ended(self) -> anyhow::Result<()> {
        for task in self.0 {
            task.await.context("the sending of webhooks was cut off")?;
        }
        Ok(())
    }
}

/// Runs a task when the service is ready. If it never will be, the task does not begin.
fn spawn<Task: Future<Output = ()> + Send>(
    readiness: &Readiness,
    primary: &Primary,
    begin: impl Fn(oneshot::Receiver<()>) -> Task + Send + 'static,
) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel();
    let (mut readiness, primary) = (readiness.clone(), primary.clone());
    let task = tokio::spawn(async move {
        if readiness.wait_for(Option::is_none).await.is_ok() {
            run(&primary, stopped, begin).await;
        }
    });
    (stop, task)
}

/// Runs a task until it is told to stop. When the database falls silent, the task is given up; it begins anew when the database
/// answers. What it was doing is done again when its leases have ended.
async fn run<Task: Future<Output = ()>>(
    primary: &Primary,
    mut stop: oneshot::Receiver<()>,
    begin: impl Fn(oneshot::Receiver<()>) -> Task,
) {
    loop {
        let (stop_task, stopped) = oneshot::channel();
        let mut task = pin!(primary.unless_silent(begin(stopped)));
        tokio::select! {
            ended = &mut task => if ended.is_ok() { return },
            _ = &mut stop => {
                let _: Result<(), ()> = stop_task.send(());
                // The result only says whether it ended or was cancelled.
                let _: Result<(), Silent> = task.await;
                return;
            }
        }
        tracing::warn!("webhooks wait for the database");
        tokio::select! {
            () = primary.answers() => {}
            _ = &mut stop => return,
        }
    }
}
