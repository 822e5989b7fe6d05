//! A small DevTools-protocol client: starts a headless Chromium, opens tabs, evaluates expressions.
//!
//! One WebSocket to the browser carries every tab ("flattened" sessions). Calls are synchronous;
//! what the browser says in between is kept, and becomes part of a failing test's message.

use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

/// How long one call may take; evaluations that await a promise are the slow ones.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the browser may take to open its DevTools port on a loaded machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    // The server runs beside the browser; a host candidate hidden behind a .local name would only
    // make the printed path harder to read.
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    // A tab that is not in front keeps its pace: publisher and viewer are two tabs.
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-background-timer-throttling",
];

/// The Chromium to test with: `$MONOPORT_BROWSER`, or the first one installed in the usual places.
pub fn find_chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MONOPORT_BROWSER") {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

/// A running Chromium with a profile of its own; both are gone when this is dropped.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    wire: RefCell<Wire>,
}

struct Wire {
    socket: WebSocket<TcpStream>,
    last_id: u64,
    /// Events not answered for: `(session, method, params)`.
    events: Vec<(String, String, Value)>,
}

impl Browser {
    /// Starts `chromium` and connects to it. Panics, saying why, when it does not come up.
    pub fn start(chromium: &Path) -> Browser {
        let unique = format!("monoport-browser-{}-{:?}", std::process::id(), Instant::now());
        let unique = unique.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
        let profile = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&profile).expect("a directory for the browser's profile");
        let mut child = Command::new(chromium)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("{} does not start: {e}", chromium.display()));
        match connect(&profile, &mut child) {
            Ok(socket) => {
                let wire = Wire { socket, last_id: 0, events: Vec::new() };
                Browser { child, profile, wire: RefCell::new(wire) }
            }
            Err(why) => {
                end(&mut child, &profile);
                panic!("{}: {why}", chromium.display());
            }
        }
    }

    /// Opens `url` in a new tab, in front, and waits until it has loaded.
    pub fn open(&self, url: &str) -> Tab<'_> {
        let target = self.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let target = target["targetId"].as_str().expect("a target id").to_owned();
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.call(None, "Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().expect("a session id").to_owned();
        let tab = Tab { browser: self, target, session };
        for domain in ["Runtime.enable", "Log.enable", "Page.enable"] {
            tab.call(domain, json!({}));
        }
        tab.call("Page.navigate", json!({ "url": url }));
        let loaded = "location.href !== 'about:blank' && document.readyState === 'complete'";
        tab.wait_for(&format!("{url} to load"), loaded, Duration::from_secs(20));
        tab
    }

    fn call(&self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.wire.borrow_mut().call(session, method, params)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        end(&mut self.child, &self.profile);
    }
}

/// One tab. Dropping it closes it.
pub struct Tab<'a> {
    browser: &'a Browser,
    target: String,
    session: String,
}

impl Tab<'_> {
    /// The value of a JavaScript expression; a promise is awaited. Panics on an exception, with
    /// everything the page complained about before.
    pub fn eval(&self, expression: &str) -> Value {
        match self.try_eval(expression) {
            Ok(value) => value,
            Err(why) => {
                panic!("`{expression}` threw: {why}\npage complaints: {:#?}", self.complaints())
            }
        }
    }

    /// As [`Tab::eval`], with the exception's text as the error.
    pub fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params);
        match answer.get("exceptionDetails") {
            None => Ok(answer["result"]["value"].take()),
            Some(details) => Err(exception_text(details)),
        }
    }

    /// Waits until the expression, or what its promise gives, is truthy. Panics, naming `what`,
    /// when it is not in time.
    pub fn wait_for(&self, what: &str, expression: &str, within: Duration) {
        let deadline = Instant::now() + within;
        // Awaited before it is judged: a promise by itself would always be truthy.
        let judged = format!("(async () => Boolean(await ({expression})))()");
        while self.eval(&judged) != Value::Bool(true) {
            if Instant::now() > deadline {
                let page = self.eval("document.body?.innerText ?? ''");
                let complaints = self.complaints();
                panic!("waited {within:?} for {what}\n{complaints:#?}\npage:\n{page:#}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Console errors and warnings, uncaught exceptions and failed requests so far.
    pub fn complaints(&self) -> Vec<String> {
        // A round trip collects what is still on its way.
        self.call("Runtime.evaluate", json!({ "expression": "0" }));
        let wire = self.browser.wire.borrow();
        let mine = wire.events.iter().filter(|(session, ..)| *session == self.session);
        mine.filter_map(|(_, method, params)| complaint(method, params)).collect()
    }

    /// Brings the tab to the front.
    pub fn show(&self) {
        self.call("Page.bringToFront", json!({}));
    }

    /// Presses and lets go a key: `Tab`, `Enter` or `Escape`.
    pub fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            other => panic!("no key code is known for {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            // Without the character, links and buttons do not heed Enter.
            if key == "Enter" && kind == "keyDown" {
                event["text"] = json!("\r");
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Gives the page the width of a phone or of a desk, in CSS pixels.
    pub fn set_width(&self, width: u32) {
        self.set_size(width, 800);
    }

    /// Gives the page this size, in CSS pixels.
    pub fn set_size(&self, width: u32, height: u32) {
        let is_phone = width.min(height) < 600;
        let screen = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
            "mobile": is_phone });
        self.call("Emulation.setDeviceMetricsOverride", screen);
    }

    /// Has the system prefer `light` or `dark`, and nothing that moves: colours change at once.
    pub fn set_scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }
}

impl Drop for Tab<'_> {
    fn drop(&mut self) {
        // While a test unwinds, the whole browser goes anyway; another panic would hide the first.
        if !std::thread::panicking() {
            self.browser.call(None, "Target.closeTarget", json!({ "targetId": self.target }));
        }
    }
}

impl Wire {
    fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut request = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            request["sessionId"] = json!(session);
        }
        let sent = self.socket.send(Message::text(request.to_string()));
        sent.unwrap_or_else(|e| panic!("{method}: the browser is gone: {e}"));
        loop {
            let message = self.socket.read();
            let message = message.unwrap_or_else(|e| panic!("{method}: no answer: {e}"));
            let Message::Text(text) = message else { continue };
            let mut said: Value = serde_json::from_str(&text).expect("DevTools speaks JSON");
            if said["id"] == json!(id) {
                // A page that is about to be another answers nothing; who waits asks again.
                let why = said["error"]["message"].as_str().unwrap_or_default().to_owned();
                let is_leaving = why.contains("navigated") || why.contains("context");
                assert!(why.is_empty() || is_leaving, "{method}: {}", said["error"]);
                return said["result"].take();
            }
            if let Some(event) = said["method"].as_str() {
                let session = said["sessionId"].as_str().unwrap_or_default().to_owned();
                self.events.push((session, event.to_owned(), said["params"].clone()));
            }
        }
    }
}

/// The browser writes the port it chose, and the path of its WebSocket, into its profile.
fn connect(profile: &Path, child: &mut Child) -> Result<WebSocket<TcpStream>, String> {
    let deadline = Instant::now() + START_TIMEOUT;
    let (port, path) = loop {
        let text = std::fs::read_to_string(profile.join("DevToolsActivePort"));
        let text = text.unwrap_or_default();
        if let Some((port, path)) = text.split_once('\n').filter(|(_, path)| !path.is_empty()) {
            break (port.to_owned(), path.trim().to_owned());
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("ended at once with {status}"));
        }
        if Instant::now() > deadline {
            return Err(format!("opened no DevTools port within {START_TIMEOUT:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let stream = TcpStream::connect(format!("127.0.0.1:{port}")).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(CALL_TIMEOUT)).map_err(|e| e.to_string())?;
    let url = format!("ws://127.0.0.1:{port}{path}");
    let (socket, _) = tungstenite::client(url, stream).map_err(|e| e.to_string())?;
    Ok(socket)
}

fn end(child: &mut Child, profile: &Path) {
    // Errors mean that it has ended already, which is what is wanted.
    let _ = child.kill();
    let _ = child.wait();
    // Its helper processes may still write for a moment while they notice.
    for _ in 0..20 {
        if std::fs::remove_dir_all(profile).is_ok() || !profile.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn complaint(method: &str, params: &Value) -> Option<String> {
    match method {
        "Runtime.exceptionThrown" => Some(exception_text(&params["exceptionDetails"])),
        "Runtime.consoleAPICalled" => {
            let kind = params["type"].as_str()?;
            matches!(kind, "error" | "warning" | "assert")
                .then(|| format!("console.{kind}: {}", params["args"]))
        }
        "Log.entryAdded" => {
            let entry = &params["entry"];
            let url = entry["url"].as_str().unwrap_or_default();
            (entry["level"] == "error")
                .then(|| format!("{} {url}", entry["text"].as_str().unwrap_or_default()))
        }
        _ => None,
    }
}

fn exception_text(details: &Value) -> String {
    let described = details["exception"]["description"].as_str();
    described.or(details["text"].as_str()).unwrap_or("an exception without text").to_owned()
}
