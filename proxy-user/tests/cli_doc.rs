//! `docs/cli.md` names every command and every flag.

use clap::{Command, CommandFactory};
use proxy_user::cli::Cli;

#[test]
fn the_page_names_every_command_and_flag() {
    let page = include_str!("../../docs/cli.md");
    let mut missing = Vec::new();
    walk(&Cli::command(), "weir", page, &mut missing);
    assert!(missing.is_empty(), "docs/cli.md does not name: {}", missing.join(", "));
}

fn walk(command: &Command, path: &str, page: &str, missing: &mut Vec<String>) {
    let is_leaf = command.get_subcommands().next().is_none();
    let named = page.contains(&format!("`{path}`")) || page.contains(&format!("`{path} "));
    if is_leaf && !named {
        missing.push(path.to_owned());
    }
    for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
        if !page.contains(&format!("--{flag}")) {
            missing.push(format!("{path} --{flag}"));
        }
    }
    let told = |subcommand: &&Command| subcommand.get_name() != "help" && !subcommand.is_hide_set();
    for subcommand in command.get_subcommands().filter(told) {
        walk(subcommand, &format!("{path} {}", subcommand.get_name()), page, missing);
    }
}
