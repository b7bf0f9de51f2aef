//! The flags of `weir run` that say the same things as the file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bounds;
use super::check::{Checked, add_file, interface_name};
use super::parse::{self, ParseError};
use super::problem::{Code, Severity};
use super::report::Report;
use super::settings::{AttachMode, Interface};
use crate::model::{AclList, Action, AdminState, Backend, Origin, Scope, Service, Vip};

/// List of `--pass` files and its order: before everything else.
const PASS_LIST: (&str, u32) = ("flag-pass", 0);
/// List of `--deny` files and its order: next.
const DENY_LIST: (&str, u32) = ("flag-deny", 1);

/// Flags of `weir run`; they add to the file, and a conflict with it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--iface NAME`, native mode.
    pub interfaces: Vec<String>,
    /// `--vip VIP=BACKEND[@WEIGHT],...`: a `nat` service.
    pub vips: Vec<String>,
    /// `--deny FILE`: list files whose sources are dropped.
    pub deny: Vec<PathBuf>,
    /// `--pass FILE`: list files whose sources are passed before any other list.
    pub pass: Vec<PathBuf>,
}

/// Adds the flags to what the file says.
pub(super) fn add(flags: &Flags, checked: &mut Checked, report: &mut Report) {
    for name in &flags.interfaces {
        if let Err(hint) = interface_name(name) {
            let message = format!("--iface {name}: this is not a name of a network interface");
            report.add(Code::BadValue, Severity::Error, message, hint, &[]);
        }
        let interface = Interface { mode: AttachMode::Native, origin: Origin::Flag };
        checked.settings.interfaces.entry(name.clone()).or_insert(interface);
    }
    for text in &flags.vips {
        add_vip(text, checked, report);
    }
    add_list(PASS_LIST, Action::Pass, &flags.pass, checked, report);
    add_list(DENY_LIST, Action::Drop, &flags.deny, checked, report);
}

fn add_vip(text: &str, checked: &mut Checked, report: &mut Report) {
    let mut bad = |error: &ParseError| {
        let (what, how) = error.what_and_how();
        report.add(Code::BadValue, Severity::Error, format!("--vip {text}: {what}"), how, &[]);
    };
    let (vip, list) = text.split_once('=').unwrap_or((text, ""));
    let vip: Vip = match vip.parse() {
        Ok(vip) => vip,
        Err(error) => return bad(&error),
    };
    let mut backends = BTreeMap::new();
    let mut twice = None;
    for one in list.split(',').filter(|one| !one.is_empty()) {
        match parse::weighted_backend(one, vip.port) {
            Ok((addr, weight)) => {
                let backend = Backend { weight, state: AdminState::Active, origin: Origin::Flag };
                if backends.insert(addr, backend).is_some() {
                    twice = Some(addr);
                }
            }
            Err(error) => bad(&error),
        }
    }
    if let Some(addr) = twice {
        let message = format!("--vip {text}: backend {addr} is named twice");
        report.add(Code::Duplicate, Severity::Error, message, "name it once, with @WEIGHT for a share", &[]);
    }
    let name = parse::vip_name(&vip);
    let service = Service {
        vip,
        forward: Default::default(),
        announce: Default::default(),
        unknown_port: Default::default(),
        syn_budget: bounds::SYN_BUDGET,
        origin: Origin::Flag,
        backends,
        discovery: None,
        health: None,
        publish: Vec::new(),
        l7: None,
    };
    if checked.part.services.insert(name.clone(), service).is_some() {
        let message = format!("--vip {text}: there is a service `{name}` already");
        report.add(
            Code::DuplicateName,
            Severity::Error,
            message,
            "name each VIP once, backends by comma",
            &[],
        );
    }
}

fn add_list(
    (name, order): (&str, u32),
    action: Action,
    files: &[PathBuf],
    checked: &mut Checked,
    report: &mut Report,
) {
    if files.is_empty() {
        return;
    }
    let mut entries = BTreeMap::new();
    for file in files {
        add_file(file, Origin::Flag, report, &mut entries);
    }
    let list = AclList { order, action, scope: Scope::All, origin: Origin::Flag, entries };
    if checked.part.acl.lists.insert(name.to_owned(), list).is_some() {
        let message = format!("the file has a list `{name}`, the name that --pass and --deny use");
        report.add(Code::DuplicateName, Severity::Error, message, "rename the file's list", &[]);
    }
}
