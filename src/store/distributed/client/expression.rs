//! Condition and update expressions of DynamoDB, as far as this engine uses them, for the item store in memory.
//!
//! "Condition and filter expressions" and "Update expressions" of DynamoDB's developer guide. What is not understood
//! panics: a test must not pass because a condition was read wrongly.

use aws_sdk_dynamodb::types::AttributeValue;

use super::attributes::Attributes;
use super::item_store::Condition;

type Values = [(String, AttributeValue)];

/// Whether the condition holds for the item as it stands (empty: there is none).
pub(super) fn holds(condition: &Condition, item: &Attributes) -> bool {
    let Some(expression) = &condition.expression else { return true };
    let mut reader = Reader::new(expression, &condition.values, item);
    let held = reader.any();
    assert!(reader.is_done(), "not understood: {expression}");
    held
}

/// Applies an update expression.
pub(super) fn update(change: &str, values: &Values, item: &mut Attributes) {
    let before = item.clone();
    let mut reader = Reader::new(change, values, &before);
    let mut kind = "";
    while let Some(word) = reader.next() {
        match word {
            "SET" | "ADD" => kind = if word == "SET" { "SET" } else { "ADD" },
            "," => {}
            name if kind == "SET" => {
                reader.expect("=");
                let value = reader.operand().expect("a value");
                item.0.insert(name.to_owned(), value);
            }
            name if kind == "ADD" => {
                let by = number(&reader.operand().expect("a number"));
                let sum = before.0.get(name).map_or(0, number) + by;
                item.0.insert(name.to_owned(), AttributeValue::N(sum.to_string()));
            }
            word => panic!("not understood: {word} in {change}"),
        }
    }
}

/// How two values are ordered; `None`: they are of different kinds.
pub(super) fn compare(one: &AttributeValue, other: &AttributeValue) -> Option<std::cmp::Ordering> {
    match (one, other) {
        (AttributeValue::N(_), AttributeValue::N(_)) => Some(number(one).cmp(&number(other))),
        (AttributeValue::S(one), AttributeValue::S(other)) => Some(one.cmp(other)),
        (AttributeValue::B(one), AttributeValue::B(other)) => Some(one.as_ref().cmp(other.as_ref())),
        _ => None,
    }
}

fn number(value: &AttributeValue) -> i128 {
    value.as_n().expect("a number").parse().expect("a whole number")
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    values: &'a Values,
    item: &'a Attributes,
}

impl<'a> Reader<'a> {
    fn new(expression: &'a str, values: &'a Values, item: &'a Attributes) -> Self {
        Self { words: words(expression), at: 0, values, item }
    }

    fn is_done(&self) -> bool {
        self.at == self.words.len()
    }

    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    fn expect(&mut self, word: &str) {
        assert_eq!(self.next(), Some(word), "in {:?}", self.words);
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> bool {
        let mut held = self.all();
        while self.takes("OR") {
            held |= self.all();
        }
        held
    }

    fn all(&mut self) -> bool {
        let mut held = self.term();
        while self.takes("AND") {
            held &= self.term();
        }
        held
    }

    fn term(&mut self) -> bool {
        if self.takes("(") {
            let held = self.any();
            self.expect(")");
            return held;
        }
        if let Some(exists) = [("attribute_exists", true), ("attribute_not_exists", false)]
            .into_iter()
            .find_map(|(name, exists)| self.takes(name).then_some(exists))
        {
            self.expect("(");
            let name = self.next().expect("a name");
            self.expect(")");
            return self.item.0.contains_key(name) == exists;
        }
        if self.takes("begins_with") {
            self.expect("(");
            let value = self.operand();
            self.expect(",");
            let start = self.operand().expect("a value");
            self.expect(")");
            let begins = |value: &AttributeValue| value.as_s().unwrap().starts_with(start.as_s().unwrap());
            return value.as_ref().is_some_and(begins);
        }
        let left = self.operand();
        let operator = self.next().expect("an operator");
        let right = self.operand();
        let order = |left: &Option<AttributeValue>, right: &Option<AttributeValue>| {
            left.as_ref().zip(right.as_ref()).and_then(|(left, right)| compare(left, right))
        };
        let compared = order(&left, &right);
        match operator {
            "=" => compared.is_some_and(std::cmp::Ordering::is_eq),
            "<>" => !compared.is_some_and(std::cmp::Ordering::is_eq),
            "<" => compared.is_some_and(std::cmp::Ordering::is_lt),
            "<=" => compared.is_some_and(std::cmp::Ordering::is_le),
            ">" => compared.is_some_and(std::cmp::Ordering::is_gt),
            ">=" => compared.is_some_and(std::cmp::Ordering::is_ge),
            "BETWEEN" => {
                self.expect("AND");
                let last = self.operand();
                compared.is_some_and(std::cmp::Ordering::is_ge)
                    && order(&left, &last).is_some_and(std::cmp::Ordering::is_le)
            }
            other => panic!("not understood: {other} in {:?}", self.words),
        }
    }

    /// A value, an attribute, or the one unless the other is there; `None`: there is no such attribute.
    fn operand(&mut self) -> Option<AttributeValue> {
        let word = self.next().expect("an operand");
        if word == "if_not_exists" {
            self.expect("(");
            let there = self.operand();
            self.expect(",");
            let value = self.operand();
            self.expect(")");
            return there.or(value);
        }
        if word.starts_with(':') {
            let given = self.values.iter().find(|(name, _)| name == word);
            return Some(given.unwrap_or_else(|| panic!("{word} has no value")).1.clone());
        }
        self.item.0.get(word).cloned()
    }
}

fn words(expression: &str) -> Vec<&str> {
    let name = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let (mut words, mut rest) = (Vec::new(), expression.trim_start());
    while let Some(first) = rest.chars().next() {
        let length = match first {
            first if name(first) => rest.find(|character| !name(character)).unwrap_or(rest.len()),
            '<' | '>' => rest.find(|character| !"<>=".contains(character)).unwrap_or(rest.len()),
            _ => 1,
        };
        let (word, after) = rest.split_at(length);
        words.push(word);
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{number, text};
    use super::*;

    fn held(expression: &str) -> bool {
        let item = Attributes::new().with_text("name", "Sample#7").with_number("count", 10);
        let condition =
            Condition::new(expression).with(":name", text("Sample#")).with(":nine", number(9)).with(":ten", number(10));
        holds(&condition, &item)
    }

    #[test]
    fn conditions_are_read_as_dynamodb_reads_them() {
        for good in [
            "attribute_exists(name)",
            "attribute_not_exists(other) AND count = :ten",
            "count = :nine OR (begins_with(name, :name) AND :nine < count)",
            "count BETWEEN :nine AND :ten AND count <> :nine",
            "count >= :ten",
            "other <> :nine",
        ] {
            assert!(held(good), "{good}");
        }
        for bad in
            ["attribute_exists(other)", "count < :ten", "other < :ten", "name = :nine", "count > :ten OR other = :ten"]
        {
            assert!(!held(bad), "{bad}");
        }
    }

    #[test]
    fn updates_see_the_item_as_it_was() {
        let mut item = Attributes::new().with_number("one", 1);
        let values = [(":new".to_owned(), number(5)), (":none".to_owned(), number(0))];
        update(
            "SET one = :new, two = if_not_exists(one, :none), three = if_not_exists(two, :none) ADD one :new",
            &values,
            &mut item,
        );
        assert_eq!((item.number("two"), item.number("three"), item.number("one")), (Ok(1), Ok(0), Ok(6)));
    }
}
