//! Untrusted input as functions of bytes: one for each parser, with the properties that must hold for any bytes.
//!
//! Each is run by libFuzzer (`fuzz_targets/`) and, over the committed corpora, by `tests/fuzz_corpora.rs`. They panic
//! when a property does not hold. Keys are fixed, so that a corpus has the same meaning in every run; no input contains
//! anything that was sealed or signed under them, unless a target makes it itself.

mod access;
mod oauth;
mod sealed;
mod signed;
mod surroundings;

/// A parser of untrusted bytes.
pub type Target = fn(&[u8]);

/// All of them by name: that of the file in `fuzz_targets/` and of the folder in `corpus/`.
pub const TARGETS: [(&str, Target); 13] = [
    ("ticket", sealed::ticket),
    ("code", sealed::code),
    ("flow", sealed::flow),
    ("cookie", sealed::cookie),
    ("authorize", oauth::authorize),
    ("token", oauth::token),
    ("basic", oauth::basic),
    ("redirect_uri", oauth::redirect_uri),
    ("sigv4", signed::sigv4),
    ("jwt", signed::jwt),
    ("sns", signed::sns),
    ("config", surroundings::config),
    ("forwarded", surroundings::forwarded),
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| target);
    assert!(target.is_some(), "there is no target {name}");
    if let Some(target) = target {
        target(data);
    }
}
