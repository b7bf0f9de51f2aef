//! A server that writes down what it reads: its own reading of HTTP/1, by the letter and by nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) body: Vec<u8>,
    /// What is wrong with it, if anything is.
    pub(crate) fault: Option<String>,
}

/// What was read, in order.
#[derive(Clone, Default)]
pub(crate) struct Records {
    list: Arc<Mutex<Vec<Request>>>,
    /// Requests that have begun to come, and are not in the list.
    open: Arc<AtomicUsize>,
}

impl Records {
    /// All, once no request is in the middle of coming.
    pub(crate) fn take(&self) -> Vec<Request> {
        for _ in 0..2000 {
            if self.open.load(Ordering::SeqCst) == 0 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::mem::take(&mut *self.list.lock().unwrap())
    }
}

/// Dropping it ends it.
pub(crate) struct Recorder {
    pub(crate) at: SocketAddr,
    pub(crate) records: Records,
    stop: Arc<AtomicBool>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (at, records, stop) =
            (listener.local_addr().unwrap(), Records::default(), Arc::new(AtomicBool::new(false)));
        let (notes, over) = (records.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), notes) = (stream, notes.clone()) else { return };
                std::thread::spawn(move || serve(stream, &notes));
            }
        });
        Self { at, records, stop }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.at);
    }
}

fn serve(mut stream: TcpStream, records: &Records) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let Some(request) = read(&mut reader, &records.open) else { return };
        let faulty = request.fault.is_some();
        let close = request.target.contains("last");
        records.list.lock().unwrap().push(request);
        records.open.fetch_sub(1, Ordering::SeqCst);
        let answer = if close {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
        } else {
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        };
        if stream.write_all(answer.as_bytes()).is_err() || faulty || close {
            return;
        }
    }
}

/// The next request, which is `open` from its first byte on; `None`: the connection has ended between two.
fn read(reader: &mut BufReader<TcpStream>, open: &AtomicUsize) -> Option<Request> {
    let mut request = Request {
        method: String::new(),
        target: String::new(),
        host: String::new(),
        body: Vec::new(),
        fault: None,
    };
    if reader.fill_buf().ok()?.is_empty() {
        return None;
    }
    open.fetch_add(1, Ordering::SeqCst);
    if let Err(fault) = read_whole(reader, &mut request) {
        request.fault = Some(fault);
    }
    Some(request)
}

fn read_whole(reader: &mut BufReader<TcpStream>, request: &mut Request) -> Result<(), String> {
    let mut first = Vec::new();
    reader.read_until(b'\n', &mut first).map_err(|error| error.to_string())?;
    let line = text(&first)?;
    let [method, target, "HTTP/1.0" | "HTTP/1.1"] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("request line {line:?}"));
    };
    (request.method, request.target) = (method.to_owned(), target.to_owned());
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        let line = text(&line)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| format!("field {line:?}"))?;
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().replace('_', "-").as_str() {
            "content-length" if length.is_some() => return Err("two lengths".into()),
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                length =
                    Some(value.parse().ok().filter(|_| digits).ok_or_else(|| format!("length {value:?}"))?);
            }
            "transfer-encoding" if chunked || value != value.trim() => return Err("two codings".into()),
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => chunked = true,
            "transfer-encoding" => return Err(format!("coding {value:?}")),
            "host" => {
                hosts += 1;
                request.host = value.to_owned();
            }
            name if name.is_empty() || name.contains([' ', '\t']) => return Err(format!("field {line:?}")),
            _ => {}
        }
    }
    if hosts > 1 || chunked && length.is_some() {
        return Err(format!("{hosts} hosts, chunked: {chunked}, length: {length:?}"));
    }
    if chunked {
        return chunks(reader, &mut request.body);
    }
    let length: u64 = length.unwrap_or(0);
    match reader.take(length).read_to_end(&mut request.body) {
        Ok(count) if count as u64 == length => Ok(()),
        _ => Err("the body is cut".into()),
    }
}

fn chunks(reader: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Result<(), String> {
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        let line = text(&line)?;
        let size = line.split([';', ' ', '\t']).next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {line:?}"))?;
        if size == 0 {
            break;
        }
        let before = body.len();
        let taken = reader.take(size as u64).read_to_end(body);
        let mut end = [0; 2];
        if taken.is_err() || body.len() - before < size || reader.read_exact(&mut end).is_err() {
            return Err("a chunk is cut".into());
        }
        if &end != b"\r\n" {
            return Err("a chunk does not end with CRLF".into());
        }
    }
    // Trailers.
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        let line = text(&line)?;
        if line.is_empty() {
            return Ok(());
        }
        if line.split_once(':').is_none_or(|(name, _)| name.is_empty() || name.contains([' ', '\t'])) {
            return Err(format!("trailer {line:?}"));
        }
    }
}

/// A line without its CRLF; anything else is no line.
fn text(line: &[u8]) -> Result<String, String> {
    let whole = line
        .strip_suffix(b"\r\n")
        .ok_or_else(|| format!("line end of {:?}", String::from_utf8_lossy(line)))?;
    if whole.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(format!("control character in {:?}", String::from_utf8_lossy(line)));
    }
    Ok(whole.iter().map(|byte| char::from(*byte)).collect())
}
