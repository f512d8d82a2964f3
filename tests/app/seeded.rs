//! A directory with generated signing keys. Generating them takes longer than most tests, so it is done once; each test
//! gets a copy of its own.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::support::TestApp;

static TEMPLATE: OnceCell<TempDir> = OnceCell::const_new();

/// A fresh copy.
pub async fn directory() -> TempDir {
    let template = TEMPLATE.get_or_init(make).await;
    let copy = tempfile::tempdir().unwrap();
    copy_files(template.path(), copy.path());
    copy
}

async fn make() -> TempDir {
    let app = TestApp::in_directory(tempfile::tempdir().unwrap(), "").await;
    app.lobby().run_housekeeping().await;
    app.stop().await
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_files(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
