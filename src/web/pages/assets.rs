//! The assets of the pages, embedded in the binary.
//!
//! The name of each contains a digest of its content, so that browsers and CDNs may keep it for ever (`immutable`) and
//! a new release never shows an old style. Knows no HTTP beyond the asset's metadata.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// An embedded file.
#[derive(Debug)]
pub struct Asset {
    file_name: String,
    entity_tag: String,
    content_type: &'static str,
    bytes: Cow<'static, [u8]>,
}

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        let bytes = bytes.into();
        // 64 bits tell releases apart; a collision needs no attacker model, because the files are our own.
        let digest = Sha256::digest(&bytes).iter().take(8).fold(String::new(), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        });
        Self {
            file_name: format!("{stem}.{digest}.{extension}"),
            entity_tag: format!("\"{digest}\""),
            content_type,
            bytes,
        }
    }

    /// The name under `/assets/`, digest included.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// A strong entity tag, quotes included (RFC 9110 §8.8.3).
    pub fn entity_tag(&self) -> &str {
        &self.entity_tag
    }

    /// The media type for `Content-Type`.
    pub const fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// The content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The style of every page.
pub static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("pages", "css", "text/css; charset=utf-8", include_bytes!("../../../assets/pages.css").as_slice())
});

/// The icon of every page.
pub static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("arch", "svg", "image/svg+xml", include_bytes!("../../../assets/arch.svg").as_slice()));

/// The script of the waiting page: one file of four sources, in order of their dependencies.
pub static WAITING_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    let script = concat!(
        include_str!("../../../assets/waiting/words.js"),
        include_str!("../../../assets/waiting/tabs.js"),
        include_str!("../../../assets/waiting/network.js"),
        include_str!("../../../assets/waiting/page.js"),
    );
    Asset::new("waiting", "js", "text/javascript; charset=utf-8", without_comments(script).into_bytes())
});

/// Reloads the waiting page if its script does not run; inline in the page.
pub static WATCHDOG: LazyLock<String> =
    LazyLock::new(|| without_comments(include_str!("../../../assets/waiting/watchdog.js")));

/// The source expression that allows [`WATCHDOG`] and no other inline script (Content Security Policy Level 3 §2.3.1,
/// `hash-source`). It is computed from the page's text, so the two cannot differ.
pub static WATCHDOG_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(WATCHDOG.as_bytes()))));

/// A script without its comment lines.
fn without_comments(script: &str) -> String {
    let is_comment = |line: &str| line.starts_with("//") || (line.starts_with("/**") && line.ends_with("*/"));
    script.split_inclusive('\n').filter(|line| !is_comment(line.trim())).collect()
}

/// Submits a `form_post` answer.
pub static FORM_POST_SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "form_post",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("../../../assets/form_post.js").as_slice(),
    )
});

static ALL: [&LazyLock<Asset>; 4] = [&STYLE, &ICON, &WAITING_SCRIPT, &FORM_POST_SCRIPT];

/// The asset of this name under `/assets/`; `None` for any other, including a name with an old digest.
pub fn find(file_name: &str) -> Option<&'static Asset> {
    ALL.iter().map(|asset| LazyLock::force(asset)).find(|asset| asset.file_name == file_name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn an_asset_is_found_only_by_its_full_name() {
        for asset in ALL {
            let found = find(asset.file_name()).expect("the asset is in the table");
            assert_eq!(found.bytes(), asset.bytes());
        }
        assert!(find("pages.css").is_none());
        assert!(find("pages.0000000000000000.css").is_none());
        assert!(find("../Cargo.toml").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn a_name_changes_with_the_content() {
        let one = Asset::new("a", "css", "text/css", b"one".as_slice());
        let other = Asset::new("a", "css", "text/css", b"other".as_slice());
        assert_ne!(one.file_name(), other.file_name());
        assert_ne!(one.entity_tag(), other.entity_tag());
        assert_eq!(one.file_name().len(), "a.0123456789abcdef.css".len());
    }

    #[test]
    fn only_comment_lines_are_removed_from_a_script() {
        let script = "// a\nlet b = 1; // c\n  // d\n/** @type {e} */\nlet f = /** @type {g} */ (b);\n";
        assert_eq!(without_comments(script), "let b = 1; // c\nlet f = /** @type {g} */ (b);\n");
    }

    #[test]
    fn the_watchdog_cannot_end_its_element() {
        assert!(WATCHDOG.contains("location.replace") && !WATCHDOG.contains('<') && !WATCHDOG.contains('\r'));
    }

    #[test]
    fn assets_refer_to_no_other_origin() {
        for asset in ALL {
            let text = std::str::from_utf8(asset.bytes()).expect("text");
            for foreign in ["https:", "http:", "@import", "url("] {
                let text = text.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
                assert!(!text.contains(foreign), "{} holds {foreign}", asset.file_name());
            }
        }
    }

    /// The colours that a block of the stylesheet defines: `--name: #rrggbb;`.
    fn colours(block: &str) -> HashMap<&str, [f64; 3]> {
        let declared = block.split("--").skip(1).filter_map(|rest| rest.split_once(": #"));
        let opaque = declared.filter(|(_, value)| value.as_bytes().get(6) == Some(&b';'));
        opaque
            .map(|(name, value)| {
                let channel = |at: usize| u8::from_str_radix(&value[at..at + 2], 16).expect("a hexadecimal colour");
                (name, [0, 2, 4].map(|at| f64::from(channel(at)) / 255.0))
            })
            .collect()
    }

    /// WCAG 2.2, "contrast ratio".
    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let linear = |c: f64| if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) };
        let luminance = |[r, g, b]: [f64; 3]| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b) + 0.05;
        let (one, other) = (luminance(one), luminance(other));
        one.max(other) / one.min(other)
    }

    #[test]
    fn text_has_enough_contrast_in_both_colour_schemes() {
        let style = std::str::from_utf8(STYLE.bytes()).expect("text");
        let blocks: Vec<_> = style.split(":root {").skip(1).filter_map(|rest| rest.split_once('}')).collect();
        let (day, mut night) = (colours(blocks[0].0), colours(blocks[0].0));
        night.extend(colours(blocks[1].0));
        for colours in [day, night] {
            let text =
                [("ink", "wall"), ("soft", "wall"), ("accent", "wall"), ("on-accent", "accent"), ("ink", "notice")];
            for (front, ground) in text {
                let ratio = contrast(colours[front], colours[ground]);
                assert!(ratio >= 4.5, "{front} on {ground}: {ratio:.2} (WCAG 2.2, 1.4.3 AA)");
            }
            let ratio = contrast(colours["accent"], colours["line"]);
            assert!(ratio >= 3.0, "the progress bar on its track: {ratio:.2} (WCAG 2.2, 1.4.11 AA)");
        }
    }
}
