//! Requirements on every page, whatever its content.

use super::*;

const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)' style=color:red>&amp;";

fn waiting(text: &str) -> WaitingPage<'_> {
    WaitingPage {
        base_path: "",
        event: text,
        site: text,
        position: 5_000,
        ahead: 1_384,
        start_ahead: 4_000,
        estimate: Some(Estimate { low_s: 180, high_s: 300 }),
        resume_url: text,
        stream_url: text,
        state_url: text,
        reach_url: text,
        client: text,
        login: text,
        began: 1_800_000_000,
        refresh_seconds: 30,
        watchdog_seconds: 40,
        generation: 3,
        place_change: Some(PlaceChange::PlaceExpired),
        paused: false,
    }
}

fn door(text: &str) -> ButtonPage<'_> {
    ButtonPage { base_path: "", event: text, site: text, action: text, flow: text, deadline_seconds: Some(870) }
}

fn error(text: &str) -> ErrorPage<'_> {
    let retry = Some(Retry { seconds: 15, url: text });
    ErrorPage {
        title: text,
        message: text,
        advice: Some(text),
        home: Some(text),
        retry,
        again: Some(text),
        rejoin: Some(text),
        ..store_away(text)
    }
}

fn store_away(text: &str) -> ErrorPage<'_> {
    ErrorPage::of(Problem::StoreAway, "", text)
}

fn form_post<'a>(text: &'a str, fields: &'a [(&'a str, &'a str)]) -> FormPostPage<'a> {
    FormPostPage { base_path: "", site: text, action: text, fields }
}

/// Every page with `text` in each text field.
fn all(text: &str) -> Vec<String> {
    let fields = [(text, text)];
    [
        waiting(text).render(),
        door(text).render(),
        error(text).render(),
        store_away(text).render(),
        form_post(text, &fields).render(),
        LandingPage { base_path: "", docs_url: Some(text) }.render(),
    ]
    .into_iter()
    .map(|page| page.expect("renders"))
    .collect()
}

/// Each tag of a page: the text between `<` and `>`.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default())
}

/// The names of a tag's attributes, without quoted values.
fn attributes(tag: &str) -> Vec<String> {
    let outside: String = tag.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    outside.split_whitespace().skip(1).map(|name| name.trim_end_matches('=').to_lowercase()).collect()
}

#[test]
fn no_page_has_an_inline_script_style_or_handler_except_the_watchdog() {
    for (number, page) in all("plain").into_iter().chain(all(HOSTILE)).enumerate() {
        let watchdog = format!(">{}</script>", *assets::WATCHDOG);
        let is_waiting_page = number % 6 == 0;
        assert_eq!(page.matches(&watchdog).count(), usize::from(is_waiting_page), "{page}");
        let page = page.replace(&watchdog, " src=\"/assets/\"></script>");
        for tag in tags(&page) {
            assert!(!tag.starts_with("style"), "{tag}");
            assert!(!tag.starts_with("script") || tag.contains(" src=\"/assets/"), "{tag}");
            for name in attributes(tag) {
                assert!(!name.starts_with("on") && name != "style", "{name} in <{tag}>");
            }
        }
        assert!(!page.contains("></script>alert"), "{page}");
        assert_eq!(page.matches("<script").count(), page.matches("\"></script>").count(), "{page}");
    }
}

#[test]
fn values_are_escaped() {
    let tag_names = |page: &str| tags(page).map(|tag| tag.split(' ').next().unwrap_or_default().to_owned()).collect();
    for (hostile, plain) in all(HOSTILE).iter().zip(all("plain")) {
        let (hostile_tags, plain_tags): (Vec<String>, Vec<String>) = (tag_names(hostile), tag_names(&plain));
        assert_eq!(hostile_tags, plain_tags);
        assert!(hostile.contains("&#60;script&#62;alert(1)"), "{hostile}");
    }
}

#[test]
fn every_page_is_accessible_to_a_screen_reader() {
    for page in all("plain") {
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"), "{page}");
        assert_eq!(page.matches("<main").count(), 1, "{page}");
        assert_eq!(page.matches("<h1").count(), 1, "{page}");
        assert!(page.contains("name=\"viewport\""), "{page}");
        assert!(page.contains("aria-hidden=\"true\"><div class=\"arch\">"), "the picture is passed over: {page}");
        let title = page.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next());
        assert!(title.is_some_and(|title| !title.trim().is_empty()), "{page}");
    }
}

#[test]
fn a_page_with_its_assets_is_small() {
    let files = [&assets::STYLE, &assets::ICON, &assets::WAITING_SCRIPT].map(|asset| asset.bytes().len());
    let page = waiting("Spring sale").render().expect("renders").len();
    assert!(page + files.iter().sum::<usize>() < 36_000, "{page} + {files:?}");
}

#[test]
fn assets_are_below_the_base_path() {
    let page = WaitingPage { base_path: "/queue", ..waiting("plain") }.render().expect("renders");
    for asset in [&assets::STYLE, &assets::ICON, &assets::WAITING_SCRIPT] {
        assert!(page.contains(&format!("\"/queue/assets/{}\"", asset.file_name())), "{page}");
    }
}

#[test]
fn the_waiting_page_works_without_a_script() {
    let url = "/authorize/resume?flow=a.b-c&x=1";
    let page = waiting(url).render().expect("renders");
    let escaped = "/authorize/resume?flow=a.b-c&#38;x=1";
    let refresh = format!("<noscript><meta http-equiv=\"refresh\" content=\"30;url={escaped}\"></noscript>");
    assert!(page.contains(&refresh), "{page}");
    assert!(page.contains(&format!("<a class=\"button\" id=\"check\" href=\"{escaped}\">Check now</a>")), "{page}");
    assert!(page.contains(">1,384</strong><span id=\"unit\">people ahead of you</span>"), "{page}");
    assert!(page.contains("about 3 to 5 minutes"), "{page}");
    assert!(page.contains("<progress id=\"progress\" max=\"4000\" value=\"2616\""), "{page}");
    assert!(page.contains("data-near=\"6\""), "{page}");
}

#[test]
fn the_waiting_page_announces_changes_politely() {
    let page = waiting("Spring sale").render().expect("renders");
    assert!(page.contains("role=\"status\" aria-live=\"polite\"></p>"), "{page}");
    assert_eq!(page.matches("aria-live").count(), 1, "only milestones are announced: {page}");
    assert!(page.contains("aria-label=\"Your way to the front of the line\""), "{page}");
    assert!(page.contains("aria-valuetext=\"1,384 people ahead of you\""), "{page}");
    assert!(page.contains("<title>1,384 ahead · Spring sale</title>"), "a background tab shows the place: {page}");
}

#[test]
fn the_next_visitor_sees_words_instead_of_a_number() {
    let page = WaitingPage { ahead: 0, start_ahead: 0, position: 1, ..waiting("plain") }.render().expect("renders");
    assert!(page.contains("data-size=\"words\">You are next</strong><span id=\"unit\"></span>"), "{page}");
    assert!(page.contains("max=\"1\" value=\"1\""), "{page}");
    assert!(page.contains("data-near=\"9\""), "{page}");
}

#[test]
fn progress_stays_in_its_bounds_when_the_line_moves_back() {
    let page = WaitingPage { ahead: 9_000, ..waiting("plain") }.render().expect("renders");
    assert!(page.contains("max=\"4000\" value=\"0\""), "{page}");
    assert!(page.contains("data-near=\"0\""), "{page}");
}

#[test]
fn the_button_page_has_one_button_and_its_deadline() {
    let page = door("sealed").render().expect("renders");
    assert!(page.contains("<form method=\"post\" action=\"sealed\">"), "{page}");
    assert!(page.contains("name=\"flow\" value=\"sealed\""), "{page}");
    assert!(page.contains("name=\"enter\" value=\"1\""), "{page}");
    assert!(page.contains("within <strong>14 minutes</strong>"), "{page}");
    let open = ButtonPage { deadline_seconds: None, ..door("sealed") }.render().expect("renders");
    assert!(!open.contains("within"), "{open}");
}

#[test]
fn an_error_page_shows_its_reference_and_does_not_redirect() {
    let page = ErrorPage::of(Problem::UnregisteredRedirect, "", "ref-1").render().expect("renders");
    assert!(page.contains("<code>ref-1</code>"), "{page}");
    assert!(!page.contains("http-equiv") && !page.contains("<a "), "{page}");
    let away = error("/again").render().expect("renders");
    assert!(away.contains("content=\"15;url=/again\""), "{away}");
}

#[test]
fn a_form_post_answer_has_its_fields_in_order_and_a_button() {
    let page = form_post("https://shop.example/cb", &[("code", "c\"1"), ("state", "s<2")]).render().expect("renders");
    let fields = "<input type=\"hidden\" name=\"code\" value=\"c&#34;1\">\n<input type=\"hidden\" name=\"state\" value=\"s&#60;2\">";
    assert!(page.contains(fields), "{page}");
    assert!(page.contains("action=\"https://shop.example/cb\""), "{page}");
    assert!(page.contains(">Continue</button>"), "{page}");
}
