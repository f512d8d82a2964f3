//! Where the head of a request ends in what was received. Each byte is looked at once, however slowly the bytes come,
//! and the parser, which begins anew each time, is called a bounded number of times for each head.
//!
//! A line that ends with a line feed alone is refused. RFC 9112 §2.2 leaves it to the recipient, and a proxy in front
//! that takes such a line feed for a part of the line would see other headers than we do.

/// What to do with what was received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Look {
    /// Wait for more.
    Incomplete,
    /// Try to read it as a head.
    Readable,
    /// Refuse it.
    BareLineFeed,
}

/// Looks for the end of one head.
#[derive(Default)]
pub(super) struct HeadScan {
    /// How many bytes were looked at.
    seen: usize,
    /// From which length on it is worth a try without an end: nonsense is refused before its sender gives up.
    next_try: usize,
}

impl HeadScan {
    /// Looks at what has come since the last look; `received` is everything since the end of the last message.
    pub(super) fn look(&mut self, received: &[u8]) -> Look {
        let new = received.get(self.seen..).unwrap_or_default();
        let line_ends = new.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index);
        for end in line_ends.map(|index| self.seen + index) {
            let before = received.get(..end).unwrap_or_default();
            if !before.ends_with(b"\r") {
                return Look::BareLineFeed;
            }
            if before.ends_with(b"\r\n\r") {
                self.seen = end + 1;
                return Look::Readable;
            }
        }
        self.seen = received.len();
        if received.len() < self.next_try.max(1) {
            return Look::Incomplete;
        }
        self.next_try = received.len() * 2;
        Look::Readable
    }
}

/// Whether the request line has a fragment, which no request target has (RFC 9112 §3.2): the parser would leave it out,
/// and a proxy in front may not.
pub(super) fn has_fragment(head: &[u8]) -> bool {
    let line = head.trim_ascii_start().split(|byte| *byte == b'\r').next();
    line.is_some_and(|line| line.contains(&b'#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_comes_byte_by_byte_is_tried_a_few_times() {
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "x".repeat(48 * 1024)).into_bytes();
        let mut scan = HeadScan::default();
        let tries = (0..=head.len()).filter(|&length| scan.look(&head[..length]) == Look::Readable).count();
        assert!(tries < 20, "{tries}");
        assert_eq!(HeadScan::default().look(&head), Look::Readable);
    }

    #[test]
    fn the_end_of_a_head_is_found_wherever_the_pieces_are_cut_and_nothing_behind_it_matters() {
        let message = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\na\nb\n\n\n";
        let end = message.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        for cut in 1..message.len() {
            let mut scan = HeadScan::default();
            let first = scan.look(&message[..cut]);
            assert_eq!(first, Look::Readable, "{cut}");
            if cut < end {
                assert_eq!(scan.look(message), Look::Readable, "{cut}");
            }
        }
    }

    #[test]
    fn a_line_feed_alone_is_refused_in_every_line_of_a_head() {
        for text in [
            "\n",
            "GET / HTTP/1.1\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\n\n",
        ] {
            for cut in 0..text.len() {
                let mut scan = HeadScan::default();
                let looks = [scan.look(&text.as_bytes()[..cut]), scan.look(text.as_bytes())];
                assert!(looks.contains(&Look::BareLineFeed), "{text:?} cut at {cut}: {looks:?}");
            }
        }
    }

    #[test]
    fn empty_lines_before_a_request_are_passed_over() {
        let mut scan = HeadScan::default();
        let text = b"\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n";
        assert_eq!(scan.look(&text[..4]), Look::Readable);
        assert_eq!(scan.look(text), Look::Readable);
        assert_eq!(scan.seen, text.len());
    }
}
