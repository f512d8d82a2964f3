//! The whole application in this process: its real HTTP server on a port that the system chooses, a frozen clock,
//! seeded randomness, the embedded engine in a directory of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "in a test, a panic reports a failure")]

mod capture;
mod seeded;
mod sessions;
mod steps;
mod support;
mod wire;

mod authorize;
mod channels;
mod client_settings;
mod clock_steps;
mod code;
mod cookie_check;
mod discovery;
mod expiry;
mod first_arrivals;
mod foreign_cookies;
mod gate;
mod hostile;
mod inlet;
mod keys;
mod login;
mod login_timeout;
mod logs;
mod max_size;
mod navigation;
mod notice_stream;
mod notices;
mod openapi;
mod operators;
mod ops;
mod panel;
mod place_cookie;
mod prompt;
mod rate_limits;
mod rest;
mod retention;
mod sealed_code;
mod signing;
mod sigv4;
mod simultaneous_tabs;
mod sns;
mod stream;
mod tokens;
mod userinfo;
mod verify;
mod waiting;
