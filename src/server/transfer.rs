//! Moves rooms from one engine to another: a file of JSON lines, written and read by commands.

use std::cell::Cell;
use std::io::{self, BufRead, Write};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::state::{MASTER_SECRET, open_distributed, redis_clients};
use super::{StartError, SystemDeps};
use crate::config::{Config, StoreConfig};
use crate::durable;
use crate::keys::{KeyRing, MasterSecret, MasterSecretError, UnsealError};
use crate::lobby::KEYS_DOCUMENT;
use crate::policy::TRANSFER_LINES;
use crate::store::distributed;
use crate::store::embedded::EmbeddedStore;
use crate::store::transfer::{FORMAT, IMPORT, IMPORTED, IMPORTING, Line, Transfer, TransferError};
use crate::store::{OutboxMode, StoreError};
use crate::telemetry::Telemetry;

/// Why rooms were not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The store does not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store cannot read or write a line.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The file cannot be read or written.
    #[error("the file: {0}")]
    File(#[from] io::Error),
    /// A line is not a line of an export.
    #[error("line {number} of the file is not understood: {reason}")]
    Line {
        /// Counted from 1.
        number: u64,
        /// The cause; it repeats nothing of the line.
        reason: &'static str,
    },
    /// The file lacks the last line of an export.
    #[error("the file is not whole: its last line is missing")]
    Cut,
    /// The master secret cannot be used.
    #[error("the master secret: {0}")]
    Secret(#[from] MasterSecretError),
    /// The signing keys would be unreadable.
    #[error(
        "the master secret is neither in the file nor here: export with --with-master-secret, or put it here first"
    )]
    NoSecret,
    /// The store is in use by other processes.
    #[error("{nodes} of its nodes still serve: stop them first")]
    Serving {
        /// How many processes are subscribed to Redis.
        nodes: u64,
    },
    /// The target has another master secret.
    #[error("there is another master secret here already")]
    OtherSecret,
    /// The file was sealed under another master secret than the one here.
    #[error("the master secret here is not the one of the file: put that here, or export with --with-master-secret")]
    ForeignSecret,
}

impl From<StoreError> for MoveError {
    fn from(error: StoreError) -> Self {
        Self::Transfer(error.into())
    }
}

/// Whether an export contains the master secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SecretLine {
    /// The file is as secret as it.
    Written,
    /// The importing side has it.
    LeftOut,
}

/// Writes the whole content of the store. No service may use it meanwhile. Returns the number of lines.
///
/// # Errors
/// See [`MoveError`].
pub async fn export(
    config: &Config,
    system: &SystemDeps,
    secret: SecretLine,
    out: &mut (dyn Write + Send),
) -> Result<u64, MoveError> {
    if matches!(config.store, StoreConfig::Embedded) && !config.data_dir.join(MASTER_SECRET).exists() {
        return Err(StartError::Empty { path: config.data_dir.clone() }.into());
    }
    let store = open(config, system).await?;
    let count = Cell::new(0);
    let mut write = |line: &Line| -> Result<(), io::Error> {
        serde_json::to_writer(&mut *out, line)?;
        count.set(count.get() + 1);
        out.write_all(b"\n")
    };
    write(&Line::Export { format: FORMAT })?;
    if secret == SecretLine::Written {
        let secret = secret_of(config, &*store).await?;
        write(&Line::MasterSecret { text: secret.to_text().trim().to_owned() })?;
    }
    let (lines, mut said) = mpsc::channel(TRANSFER_LINES);
    let (exported, written) = tokio::join!(store.export(lines), async {
        while let Some(line) = said.recv().await {
            write(&line)?;
        }
        Ok::<_, io::Error>(())
    });
    written?;
    exported?;
    write(&Line::End { lines: count.get() })?;
    out.flush()?;
    store.close().await;
    Ok(count.get())
}

/// Imports an export into an empty store. An incomplete file is refused before anything of an event is written. Returns
/// the number of lines.
///
/// # Errors
/// See [`MoveError`]. The same file may be imported again after an error.
pub async fn import(config: &Config, system: &SystemDeps, input: &mut (dyn BufRead + Send)) -> Result<u64, MoveError> {
    let store = open(config, system).await?;
    let mut reader = Reader { input, count: 0, ended: false };
    // The events' own lines come last: after the line that marks the file as complete.
    let mut events = Vec::new();
    let mut batch = Vec::with_capacity(TRANSFER_LINES);
    let mut begun = false;
    while let Some(line) = reader.next()? {
        match line {
            Line::Export { .. } => continue,
            Line::MasterSecret { text } => store_secret(config, system, &*store, &text).await?,
            _ if !begun && secret_of(config, &*store).await.is_err() => return Err(MoveError::NoSecret),
            Line::Document { ref name, ref body, .. } if name == KEYS_DOCUMENT => {
                readable(body, &secret_of(config, &*store).await?)?;
                batch.push(line);
            }
            Line::Event { .. } => events.push(line),
            line => batch.push(line),
        }
        if !std::mem::replace(&mut begun, true) {
            begin(&*store).await?;
        }
        if batch.len() == TRANSFER_LINES {
            store.import(std::mem::take(&mut batch)).await?;
        }
    }
    batch.append(&mut events);
    store.import(batch).await?;
    mark(&*store, IMPORTED).await?;
    store.close().await;
    Ok(reader.count)
}

/// Marks the store as the target of an import, if nothing prevents it. An interrupted import continues.
async fn begin(store: &dyn Transfer) -> Result<(), MoveError> {
    let broken_off = store.document(IMPORT).await?.is_some_and(|document| document.body == IMPORTING);
    if broken_off {
        return Ok(());
    }
    match store.occupied().await? {
        Some(obstacle) => Err(obstacle.into()),
        None => Ok(mark(store, IMPORTING).await?),
    }
}

/// An error if the signing keys of the file cannot be opened with the master secret here.
fn readable(sealed: &str, secret: &MasterSecret) -> Result<(), MoveError> {
    let sealed = STANDARD.decode(sealed).map_err(|_| TransferError::Nonsense("a document"))?;
    match KeyRing::unseal(&sealed, secret) {
        Err(UnsealError::WrongMasterSecret) => Err(MoveError::ForeignSecret),
        // Other problems with them are reported when they are used.
        _ => Ok(()),
    }
}

/// Records the progress of an import in the store, so that no service uses a partial import.
async fn mark(store: &dyn Transfer, stage: &[u8]) -> Result<(), StoreError> {
    let before = store.document(IMPORT).await?.map_or(0, |document| document.version);
    store.replace_document(IMPORT, before, stage).await.map(drop)
}

struct Reader<'a> {
    input: &'a mut (dyn BufRead + Send),
    count: u64,
    ended: bool,
}

impl Reader<'_> {
    /// The next line; `None` after the last.
    fn next(&mut self) -> Result<Option<Line>, MoveError> {
        let mut text = Zeroizing::new(String::new());
        if self.input.read_line(&mut text)? == 0 {
            return if self.ended { Ok(None) } else { Err(MoveError::Cut) };
        }
        let number = self.count + 1;
        let bad = |reason| MoveError::Line { number, reason };
        let line: Line = serde_json::from_str(&text).map_err(|_| bad("it is no line of an export"))?;
        match line {
            _ if self.ended => return Err(bad("it stands behind the last")),
            Line::Export { format: FORMAT } if number == 1 => {}
            Line::Export { .. } => return Err(bad("another version wrote it, or it is not the first")),
            _ if number == 1 => return Err(bad("an export begins otherwise")),
            Line::End { lines } if lines == self.count => self.ended = true,
            Line::End { .. } => return Err(bad("lines before it are missing")),
            _ => {}
        }
        self.count = number;
        Ok(Some(line))
    }
}

async fn open(config: &Config, system: &SystemDeps) -> Result<Arc<dyn Transfer>, MoveError> {
    Ok(match &config.store {
        StoreConfig::Embedded => Arc::new(EmbeddedStore::open(&config.data_dir).map_err(StartError::from)?),
        StoreConfig::Distributed(shared) => {
            // A process that does not use Redis is not detected.
            let nodes = distributed::serving_nodes(&redis_clients(shared)?, &shared.table_prefix).await;
            if let Some(nodes @ 1..) = nodes {
                return Err(MoveError::Serving { nodes });
            }
            Arc::new(open_distributed(shared, system, OutboxMode::Off, &Arc::new(Telemetry::default())).await?)
        }
    })
}

async fn secret_of(config: &Config, store: &dyn Transfer) -> Result<MasterSecret, MoveError> {
    match &config.store {
        StoreConfig::Embedded => Ok(MasterSecret::load(&config.data_dir.join(MASTER_SECRET))?),
        StoreConfig::Distributed(shared) => match &shared.master_secret {
            Some(secret) => Ok(secret.clone()),
            None => {
                let kept = store.document(MASTER_SECRET).await?.map(|document| document.body);
                Ok(MasterSecret::parse(&String::from_utf8_lossy(&kept.unwrap_or_default()))?)
            }
        },
    }
}

/// Stores the master secret where this deployment keeps its own, unless the same one is there.
async fn store_secret(config: &Config, system: &SystemDeps, store: &dyn Transfer, text: &str) -> Result<(), MoveError> {
    let secret = MasterSecret::parse(text)?;
    match &config.store {
        StoreConfig::Embedded => {
            let path = config.data_dir.join(MASTER_SECRET);
            if !path.exists() {
                return Ok(durable::create(&path, secret.to_text().as_bytes(), &*system.entropy)?);
            }
        }
        // If another one is stored, this has no effect.
        StoreConfig::Distributed(shared) if shared.master_secret.is_none() => {
            store.replace_document(MASTER_SECRET, 0, secret.to_text().as_bytes()).await?;
        }
        // The configuration contains it, so it is stored nowhere else.
        StoreConfig::Distributed(_) => {}
    }
    let same = secret_of(config, store).await?.secret().matches(secret.secret().expose());
    if same { Ok(()) } else { Err(MoveError::OtherSecret) }
}
