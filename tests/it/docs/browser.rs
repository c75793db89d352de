//! A headless Chromium, controlled by its remote debugging protocol: JSON over a pipe, with a NUL after each message.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use identityd_tests::skip;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Paths at which a Chromium may be installed.
const PLACES: [&str; 4] =
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];

/// One page of a browser. The browser ends when this is dropped.
pub(crate) struct Page {
    browser: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    session: Option<String>,
    last: u64,
    /// Errors and warnings of the browser.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

impl Page {
    /// An empty page; `None` without a Chromium. `.ci/tools` installs it if it can.
    pub(crate) fn open() -> Option<Self> {
        let Some(program) = chromium() else {
            skip("there is no Chromium here: .ci/tools installs it");
            return None;
        };
        let profile = TempDir::new().unwrap();
        let mut browser = launch(&program, profile.path());
        let (requests, answers) = (browser.stdin.take().unwrap(), browser.stdout.take().unwrap());
        let answers = BufReader::new(answers);
        let (session, complaints) = (None, vec![]);
        let mut page = Self { browser, requests, answers, session, last: 0, complaints, _profile: profile };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attached =
            page.call("Target.attachToTarget", json!({ "targetId": target["targetId"], "flatten": true }));
        page.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.call(domain, json!({}));
        }
        Some(page)
    }

    /// Opens an address.
    pub(crate) fn navigate(&mut self, url: &str) {
        let script = "window.violations = [];
            addEventListener('securitypolicyviolation', event => violations.push(event.violatedDirective));";
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }));
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// Sets the size of the window, which is that of a mobile device.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": true });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// The value of an expression. Promises are awaited.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "timeout": 60_000 });
        let evaluated = self.call("Runtime.evaluate", parameters);
        assert!(evaluated.get("exceptionDetails").is_none(), "{expression}: {evaluated}");
        evaluated["result"]["value"].clone()
    }

    /// Waits until the value of an expression is neither null nor false, and returns it. Fails after a minute. It looks by a
    /// timer: in a page that is not in front there are no frames.
    pub(crate) fn becomes(&mut self, expression: &str) -> Value {
        self.evaluate(&format!(
            "new Promise((resolve, reject) => {{
                const since = performance.now();
                const look = () => {{
                    const value = {expression};
                    if (value !== null && value !== undefined && value !== false) resolve(value);
                    else if (performance.now() - since > 60000) reject(new Error('it did not become true'));
                    else setTimeout(look, 20);
                }};
                look();
            }})"
        ))
    }

    #[expect(clippy::needless_pass_by_value, reason = "literals are handed over")]
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.receive();
            if message["id"] == self.last {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            match message["method"].as_str() {
                // Verbose entries are advice on writing pages, and no errors.
                Some("Log.entryAdded") if message["params"]["entry"]["level"] == "verbose" => {}
                Some("Log.entryAdded") => self.complaints.push(message["params"]["entry"].to_string()),
                Some("Runtime.exceptionThrown") => self.complaints.push(message["params"].to_string()),
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).unwrap();
        assert!(!message.is_empty(), "the browser is gone");
        serde_json::from_slice(message.strip_suffix(&[0]).unwrap_or(&message)).unwrap()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

fn chromium() -> Option<PathBuf> {
    PLACES.into_iter().map(PathBuf::from).find(|place| place.exists())
}

/// The browser reads requests from file descriptor 3 and answers on 4. A shell connects both.
fn launch(program: &Path, profile: &Path) -> Child {
    let command = format!(
        "exec {} --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --no-proxy-server \
         --disable-background-networking --disable-component-update --user-data-dir={} --remote-debugging-pipe \
         3<&0 4>&1 >/dev/null 2>&1 about:blank",
        program.display(),
        profile.display()
    );
    Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
