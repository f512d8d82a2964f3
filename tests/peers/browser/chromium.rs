//! Chromium, driven over WebDriver.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand, WindowHandle};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Method;
use serde_json::{Value, json};
use url::{ParseError, Url};

use crate::support::process::Process;
use crate::support::{eventually, program};

/// Options that make it quiet and reproducible. The sandbox needs rights that a container does not give; it opens our
/// own pages only.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en",
];

/// Whether pages may run scripts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scripts {
    On,
    Off,
}

/// A window size.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    /// Device pixels in a CSS pixel.
    pub scale: u32,
    pub dark: bool,
}

/// chromedriver, and the chromium that it starts.
pub struct Chromium {
    program: PathBuf,
    driver: String,
    profiles: PathBuf,
    _process: Process,
}

impl Chromium {
    /// Starts the driver; `None` if the browser is missing and not required.
    pub async fn start() -> Option<Self> {
        let (program, driver) = (program("chromium")?, program("chromedriver")?);
        let directory = tempfile::tempdir().unwrap();
        let profiles = directory.path().to_owned();
        let mut command = Command::new(driver);
        command.arg("--port=0").env("HOME", &profiles).env("TMPDIR", &profiles);
        let mut process = Process::start("chromedriver", &command, directory);
        let port = process.says("started successfully on port ").await;
        let driver = format!("http://127.0.0.1:{}", port.trim_end_matches('.'));
        Some(Self { program, driver, profiles, _process: process })
    }

    /// A new browser profile.
    pub async fn visitor(&self, name: &str, scripts: Scripts) -> Browser {
        let profile = format!("--user-data-dir={}", self.profiles.join(name).display());
        let arguments: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let blocked = 2;
        let preferences = match scripts {
            Scripts::On => json!({}),
            Scripts::Off => json!({ "profile.default_content_setting_values.javascript": blocked }),
        };
        let capabilities: Capabilities = [
            ("goog:chromeOptions", json!({ "binary": self.program, "args": arguments, "prefs": preferences })),
            ("goog:loggingPrefs", json!({ "browser": "ALL" })),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(capabilities).connect(&self.driver).await.unwrap();
        Browser { client, name: name.to_owned() }
    }
}

/// One visitor's browser.
pub struct Browser {
    client: Client,
    name: String,
}

impl Browser {
    pub async fn open(&self, address: &str) {
        self.client.goto(address).await.unwrap();
    }

    /// The displayed text of the first element that matches `css`; `None` if there is none.
    pub async fn text(&self, css: &str) -> Option<String> {
        // An element that disappears while it is read counts as missing: the page is changing.
        let element = self.client.find(Locator::Css(css)).await.ok()?;
        element.text().await.ok()
    }

    /// Whether an element matches `css`.
    pub async fn has(&self, css: &str) -> bool {
        !self.client.find_all(Locator::Css(css)).await.unwrap().is_empty()
    }

    /// Waits until the element that matches `css` has the text `text`.
    pub async fn sees(&self, css: &str, text: &str) {
        let mut last = None;
        let what = format!("{} sees {text:?} at {css}", self.name);
        eventually(&what, async || {
            let said = self.text(css).await;
            let found = said.as_ref().is_some_and(|said| said.contains(text)).then_some(());
            if found.is_none() && said != last {
                eprintln!("{what}: so far {said:?}");
                last = said;
            }
            found
        })
        .await;
    }

    /// Clicks the element that matches `css`.
    pub async fn click(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    pub async fn address(&self) -> String {
        self.client.current_url().await.unwrap().to_string()
    }

    /// The browser's error log: failed scripts, and policy violations.
    pub async fn complaints(&self) -> Vec<String> {
        let entries = self.client.issue_cmd(Extension("se/log", json!({ "type": "browser" }))).await.unwrap();
        let severe = entries.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Changes the window size.
    pub async fn resize(&self, screen: Screen) {
        let Screen { width, height, scale, dark, .. } = screen;
        let scheme = if dark { "dark" } else { "light" };
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
        // Animations are disabled.
        let features = [("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")];
        let features = features.map(|(name, value)| json!({ "name": name, "value": value }));
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Saves a screenshot as `target/screenshots/NAME.png`.
    pub async fn photograph(&self, name: &str) {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(format!("{name}.png")), self.client.screenshot().await.unwrap()).unwrap();
    }

    /// Whether the page has requested this path by itself.
    pub async fn has_requested(&self, path: &str) -> bool {
        let look = "return performance.getEntriesByType('resource').some(({ name }) => new URL(name).pathname === arguments[0])";
        self.client.execute(look, vec![json!(path)]).await.unwrap().as_bool().unwrap()
    }

    /// Blocks requests of this tab that match these patterns.
    pub async fn block(&self, patterns: &[&str]) {
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.setBlockedURLs", json!({ "urls": patterns })).await;
    }

    /// Runs `script` in each page that this tab opens from now on, before the page's own.
    pub async fn before_each_page(&self, script: &str) {
        self.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    }

    /// The result of a script that runs in the page.
    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.unwrap()
    }

    /// Opens another tab and switches to it.
    pub async fn open_tab(&self) -> WindowHandle {
        let opened = self.client.new_window(true).await.unwrap().handle;
        self.switch_to(&opened).await;
        opened
    }

    /// All tabs, in the order in which they were opened.
    pub async fn tabs(&self) -> Vec<WindowHandle> {
        self.client.windows().await.unwrap()
    }

    /// Switches to another tab.
    pub async fn switch_to(&self, tab: &WindowHandle) {
        self.client.switch_to_window(tab.clone()).await.unwrap();
    }

    /// Closes the current tab.
    pub async fn close_tab(&self) {
        self.client.close_window().await.unwrap();
    }

    /// By how many CSS pixels the page is wider than the window.
    pub async fn overhang(&self) -> i64 {
        let width = "return document.documentElement.scrollWidth - window.innerWidth";
        self.client.execute(width, Vec::new()).await.unwrap().as_i64().unwrap()
    }

    /// Closes the browser.
    pub async fn close(self) {
        self.client.close().await.unwrap();
    }

    async fn devtools(&self, command: &str, parameters: Value) {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Extension("goog/cdp/execute", body)).await.unwrap();
    }
}

/// A proprietary command of chromedriver.
#[derive(Debug)]
struct Extension(&'static str, Value);

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.1.to_string()))
    }
}
