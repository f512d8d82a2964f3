//! Byte order marks and line ends that editors, shells and operating systems add to text.

/// Removes the UTF-8 byte order mark that some editors and shells of Windows write at the start. Nothing that is read
/// here begins with that character otherwise.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// The same for text.
pub fn unmarked(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Removes the line end that editors and `echo` add.
pub fn without_line_end(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    line.unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_removed_once_and_at_the_beginning_alone() {
        let mark = b"\xef\xbb\xbf".as_slice();
        for (bytes, left) in [
            (b"".as_slice(), b"".as_slice()),
            (mark, b""),
            (b"\xef\xbb\xbfa\xef\xbb\xbf", b"a\xef\xbb\xbf"),
            (b"\xef\xbb\xbf\xef\xbb\xbf", mark),
            (b"\xef\xbba", b"\xef\xbba"),
            (b"a\xef\xbb\xbf", b"a\xef\xbb\xbf"),
        ] {
            assert_eq!(without_byte_order_mark(bytes), left);
        }
        assert_eq!((unmarked("\u{feff}a"), unmarked("a\u{feff}")), ("a", "a\u{feff}"));
    }

    #[test]
    fn one_line_end_is_removed() {
        for (bytes, line) in [
            (b"a".as_slice(), b"a".as_slice()),
            (b"a\n", b"a"),
            (b"a\r\n", b"a"),
            (b"a\n\n", b"a\n"),
            (b"a\r", b"a\r"),
            (b"\n", b""),
            (b"", b""),
        ] {
            assert_eq!(without_line_end(bytes), line);
        }
    }
}
