//! A headless Chromium that a test drives by its DevTools protocol.
//!
//! Invariant: it has a profile of its own in the folder it was given, listens on the loopback address, and ends
//! with the value that stands for it; everything that a page asks for or complains of is kept.

use std::io;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use camino::Utf8Path;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::processes::wait_until;

/// Everything that is waited for happens within this time, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The browser with one page.
pub struct Chromium {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    last_id: u64,
    /// Addresses that the page has asked for since it was last loaded.
    pub requests: Vec<String>,
    /// What the page has complained of since it was last loaded.
    pub complaints: Vec<String>,
    is_loaded: bool,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Width of the window.
    pub width: u32,
    /// Height of the window.
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
    /// `screen` or `print`.
    pub media: &'static str,
}

impl Chromium {
    /// Starts it, with its profile in `folder`.
    ///
    /// # Errors
    /// When it does not start, or does not answer.
    pub fn start(program: &Utf8Path, folder: &Utf8Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(["--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--hide-scrollbars", "--no-default-browser-check"]);
        if rustix::process::geteuid().is_root() {
            // Its sandbox does not work for root.
            command.arg("--no-sandbox");
        }
        command.arg(format!("--user-data-dir={folder}")).arg("about:blank").env("HOME", folder);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut guard = Ended(Some(child));
        let socket = connect(folder)?;
        let child = guard.0.take().ok_or_else(|| io::Error::other("no browser"))?;
        let mut browser = Self {
            child,
            socket,
            session: String::new(),
            last_id: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            is_loaded: false,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attached = browser
            .call("Target.attachToTarget", &json!({"targetId": target["targetId"], "flatten": true}))?;
        browser.session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        for domain in ["Page", "Network", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Loads a file as it is looked at in one way.
    ///
    /// # Errors
    /// When that does not come to an end.
    pub fn load(&mut self, file: &Utf8Path, view: View) -> io::Result<()> {
        self.look(view)?;
        self.requests.clear();
        self.complaints.clear();
        self.is_loaded = false;
        let answer = self.call("Page.navigate", &json!({"url": format!("file://{file}")}))?;
        if let Some(error) = answer.get("errorText") {
            return Err(io::Error::other(format!("{file}: {error}")));
        }
        let began = Instant::now();
        while !self.is_loaded {
            if began.elapsed() > LIMIT {
                return Err(io::Error::other(format!("{file} is not loaded after {LIMIT:?}")));
            }
            self.hear()?;
        }
        Ok(())
    }

    /// Looks at the page in another way.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub fn look(&mut self, view: View) -> io::Result<()> {
        let View { width, height, scheme, media } = view;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", &metrics)?;
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"media": media, "features": features}))?;
        Ok(())
    }

    /// The value of an expression in the page.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> io::Result<Value> {
        let words = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", &words)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(io::Error::other(format!("{expression}: {details}"))),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// The whole page as a PNG file.
    ///
    /// # Errors
    /// When the browser does not make one.
    pub fn picture(&mut self) -> io::Result<Vec<u8>> {
        // A picture cannot be higher than what the graphics of some machines hold.
        const HEIGHT_MAX: f64 = 12_000.0;
        let size = self.call("Page.getLayoutMetrics", &json!({}))?["cssContentSize"].clone();
        let height = size["height"].as_f64().unwrap_or(1.0).clamp(1.0, HEIGHT_MAX);
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": height, "scale": 1});
        let words = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.call("Page.captureScreenshot", &words)?;
        decoded(&answer["data"])
    }

    /// The page as it is printed, as a PDF file.
    ///
    /// # Errors
    /// When the browser does not make one.
    pub fn pdf(&mut self) -> io::Result<Vec<u8>> {
        let answer = self.call("Page.printToPDF", &json!({"printBackground": true}))?;
        decoded(&answer["data"])
    }

    fn call(&mut self, method: &str, words: &Value) -> io::Result<Value> {
        self.last_id += 1;
        let mut message = json!({"id": self.last_id, "method": method, "params": words});
        if !self.session.is_empty() {
            message["sessionId"] = json!(self.session);
        }
        self.socket.send(Message::text(message.to_string())).map_err(io::Error::other)?;
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let heard = self.hear()?;
            if heard["id"] == json!(self.last_id) {
                return match heard.get("error") {
                    Some(error) => Err(io::Error::other(format!("{method}: {error}"))),
                    None => Ok(heard["result"].clone()),
                };
            }
        }
        Err(io::Error::other(format!("{method}: no answer after {LIMIT:?}")))
    }

    /// One message of the browser; what the page does is noted.
    fn hear(&mut self) -> io::Result<Value> {
        let message = self.socket.read().map_err(io::Error::other)?;
        let Message::Text(text) = message else { return Ok(Value::Null) };
        let heard: Value = serde_json::from_str(text.as_str()).map_err(io::Error::other)?;
        let words = &heard["params"];
        match heard["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                self.requests.push(words["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
                self.complaints.push(words.to_string());
            }
            "Page.loadEventFired" => self.is_loaded = true,
            _ => {}
        }
        Ok(heard)
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.socket.send(Message::text(r#"{"id":0,"method":"Browser.close"}"#));
        // It writes its profile, which is removed with its folder.
        let has_ended = wait_until(Duration::from_secs(10), || matches!(self.child.try_wait(), Ok(Some(_))));
        if !has_ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Ends a browser that could not be spoken to.
struct Ended(Option<Child>);

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The browser writes its port and the path of its socket into its profile.
fn connect(folder: &Utf8Path) -> io::Result<WebSocket<TcpStream>> {
    let file = folder.join("DevToolsActivePort");
    let mut place = None;
    wait_until(LIMIT, || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        place = text.split_once('\n').map(|(port, path)| (port.to_owned(), path.trim().to_owned()));
        place.is_some()
    });
    let (port, path) = place.ok_or_else(|| io::Error::other("the browser does not listen"))?;
    let stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let (socket, _) =
        tungstenite::client(format!("ws://127.0.0.1:{port}{path}"), stream).map_err(io::Error::other)?;
    Ok(socket)
}

fn decoded(data: &Value) -> io::Result<Vec<u8>> {
    let engine = base64::engine::general_purpose::STANDARD;
    engine.decode(data.as_str().unwrap_or_default()).map_err(io::Error::other)
}
