//! nginx and HAProxy as reverse proxies on the loopback, each with a listener for each of some backends.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bed::{Program, find};

/// A proxy under comparison. Dropping it ends it.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    /// One for each backend.
    pub(crate) at: Vec<SocketAddr>,
    _program: Program,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// `None`: it is not installed.
    pub(crate) fn start(name: &'static str, backends: &[SocketAddr]) -> Option<Self> {
        let path = find(name)?;
        // Others may take a port in between.
        (0..5).find_map(|_| Self::try_start(name, &path, backends, false))
    }

    /// An nginx that answers itself: with the target and the host that it has got.
    pub(crate) fn echo() -> Option<Self> {
        let path = find("nginx")?;
        let nobody = [([0, 0, 0, 0], 0).into()];
        (0..5).find_map(|_| Self::try_start("nginx", &path, &nobody, true))
    }

    fn try_start(name: &'static str, path: &Path, backends: &[SocketAddr], echoes: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let free: Vec<TcpListener> =
            backends.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let at: Vec<SocketAddr> = free.iter().map(|listener| listener.local_addr().unwrap()).collect();
        drop(free);
        let pairs = at.iter().zip(backends);
        let text = match name {
            "nginx" if echoes => nginx_echo(at.first()?, dir.path()),
            "nginx" => nginx(pairs, dir.path()),
            _ => haproxy(pairs),
        };
        let config = dir.path().join("config");
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new(path);
        if name == "nginx" {
            command.args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(&config);
        } else {
            command.args(["-db", "-f"]).arg(&config);
        }
        let output = std::fs::File::create(dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        let mut program = Program(command.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(10);
        for at in &at {
            while TcpStream::connect(at).is_err() {
                if program.0.try_wait().unwrap().is_some() || Instant::now() > end {
                    let log = std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
                    eprintln!("{name} does not start: {log}");
                    return None;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Some(Self { name, at, _program: program, _dir: dir })
    }
}

fn nginx<'a>(pairs: impl Iterator<Item = (&'a SocketAddr, &'a SocketAddr)>, dir: &Path) -> String {
    let mut text = nginx_front(dir);
    for (at, backend) in pairs {
        let _ = writeln!(
            text,
            "server {{ listen {at}; location / {{ proxy_http_version 1.1; proxy_set_header Connection \"\"; \
             proxy_set_header Host $http_host; proxy_pass http://{backend}; }} }}"
        );
    }
    text + "}\n"
}

fn nginx_echo(at: &SocketAddr, dir: &Path) -> String {
    let says = "return 200 \"$request_method $request_uri $http_host $http_x_forwarded_host\";";
    format!("{}server {{ listen {at}; location / {{ {says} }} }}\n}}\n", nginx_front(dir))
}

fn nginx_front(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "daemon off;\nmaster_process off;\npid {dir}/pid;\nerror_log stderr crit;\nevents {{ worker_connections 512; }}\n\
         http {{\naccess_log off;\nclient_max_body_size 0;\nclient_body_temp_path {dir}/b;\nproxy_temp_path {dir}/p;\n\
         fastcgi_temp_path {dir}/f;\nuwsgi_temp_path {dir}/u;\nscgi_temp_path {dir}/s;\n"
    )
}

fn haproxy<'a>(pairs: impl Iterator<Item = (&'a SocketAddr, &'a SocketAddr)>) -> String {
    let mut text = "global\n  nbthread 1\n  maxconn 512\ndefaults\n  mode http\n  http-reuse never\n  \
                    timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
        .to_owned();
    for (number, (at, backend)) in pairs.enumerate() {
        let _ = writeln!(text, "listen l{number}\n  bind {at}\n  server s {backend}");
    }
    text
}
