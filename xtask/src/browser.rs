//! A headless Chromium, driven over WebDriver (<https://www.w3.org/TR/webdriver2/>), as a person would use
//! it: it opens pages, clicks, types, and reads what is to be seen.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use data_encoding::BASE64;
use serde_json::{Value, json};
use ureq::Agent;

/// The program that speaks WebDriver, and the browser that it starts.
pub const PROGRAMS: [&str; 2] = ["chromedriver", "chromium"];

/// The name of an element's reference in answers (WebDriver, section 12.2).
const REFERENCE: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Between two looks at a page.
const PAUSE: Duration = Duration::from_millis(100);

/// A browser with one window. Dropping it ends its processes.
pub struct Browser {
    driver: Child,
    agent: Agent,
    /// `http://127.0.0.1:PORT/session/ID`
    session: String,
}

impl Browser {
    /// Starts one, whose files are below `directory`.
    ///
    /// # Errors
    /// If chromedriver or Chromium is not there, or does not start.
    pub fn start(directory: &Path) -> Result<Self> {
        let mut driver = Command::new(PROGRAMS[0])
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver; `cargo xtask check --setup` installs it")?;
        let output = BufReader::new(driver.stdout.take().expect("it was piped"));
        let config = Agent::config_builder().proxy(None).http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(60))).build().into();
        let mut browser = Self { driver, agent, session: String::new() };
        let port = port(output)?;
        browser.session = format!("http://127.0.0.1:{port}/session");
        let options = json!({
            "binary": format!("/usr/bin/{}", PROGRAMS[1]),
            "args": [
                "--headless=new", "--disable-gpu", "--window-size=1280,1000",
                // Chromium's own sandbox refuses root, and containers have little shared memory.
                "--no-sandbox", "--disable-dev-shm-usage",
                format!("--user-data-dir={}", directory.join("browser").display()),
            ],
        });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = browser.post("", &wanted).context("cannot start Chromium")?;
        let id = made["sessionId"].as_str().context("a session has an id")?;
        browser.session = format!("{}/{id}", browser.session);
        Ok(browser)
    }

    /// Opens `address`.
    pub fn open(&self, address: &str) -> Result<()> {
        self.post("/url", &json!({ "url": address })).map(drop)
    }

    /// The address that is shown.
    pub fn address(&self) -> Result<String> {
        Ok(self.ask(self.agent.get(self.url("/url")).call())?.as_str().unwrap_or_default().into())
    }

    /// Clicks on the element that `selector` (CSS) finds.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("/element/{element}/click"), &json!({})).map(drop)
    }

    /// Types `text` into the element that `selector` finds.
    pub fn write(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("/element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    /// Answers the question that the page asks in a window of its own with yes.
    pub fn agree(&self) -> Result<()> {
        self.post("/alert/accept", &json!({})).map(drop)
    }

    /// The text of the element that `selector` finds, as far as it is to be seen.
    pub fn text(&self, selector: &str) -> Result<String> {
        let element = self.element(selector)?;
        let text = self.agent.get(self.url(&format!("/element/{element}/text"))).call();
        Ok(self.ask(text)?.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the element that `selector` finds shows `text`; gives all that it shows.
    ///
    /// # Errors
    /// If it does not within `patience`, with what it shows instead.
    pub fn wait_for(&self, selector: &str, text: &str, patience: Duration) -> Result<String> {
        let deadline = Instant::now() + patience;
        loop {
            let shown = self.text(selector).unwrap_or_else(|error| format!("nothing: {error:#}"));
            if shown.contains(text) {
                return Ok(shown);
            }
            if Instant::now() > deadline {
                bail!("{selector} never showed {text:?}, but at last: {shown}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// What the body of a function, `script`, returns in the page.
    pub fn evaluate(&self, script: &str) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// A picture of the window, as PNG.
    pub fn picture(&self) -> Result<Vec<u8>> {
        let picture = self.ask(self.agent.get(self.url("/screenshot")).call())?;
        BASE64.decode(picture.as_str().unwrap_or_default().as_bytes()).context("not Base64")
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found =
            self.post("/element", &json!({ "using": "css selector", "value": selector }))?;
        Ok(found[REFERENCE].as_str().context("an element has a reference")?.to_owned())
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.session)
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self.agent.post(self.url(path)).header("content-type", "application/json");
        self.ask(request.send(serde_json::to_vec(body)?))
    }

    fn ask(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value> {
        let mut answer = answer.context("chromedriver does not answer")?;
        // Pictures are some megabytes.
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
        let mut value: Value = serde_json::from_str(&text).context("no WebDriver")?;
        let value = value["value"].take();
        match value["error"].as_str() {
            Some(error) => bail!("{error}: {}", value["message"].as_str().unwrap_or_default()),
            None => Ok(value),
        }
    }
}

/// The port that chromedriver says it listens on.
fn port(output: impl BufRead) -> Result<u16> {
    for line in output.lines() {
        let line = line.context("cannot read what chromedriver says")?;
        let port = line
            .rsplit_once("started successfully on port ")
            .map(|(_, port)| port.trim_end_matches('.'));
        if let Some(port) = port.and_then(|port| port.parse().ok()) {
            return Ok(port);
        }
    }
    bail!("chromedriver ended without listening")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends the browser; without it Chromium would stay.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
