//! Commands of an event, as they are queued for its commit loop.
//!
//! Owns the queue's messages and how a command is answered. It must not know how commands become a write.

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::draft::Draft;
use super::intent_log::LogRow;
use crate::store::StoreError;

/// What is queued.
pub(super) enum Message {
    Command(Box<dyn Command>),
    /// Finish the commands before it, answer, and stop.
    Stop(oneshot::Sender<()>),
}

/// A queued command.
pub(super) trait Command: Send {
    /// Applies it to the draft; again if the write is refused.
    fn apply(&mut self, draft: &mut Draft<'_>);
    /// Answers its caller, after the write or its failure.
    fn answer(self: Box<Self>, failure: Option<&StoreError>);
    /// Whether it takes positions.
    fn takes(&self) -> bool;
}

struct TypedCommand<F, T> {
    verb: F,
    takes: bool,
    answer: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, F: FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send> Command for TypedCommand<F, T> {
    fn apply(&mut self, draft: &mut Draft<'_>) {
        self.answer = Some((self.verb)(draft));
    }

    fn answer(self: Box<Self>, failure: Option<&StoreError>) {
        let answer = match (failure, self.answer) {
            (None, Some(answer)) => answer,
            (failure, _) => Err(failure.cloned().unwrap_or_else(closed)),
        };
        // The caller may have gone.
        drop(self.reply.send(answer));
    }

    fn takes(&self) -> bool {
        self.takes
    }
}

/// A command that runs `verb`, and answers by `reply`.
pub(super) fn command<T: Send + 'static>(
    verb: impl FnMut(&mut Draft<'_>) -> Result<T, StoreError> + Send + 'static,
    takes: bool,
    reply: oneshot::Sender<Result<T, StoreError>>,
) -> Box<dyn Command> {
    Box::new(TypedCommand { verb, takes, answer: None, reply })
}

/// The error of a store that was closed.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

/// Rows that are in their table, with their epoch.
pub(super) type Done = Arc<Mutex<Vec<(u64, LogRow)>>>;

/// Takes queued commands, up to `most`, or up to the stop: its reply is returned.
pub(super) fn collect(
    waiting: &mut mpsc::UnboundedReceiver<Message>,
    commands: &mut Vec<Box<dyn Command>>,
    most: usize,
) -> Option<oneshot::Sender<()>> {
    while commands.len() < most {
        match waiting.try_recv() {
            Ok(Message::Command(command)) => commands.push(command),
            Ok(Message::Stop(reply)) => return Some(reply),
            Err(_) => return None,
        }
    }
    None
}
