//! `weir l7 show|set|unset`: how the L7 path serves a service, in the vocabulary of the configuration file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Global;
use super::failure::Failure;
use super::origin_word;
use super::output::{Format, Output};
use super::reach::Daemon;
use super::table::printable;
use crate::config::{L7Refused, ReadL7, l7_text, read_json, read_l7_json, read_l7_toml};
use crate::control::client::ChangeOptions;
use crate::control::types::{Applied, Item, L7Holds, L7SetAside, L7Settings, L7SettingsDocument, Outcome};

/// Arguments of `weir l7 show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The service
    pub service: String,
    /// Print the settings of the API that are not in force, instead of those that are
    #[arg(long)]
    pub set_aside: bool,
}

/// Arguments of `weir l7 set`.
#[derive(Clone, Debug, Args)]
pub struct SetArgs {
    /// The service, of the file, a flag or the API
    pub service: String,
    /// TOML as it would stand under the service in weir.toml, or JSON; - for standard input
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Arguments of `weir l7 unset`.
#[derive(Clone, Debug, Args)]
pub struct UnsetArgs {
    /// The service
    pub service: String,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

pub(super) fn show(args: &ShowArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let found = daemon.ask(daemon.client.l7_settings(&args.service))?.value;
    match wanted(&found, args.set_aside, output.format)? {
        Some(text) => output.text(&text),
        None => output.json_only(&found),
    }
}

/// The text that was asked for; none for the document itself.
fn wanted(found: &L7SettingsDocument, set_aside: bool, format: Format) -> Result<Option<String>, Failure> {
    if set_aside && found.set_aside.is_none() {
        return Err(none_aside(found));
    }
    match format {
        Format::Json => Ok(None),
        Format::Table if set_aside => aside_text(found).map(Some),
        Format::Table => text(found).map(Some),
    }
}

pub(super) fn set(args: &SetArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let settings = read(&args.service, &args.file, output)?;
    let daemon = Daemon::reach(global)?;
    let options = ChangeOptions { dry_run: args.dry_run, ..daemon.options() };
    let applied = daemon.ask(daemon.client.put_l7_settings(&args.service, &settings, options))?;
    report(&applied, &args.service, "set how it is served", output)
}

pub(super) fn unset(args: &UnsetArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    let options = ChangeOptions { dry_run: args.dry_run, ..daemon.options() };
    let applied = daemon.ask(daemon.client.delete_l7_settings(&args.service, options))?;
    report(&applied, &args.service, "dropped what was set", output)
}

/// Reads a file of settings and checks it as the daemon will, so that a mistake is shown where it stands.
pub(super) fn read(service: &str, file: &Path, output: &Output) -> Result<L7Settings, Failure> {
    let (name, text) = content(file)?;
    if text.trim().is_empty() {
        // What a failed download leaves behind must not take a service's routes and access rules away.
        return Err(Failure::Failed(format!(
            "{name} is empty, so nothing was changed; for plain TCP write: codec = \"tcp\""
        )));
    }
    if text.trim_start().starts_with('{') {
        let value = read_json(&text)
            .map_err(|error| Failure::Failed(format!("{name} cannot be read as JSON: {error}")))?;
        return checked(service, &value);
    }
    match read_l7_toml(service, &name, &text) {
        Ok(ReadL7 { l7, warnings }) => {
            warnings.iter().for_each(|warning| output.say(&warning.to_string()));
            Ok(L7Settings((*l7.written).clone()))
        }
        Err(L7Refused(found)) => {
            let findings: String = found.iter().map(|one| format!("{}\n\n", one.diagnostic)).collect();
            Err(Failure::Failed(
                format!("{name} is not in order, so nothing was changed\n{findings}").trim_end().to_owned(),
            ))
        }
    }
}

/// The same of an object.
pub(super) fn checked(service: &str, value: &Value) -> Result<L7Settings, Failure> {
    match read_l7_json(service, value) {
        Ok(read) => Ok(L7Settings((*read.l7.written).clone())),
        Err(refused) => {
            let line = |one: &crate::config::L7Finding| {
                format!("\n  {}: {}; {}", one.pointer, one.diagnostic.message, one.diagnostic.hint)
            };
            let lines: String = refused.0.iter().map(line).collect();
            Err(Failure::Failed(format!("the settings are not in order, so nothing was changed{lines}")))
        }
    }
}

fn content(file: &Path) -> Result<(String, String), Failure> {
    let mut text = String::new();
    let (name, read) = if file == Path::new("-") {
        let read = std::io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text);
        ("standard input".to_owned(), read)
    } else {
        let open = std::fs::File::open(file);
        (file.display().to_string(), open.and_then(|open| open.take(LARGEST + 1).read_to_string(&mut text)))
    };
    let length = read.map_err(|error| Failure::Failed(format!("cannot read {name}: {error}")))?;
    if u64::try_from(length).is_ok_and(|length| length <= LARGEST) {
        return Ok((name, text));
    }
    Err(Failure::Failed(format!("{name} is larger than {LARGEST} bytes, which the daemon does not take")))
}

fn text(found: &L7SettingsDocument) -> Result<String, Failure> {
    let L7SettingsDocument { generation, service, origin, overridden, settings, set_aside } = found;
    let over = if *overridden { ", over the file" } else { "" };
    let name = printable(service);
    let aside = set_aside.as_ref().map(|aside| aside_lines(&name, aside)).unwrap_or_default();
    if settings.0.is_empty() {
        return Ok(format!(
            "# Service {name} is not served by the L7 path, generation {generation}\n{aside}"
        ));
    }
    Ok(format!(
        "# L7 settings of service {name}, origin {}{over}, generation {generation}\n{aside}# Set again, if nothing else has changed: \
         weir l7 set {name} --file FILE --if-gen {generation}\n{}",
        origin_word(*origin),
        toml(settings)?
    ))
}

/// The settings that were set aside, to be mended and set again.
fn aside_text(found: &L7SettingsDocument) -> Result<String, Failure> {
    let name = printable(&found.service);
    let Some(aside) = &found.set_aside else {
        return Err(none_aside(found));
    };
    let why = printable(&aside.why);
    Ok(format!("# L7 settings of service {name} that are not in force: {why}\n{}", toml(&aside.settings)?))
}

fn none_aside(found: &L7SettingsDocument) -> Failure {
    Failure::Failed(format!("no L7 settings of service {} are set aside", printable(&found.service)))
}

/// What was set aside, in comments.
fn aside_lines(name: &str, aside: &L7SetAside) -> String {
    let holds = match aside.holds {
        L7Holds::Orphaned => " and deny nobody, for the service itself is not in force",
        L7Holds::Nothing => "",
        L7Holds::Access => ", but for their `access`",
        L7Holds::Refusal => ", and the service refuses everybody, since they may have denied clients",
    };
    format!(
        "# The settings that the API set are not in force{holds}: {}\n# They are printed by: weir l7 show {name} --set-aside; \
         dropped by: weir l7 unset {name}\n",
        printable(&aside.why)
    )
}

fn toml(settings: &L7Settings) -> Result<String, Failure> {
    l7_text(&settings.0)
        .map_err(|error| Failure::Failed(format!("the settings cannot be written as TOML: {error}")))
}

fn report(applied: &Applied, service: &str, done: &str, output: &Output) -> Result<(), Failure> {
    for warning in &applied.warnings {
        output.say(&format!("warning {}: {}", warning.code, warning.detail));
    }
    if output.quiet {
        return output.json_only(applied);
    }
    output.data(applied, |applied| report_text(applied, service, done))
}

fn report_text(applied: &Applied, service: &str, done: &str) -> String {
    let mut text = changes(&applied.items);
    let name = printable(service);
    let verdict = match (applied.changed, applied.dry_run) {
        (false, _) => format!("{name}: nothing to change"),
        (true, true) => format!("{name}: this would change, and nothing was changed"),
        (true, false) => format!("{name}: {done}"),
    };
    text.push_str(&format!("{verdict} (generation {})\n", applied.generation));
    text
}

/// What comes, goes and changes, a line each.
pub(super) fn changes(items: &[Item]) -> String {
    let mut text = String::new();
    for item in items {
        let sign = match item.outcome {
            Outcome::Added => "+",
            Outcome::Removed => "-",
            Outcome::Updated => "~",
            Outcome::Exists | Outcome::Absent | Outcome::Refused => continue,
        };
        let note = item.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        text.push_str(&printable(&format!("{sign} {}{note}", item.item)));
        text.push('\n');
    }
    text
}

/// Largest file, bytes: more than `show` prints of any settings that the daemon takes.
const LARGEST: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Origin;

    #[test]
    fn what_was_set_aside_is_told_and_printed_to_be_set_again() {
        let settings = |value: Value| serde_json::from_value::<L7Settings>(value).unwrap();
        let aside = settings(json!({ "codec": "http1", "route": [{ "to": "gone" }] }));
        let mut found = L7SettingsDocument {
            generation: 7,
            service: "shop".into(),
            origin: Origin::File,
            overridden: false,
            settings: settings(json!({ "codec": "http1" })),
            set_aside: Some(L7SetAside {
                why: "no service `gone`".into(),
                holds: L7Holds::Access,
                settings: aside,
            }),
        };
        let shown = text(&found).unwrap();
        let told = "not in force, but for their `access`: no service `gone`\n# They are printed by: weir l7 show shop --set-aside;";
        assert!(shown.contains(told) && shown.ends_with("--if-gen 7\ncodec = \"http1\"\n"), "{shown}");
        let printed = aside_text(&found).unwrap();
        assert!(printed.ends_with("codec = \"http1\"\n\n[[service.route]]\nto = \"gone\"\n"), "{printed}");
        assert!(read_l7_toml("shop", "x", &printed).is_ok() && read_l7_toml("shop", "x", &shown).is_ok());
        found.settings = L7Settings::default();
        assert!(text(&found).unwrap().starts_with("# Service shop is not served by the L7 path"));
        found.set_aside.as_mut().unwrap().holds = L7Holds::Orphaned;
        assert!(text(&found).unwrap().contains("not in force and deny nobody"));
        found.set_aside = None;
        for format in [Format::Json, Format::Table] {
            assert!(wanted(&found, true, format).is_err(), "what is in force is not what was asked for");
        }
        assert!(wanted(&found, false, Format::Json).unwrap().is_none());
        assert!(aside_text(&found).is_err());
    }
}
