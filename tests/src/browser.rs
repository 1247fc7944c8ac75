//! A page as a real browser sees it: what it asked for, what went wrong in it, and whether its pictures show.
//!
//! Headless Chromium is spoken to in the DevTools protocol, so the page is loaded as it is, without a script of ours in
//! it. Each request counts, whether it could be met or not: the browser is given no names of hosts. Its own log of the
//! network tells in addition of what DevTools keeps to itself, such as names looked up in advance.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use neji_machine::toolchain::{self, BROWSER_INSTALL};
use serde_json::{Value, json};

/// How long a browser may take for a page, from its start to its end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Chromium hands itself over to DevTools on descriptors 3 and 4; a shell puts its input and output there.
const HAND_OVER: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >&2"#;

/// The page is our own, so it needs no sandbox, which containers and root don't get. Most of the others keep Chromium from
/// business of its own; what it does all the same is told apart in the log.
const ARGUMENTS: [&str; 14] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    "--window-size=1200,900",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
];

/// Run in the page once it has loaded; late requests and errors get a moment to happen.
const LOOK: &str = "(async () => {
    const images = [...document.images], drawings = [...document.querySelectorAll('svg')];
    const decoded = await Promise.allSettled(images.map(image => image.decode()));
    await new Promise(done => setTimeout(done, 300));
    const empty = box => !(box.width > 0 && box.height > 0);
    const named = element => element.outerHTML.slice(0, 100);
    const faults = [];
    images.forEach((image, index) => {
        if (decoded[index].status !== 'fulfilled' || !image.complete || !(image.naturalWidth > 0))
            faults.push('a picture that cannot be decoded: ' + named(image));
        else if (empty(image.getBoundingClientRect()))
            faults.push('a picture without a size: ' + named(image));
    });
    for (const drawing of drawings)
        if (empty(drawing.getBoundingClientRect()) || empty(drawing.getBBox()))
            faults.push('a drawing without a size: ' + named(drawing));
    return { images: images.length, drawings: drawings.length, text: document.body.innerText, faults };
})()";

/// What a browser saw.
#[derive(Debug)]
pub struct Seen {
    /// Every `<img>`.
    pub images: usize,
    /// Every inline `<svg>`.
    pub drawings: usize,
    /// The text as it is shown.
    pub text: String,
    /// Requests, failures, exceptions, errors on the console, pictures that don't show; in no order.
    pub faults: Vec<String>,
}

/// The browser of this machine. Where there is none the test says so and has to be left out.
///
/// # Panics
/// Without a browser where `NEJI_TOOLCHAIN=debian`, as in CI, says that what is missing is to be installed.
pub fn browser() -> Option<PathBuf> {
    // The hand-over needs a shell.
    let found = toolchain::browser().filter(|_| cfg!(unix));
    if found.is_none() {
        let why = format!("no browser; type: sudo {BROWSER_INSTALL}    (or set NEJI_BROWSER to one of Chromium's kin)");
        assert!(!toolchain::wants_debian(), "{why}");
        // Not `eprintln`, which a passing test keeps to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: the report was not opened: {why}");
    }
    found
}

/// Opens the file `page` in `browser`.
///
/// # Errors
/// The browser does not start, ends or falls silent; what it wrote is in the message. The page's faults are no errors.
pub fn look(browser: &Path, page: &Path) -> Result<Seen> {
    let folder = tempfile::tempdir()?;
    let written = folder.path().join("stderr.txt");
    let seen = look_from(folder.path(), &written, browser, page);
    seen.with_context(|| {
        let said = fs::read(&written).unwrap_or_default();
        let said = String::from_utf8_lossy(&said[said.len().saturating_sub(2000)..]).into_owned();
        format!("{} on {}; it wrote: {said}", browser.display(), page.display())
    })
}

fn look_from(folder: &Path, written: &Path, browser: &Path, page: &Path) -> Result<Seen> {
    let log = folder.join("network.json");
    let mut command = Command::new("sh");
    command.args(["-c", HAND_OVER, "sh"]).arg(browser).args(ARGUMENTS);
    for (option, path) in [("--user-data-dir", folder.join("profile")), ("--log-net-log", log.clone())] {
        command.arg(format!("{option}={}", path.to_str().context("a path in UTF-8")?));
    }
    let mut browser = Browser::start(command.stderr(File::create(written)?))?;
    let target = browser.call("Target.createTarget", json!({"url": "about:blank"}))?;
    let session = browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}))?;
    browser.session = session["sessionId"].as_str().map(str::to_owned);
    for domain in ["Network", "Log", "Runtime", "Page"] {
        browser.call(&format!("{domain}.enable"), json!({}))?;
    }
    browser.call("Page.setLifecycleEventsEnabled", json!({"enabled": true}))?;

    let url = file_url(page)?;
    let loading = browser.call("Page.navigate", json!({"url": url}))?;
    ensure!(loading["errorText"].is_null(), "{url}: {}", loading["errorText"]);
    browser.wait_for(|event| {
        let of = &event["params"];
        event["method"] == "Page.lifecycleEvent" && of["name"] == "load" && of["loaderId"] == loading["loaderId"]
    })?;
    let asked = json!({"expression": LOOK, "awaitPromise": true, "returnByValue": true});
    let answer = browser.call("Runtime.evaluate", asked)?;
    let found = &answer["result"]["value"];
    let count = |key: &str| found[key].as_u64().map(|n| n as usize).with_context(|| format!("no {key} in {answer}"));
    let (images, drawings) = (count("images")?, count("drawings")?);
    let shown = text(found, "/text").to_owned();
    let mut faults: Vec<String> =
        found["faults"].as_array().into_iter().flatten().map(|fault| text(fault, "").to_owned()).collect();

    let events = browser.end()?;
    faults.extend(faults_of(&events, &url));
    faults.extend(logged(&log)?);
    Ok(Seen { images, drawings, text: shown, faults })
}

/// The text at a JSON pointer; empty where there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

/// `file://` and the path, with everything escaped that a URL might understand.
fn file_url(path: &Path) -> Result<String> {
    let path = path.canonicalize().with_context(|| path.display().to_string())?;
    let mut url = String::from("file://");
    for byte in path.to_str().context("a path in UTF-8")?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' | b'~' => url.push(byte.into()),
            other => url.push_str(&format!("%{other:02X}")),
        }
    }
    Ok(url)
}

/// What DevTools told of a page: every request but for itself and for data it holds itself, and whatever went wrong.
fn faults_of(events: &[Value], page: &str) -> Vec<String> {
    let mut urls: HashMap<&str, &str> = HashMap::new();
    let mut faults = Vec::new();
    for event in events {
        let of = &event["params"];
        match text(event, "/method") {
            "Network.requestWillBeSent" => {
                let url = text(of, "/request/url");
                urls.insert(text(of, "/requestId"), url);
                if url != page && !url.starts_with("data:") {
                    faults.push(format!("a request for {url}"));
                }
            }
            "Network.webSocketCreated" => faults.push(format!("a request for {}", text(of, "/url"))),
            "Network.loadingFailed" => {
                let url = urls.get(text(of, "/requestId")).copied().unwrap_or("?");
                let why = format!("{} {}", text(of, "/errorText"), text(of, "/blockedReason"));
                faults.push(format!("a failure to load {}: {}", start(url), why.trim()));
            }
            "Runtime.exceptionThrown" => {
                let details = &of["exceptionDetails"];
                let what = text(details, "/exception/description");
                faults.push(format!("an exception: {} {what}", text(details, "/text")));
            }
            "Runtime.consoleAPICalled" if ["error", "assert"].contains(&text(of, "/type")) => {
                faults.push(format!("an error on the console: {}", of["args"]));
            }
            "Log.entryAdded" if text(of, "/entry/level") == "error" => {
                let entry = &of["entry"];
                let url = start(text(entry, "/url"));
                faults.push(format!("an error on the console: {} ({url})", text(entry, "/text")));
            }
            _ => {}
        }
    }
    faults
}

/// Enough of a URL to know it by; those with data in them are long.
fn start(url: &str) -> &str {
    url.char_indices().nth(100).map_or(url, |(end, _)| &url[..end])
}

/// What reached the browser's network code on behalf of a local file; Chromium's own traffic belongs to no file.
fn logged(log: &Path) -> Result<Vec<String>> {
    let log: Value = serde_json::from_slice(&fs::read(log).context("the log of the network")?)?;
    let events = log["events"].as_array().context("a log of the network without events")?;
    let for_a_file = |of: &&Value| {
        ["network_isolation_key", "network_anonymization_key"]
            .iter()
            .any(|&key| text(&of[key], "").starts_with("file:"))
    };
    let what = |of: &Value| {
        let name = [&of["url"], &of["host"]].into_iter().find_map(Value::as_str).unwrap_or("?");
        format!("the network was asked for {}", start(name))
    };
    Ok(events.iter().map(|event| &event["params"]).filter(for_a_file).map(what).collect())
}

/// A running browser; killed when it is dropped.
struct Browser {
    child: Child,
    input: ChildStdin,
    output: Receiver<Value>,
    deadline: Instant,
    last_id: u64,
    /// Once there is one, calls are for it.
    session: Option<String>,
    events: Vec<Value>,
}

impl Browser {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting sh")?;
        let input = child.stdin.take().context("a pipe")?;
        let stdout = child.stdout.take().context("a pipe")?;
        let (sender, output) = channel();
        thread::spawn(move || read_messages(BufReader::new(stdout), &sender));
        let deadline = Instant::now() + PATIENCE;
        Ok(Self { child, input, output, deadline, last_id: 0, session: None, events: Vec::new() })
    }

    fn receive(&self) -> Result<Value> {
        match self.output.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Timeout) => bail!("no answer within {} s", PATIENCE.as_secs()),
            Err(RecvTimeoutError::Disconnected) => bail!("the browser went away"),
        }
    }

    /// Calls a method and returns its result; what happens meanwhile is kept.
    fn call(&mut self, method: &str, params: Value) -> Result<Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.input.write_all(&bytes).with_context(|| format!("sending {method}"))?;
        loop {
            let mut message = self.receive().with_context(|| method.to_owned())?;
            if message["id"] == self.last_id {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].take());
            }
            self.events.push(message);
        }
    }

    fn wait_for(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        if self.events.iter().any(&wanted) {
            return Ok(());
        }
        loop {
            let event = self.receive().context("loading")?;
            let found = wanted(&event);
            self.events.push(event);
            if found {
                return Ok(());
            }
        }
    }

    /// Closes the browser, which then completes its log; returns all that happened.
    fn end(mut self) -> Result<Vec<Value>> {
        self.session = None;
        self.call("Browser.close", json!({}))?;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < self.deadline, "the browser does not end");
            thread::sleep(Duration::from_millis(20));
        }
        self.events.extend(self.output.try_iter());
        Ok(std::mem::take(&mut self.events))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages are JSON with a zero byte behind each.
fn read_messages(mut from: impl BufRead, to: &Sender<Value>) {
    let mut bytes = Vec::new();
    while from.read_until(0, &mut bytes).is_ok_and(|length| length > 0) {
        bytes.pop();
        let Ok(message) = serde_json::from_slice(&bytes) else { return };
        if to.send(message).is_err() {
            return;
        }
        bytes.clear();
    }
}
