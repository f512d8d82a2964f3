//! The recorded answers with their times, and the invariants that must hold whatever failed.
//!
//! Times are of one clock, the test's. A request was answered from the state after it was sent and before it was
//! answered; nothing is assumed about the order of two overlapping requests. Must not know how the answers were
//! obtained.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// When a request was sent, and when it was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    pub asked: Duration,
    pub answered: Duration,
}

/// A position given to a visitor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Join {
    pub span: Span,
    pub position: u64,
}

/// The operator moved the serving counter by an odd number; the inlet moves it by even ones only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    pub span: Span,
    /// The resulting counter.
    pub served: u64,
    /// Whether an earlier move since the last of these was not answered.
    pub unsure: bool,
}

/// The claims of a ticket's tokens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    pub span: Span,
    pub ticket: String,
    pub position: u64,
    pub claims: String,
}

/// The outcome of concurrent redemptions of one code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redeemed {
    /// How many got tokens.
    pub taken: usize,
    /// Whether one of them was not answered.
    pub unsure: bool,
}

/// See the module's documentation.
#[derive(Default, Debug)]
pub struct History {
    pub joins: Vec<Join>,
    /// The serving counter as shown by each node to one caller, request after request.
    pub shown: BTreeMap<usize, Vec<(Duration, u64)>>,
    /// Unanswered joins, whose position is unknown.
    pub unheard: u64,
    /// The moves of the only operator, one after the other.
    pub moves: Vec<Move>,
    pub tokens: Vec<Token>,
    pub codes: Vec<Redeemed>,
    /// Tickets whose sessions were closed.
    pub closed: BTreeSet<String>,
    /// Answers that are violations.
    pub wrong: Vec<String>,
}

impl History {
    /// All violations.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = self.wrong.clone();
        faults.extend(self.positions_twice());
        faults.extend(self.positions_out_of_order());
        faults.extend(self.unowned_positions());
        faults.extend(self.steps_back());
        faults.extend(self.inconsistent_moves());
        faults.extend(self.claims_changed());
        faults.extend(self.let_in_too_early());
        faults.extend(self.inconsistent_codes());
        faults
    }

    /// The delays: of a join, and from the operator's answer until a node showed the move. Median and maximum of each;
    /// for information only.
    pub fn figures(&self) -> String {
        let joins = self.joins.iter().map(|join| join.span.answered.saturating_sub(join.span.asked)).collect();
        let shown = |moved: &Move| {
            let until = |shown: &Vec<(Duration, u64)>| {
                let first = shown.iter().find(|(_, number)| *number >= moved.served);
                first.map(|(at, _)| at.saturating_sub(moved.span.answered))
            };
            self.shown.values().filter_map(until).collect::<Vec<_>>()
        };
        let shown = self.moves.iter().flat_map(shown).collect();
        format!("a join {}, a move shown {}", middle_and_longest(joins), middle_and_longest(shown))
    }

    fn positions_twice(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let twice = self.joins.iter().filter(|join| !seen.insert(join.position));
        twice.map(|join| format!("position {} was given to two", join.position)).collect()
    }

    /// A join sent after another was answered has a later position.
    fn positions_out_of_order(&self) -> Vec<String> {
        let mut by_answer: Vec<&Join> = self.joins.iter().collect();
        by_answer.sort_by_key(|join| join.span.answered);
        let mut by_question = by_answer.clone();
        by_question.sort_by_key(|join| join.span.asked);
        let (mut answered, mut last, mut faults) = (by_answer.into_iter().peekable(), 0, Vec::new());
        for join in by_question {
            while let Some(before) = answered.next_if(|before| before.span.answered < join.span.asked) {
                last = last.max(before.position);
            }
            if join.position < last {
                faults.push(format!("position {} was given after position {last}", join.position));
            }
        }
        faults
    }

    /// A join takes one position, however often the store call was retried.
    fn unowned_positions(&self) -> Option<String> {
        let last = self.joins.iter().map(|join| join.position).max().unwrap_or(0);
        let nobodys = last.saturating_sub(self.joins.len() as u64);
        (nobodys > self.unheard).then(|| format!("{nobodys} positions are nobody's, of {} unheard joins", self.unheard))
    }

    /// A move is applied once, however often the store call was retried.
    fn inconsistent_moves(&self) -> Vec<String> {
        let sure = self.moves.windows(2).filter(|pair| !pair[1].unsure);
        let steps = sure.map(|pair| (pair[0].served, pair[1].served));
        let odd = steps.filter(|(before, then)| then <= before || (then - before).is_multiple_of(2));
        odd.map(|(before, then)| format!("the operator was told of {before}, then of {then}")).collect()
    }

    fn steps_back(&self) -> Vec<String> {
        let back = |(node, shown): (&usize, &Vec<(Duration, u64)>)| {
            let pairs = shown.windows(2).map(|pair| (pair[0].1, pair[1].1));
            let steps = pairs.filter(|(before, then)| then < before);
            steps.map(|(before, then)| format!("node {node} showed {before} served, then {then}")).collect::<Vec<_>>()
        };
        self.shown.iter().flat_map(back).collect()
    }

    fn claims_changed(&self) -> Vec<String> {
        let mut claims = HashMap::new();
        let changed = self.tokens.iter().filter(|token| {
            let first = claims.entry(token.ticket.as_str()).or_insert(token.claims.as_str());
            *first != token.claims
        });
        changed.map(|token| format!("the claims of position {} changed: {}", token.position, token.claims)).collect()
    }

    /// Visitors with a token from before a move below their position was requested.
    fn let_in_too_early(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for token in &self.tokens {
            let later = self.moves.iter().filter(|later| token.span.answered < later.span.asked);
            let served = later.map(|later| later.served).min();
            if let Some(served) = served.filter(|served| *served < token.position) {
                faults.push(format!("position {} had a token when {served} were served", token.position));
            }
        }
        faults
    }

    fn inconsistent_codes(&self) -> Vec<String> {
        let odd = self.codes.iter().filter(|code| code.taken > 1 || code.taken == 0 && !code.unsure);
        odd.map(|code| format!("a code was redeemed {} times", code.taken)).collect()
    }
}

fn middle_and_longest(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    format!("{middle:.0?} … {:.0?}", times.last().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(asked: u64, answered: u64) -> Span {
        Span { asked: Duration::from_millis(asked), answered: Duration::from_millis(answered) }
    }

    fn join(asked: u64, answered: u64, position: u64) -> Join {
        Join { span: span(asked, answered), position }
    }

    fn moved(asked: u64, answered: u64, served: u64) -> Move {
        Move { span: span(asked, answered), served, unsure: false }
    }

    fn token(answered: u64, position: u64, claims: &str) -> Token {
        let ticket = format!("ticket {position}");
        Token { span: span(0, answered), ticket, position, claims: claims.to_owned() }
    }

    #[test]
    fn a_valid_history_has_no_violations() {
        let shown = |numbers: &[u64]| numbers.iter().map(|number| (Duration::ZERO, *number)).collect();
        let history = History {
            // The first two overlap: either may be before the other.
            joins: vec![join(0, 5, 2), join(1, 4, 1), join(6, 7, 3)],
            shown: [(0, shown(&[0, 2, 2, 3])), (1, shown(&[1]))].into(),
            moves: vec![moved(2, 3, 2), moved(8, 9, 3), Move { unsure: true, ..moved(10, 11, 9) }],
            tokens: vec![token(5, 2, "a"), token(6, 2, "a"), token(9, 3, "b")],
            codes: vec![Redeemed { taken: 1, unsure: false }, Redeemed { taken: 0, unsure: true }],
            ..History::default()
        };
        assert_eq!(history.faults(), Vec::<String>::new());
    }

    #[test]
    fn each_violation_is_found() {
        let found = |history: History| history.faults();
        let joins = |joins: &[Join]| found(History { joins: joins.to_vec(), unheard: 5, ..History::default() });
        assert_eq!(joins(&[join(0, 9, 1), join(0, 9, 1)]), ["position 1 was given to two"]);
        assert_eq!(joins(&[join(0, 1, 7), join(2, 3, 6)]), ["position 6 was given after position 7"]);
        let shown = [(2, vec![(Duration::ZERO, 4), (Duration::ZERO, 3)])].into();
        assert_eq!(found(History { shown, ..History::default() }), ["node 2 showed 4 served, then 3"]);
        let tokens = vec![token(1, 5, "a"), token(2, 5, "b")];
        assert_eq!(found(History { tokens, ..History::default() }), ["the claims of position 5 changed: b"]);
        let nobodys = History { joins: vec![join(0, 1, 1), join(2, 3, 4)], unheard: 1, ..History::default() };
        assert_eq!(found(nobodys), ["2 positions are nobody's, of 1 unheard joins"]);
        let moves = vec![moved(0, 1, 3), moved(2, 3, 9)];
        assert_eq!(found(History { moves, ..History::default() }), ["the operator was told of 3, then of 9"]);
        let (tokens, moves) = (vec![token(1, 5, "a")], vec![moved(2, 3, 4)]);
        let early = History { tokens, moves, ..History::default() };
        assert_eq!(found(early), ["position 5 had a token when 4 were served"]);
        let codes = vec![Redeemed { taken: 2, unsure: true }, Redeemed { taken: 0, unsure: false }];
        let codes = found(History { codes, ..History::default() });
        assert_eq!(codes, ["a code was redeemed 2 times", "a code was redeemed 0 times"]);
        let wrong = vec!["500".to_owned()];
        assert_eq!(found(History { wrong, ..History::default() }), ["500"]);
    }
}
