//! The wording of waits and places.

use proptest::prelude::*;

use super::*;

fn wait(low_s: u64, high_s: u64) -> String {
    ENGLISH.wait(Some(Estimate { low_s, high_s }))
}

#[test]
fn a_wait_is_worded_as_a_rounded_range() {
    assert_eq!(ENGLISH.wait(None), "not known yet");
    for (low, high, text) in [
        (0, 0, "less than a minute"),
        (20, 60, "less than a minute"),
        (20, 61, "less than 2 minutes"),
        (59, 175, "less than 3 minutes"),
        (120, 120, "about 2 minutes"),
        (180, 300, "about 3 to 5 minutes"),
        (179, 301, "about 2 to 6 minutes"),
        (540, 660, "about 9 to 15 minutes"),
        (700, 1000, "about 10 to 20 minutes"),
        (2_100, 2_460, "about 30 to 50 minutes"),
        (4_000, 5_400, "about 60 to 90 minutes"),
        (7_200, 7_200, "about 2 hours"),
        (3_000, 7_201, "less than 3 hours"),
        (9_000, 20_000, "about 2 to 6 hours"),
        (86_399, 172_800, "about 23 to 48 hours"),
        (86_400, 90_000, "more than a day"),
        (u64::MAX, u64::MAX, "more than a day"),
    ] {
        assert_eq!(wait(low, high), text, "{low} to {high} s");
    }
}

#[test]
fn a_visitor_with_no_one_ahead_is_next() {
    assert_eq!(ENGLISH.count(0).to_string(), "You are next");
    assert_eq!(ENGLISH.count(1).to_string(), "1 person ahead of you");
    assert_eq!(ENGLISH.count(1_234_567).to_string(), "1,234,567 people ahead of you");
    assert_eq!(ENGLISH.title(0), "You are next");
    assert_eq!(ENGLISH.title(4_231), "4,231 ahead");
}

#[test]
fn an_estimate_counts_the_visitors_own_place() {
    let estimate = |ahead, figures| Estimate::from(room::Estimate::of(ahead, figures));
    assert_eq!(estimate(0, [0.4, 0.7, 0.0]), Estimate { low_s: 0, high_s: 1 });
    assert_eq!(estimate(99, [0.5, 1.0, 10.0]), Estimate { low_s: 40, high_s: 110 });
    assert_eq!(estimate(u64::MAX, [1e9, f64::INFINITY, 1.0]).high_s, u64::MAX);
}

#[test]
fn time_left_is_rounded_down() {
    for (seconds, text) in [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (119, "a minute"),
        (120, "2 minutes"),
        (899, "14 minutes"),
        (7_200, "2 hours"),
    ] {
        assert_eq!(time_left(seconds), text);
    }
}

proptest! {
    #[test]
    fn any_wait_has_words(low_s: u64, more: u64) {
        let text = wait(low_s, low_s.saturating_add(more));
        prop_assert!(!text.is_empty() && !text.contains('{'), "{}", text);
    }
}
