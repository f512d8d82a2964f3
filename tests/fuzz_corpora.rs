//! The fuzz targets over their committed corpora: what a fuzzer once found stays mended, and the corpora stay readable.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is how a failure is told")]

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anteroom::ambient::{SeededEntropy, random};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// Inputs up to this length are tried cut short at every place as well.
const SHORT: usize = 512;

/// A committed input is a seed: what a fuzzer makes of it is not committed.
const LARGEST: usize = 16 * 1024;

/// How often each input is changed and tried, and the variable that asks for more.
const ROUNDS: usize = 16;
const ROUNDS_VARIABLE: &str = "ANTEROOM_FUZZ_ROUNDS";

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let targets: BTreeSet<String> = fuzz::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder("fuzz_targets")), targets);
    assert_eq!(names(&folder("corpus")), targets);
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let program = fs::read_to_string(folder(&format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("run(\"{name}\", data)")), "{name}");
    }
}

/// The committed inputs of a target, by name.
fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(folder("corpus").join(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = files.map(|file| (file.display().to_string(), fs::read(&file).unwrap())).collect();
    inputs.sort();
    inputs
}

fn holds(name: &str, file: &str, data: &[u8]) {
    let held = catch_unwind(|| fuzz::run(name, data));
    assert!(held.is_ok(), "{name}: {file}: {:?}", String::from_utf8_lossy(data));
}

#[test]
fn the_targets_pass_over_their_corpora() {
    for (name, _) in fuzz::TARGETS {
        let inputs = inputs(name);
        assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
        for (file, data) in inputs {
            assert!(data.len() <= LARGEST, "{file} is no seed");
            let shorter = 0..if data.len() <= SHORT { data.len() } else { 0 };
            shorter.chain([data.len()]).for_each(|length| holds(name, &file, &data[..length]));
        }
    }
}

/// Changes some bytes: replaced, left out, doubled, or taken from another input.
fn mutated(data: &[u8], other: &[u8], entropy: &SeededEntropy) -> Vec<u8> {
    let mut changed = data.to_vec();
    for _ in 0..=random::<1>(entropy)[0] % 4 {
        let [kind, high, low, byte] = random::<4>(entropy);
        let at = usize::from(u16::from_be_bytes([high, low])) % (changed.len() + 1);
        match kind % 5 {
            0 => changed.insert(at, byte),
            1 => changed.truncate(at),
            2 => changed.extend_from_slice(&other[at.min(other.len())..]),
            3 if at < changed.len() => changed[at] ^= 1 << (byte % 8),
            _ => changed.splice(at.., data[at.min(data.len())..].iter().copied()).for_each(drop),
        }
    }
    changed
}

/// Not what a fuzzer finds, but at once and the same each time.
#[test]
fn the_targets_pass_over_mutated_inputs() {
    let rounds = env::var(ROUNDS_VARIABLE).ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(ROUNDS);
    for (name, _) in fuzz::TARGETS {
        let (inputs, entropy) = (inputs(name), SeededEntropy::new(1));
        for round in 0..rounds {
            for (index, (file, data)) in inputs.iter().enumerate() {
                let (_, other) = &inputs[(index + round) % inputs.len()];
                holds(name, file, &mutated(data, other, &entropy));
            }
        }
    }
}
