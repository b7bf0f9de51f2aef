//! `weir acl add` and `weir acl del`.

use super::{AddArgs, CreateArgs, DENY, DelArgs, action_word};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::reach::{Daemon, report};
use crate::config::parse;
use crate::control::types::{Applied, Code, EntryAdd, ListPatch, ListSummary};
use crate::model::{Action, Scope};

pub(super) fn add(args: AddArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    checked(&args.prefixes)?;
    let mut patch = patch_of(&args.list, &args.create, daemon, output)?;
    patch.add = args
        .prefixes
        .into_iter()
        .map(|prefix| EntryAdd {
            prefix,
            ttl: args.ttl.clone(),
            expires_at: None,
            reason: args.reason.clone(),
        })
        .collect();
    let applied = send(&args.list, &patch, true, daemon)?;
    let changed = match applied.counts.updated {
        0 => String::new(),
        updated => format!(", changed {updated}"),
    };
    report(&applied, &format!("added {} to {}{changed}", applied.counts.added, args.list), output)
}

pub(super) fn del(args: DelArgs, daemon: &Daemon, output: &Output) -> Result<(), Failure> {
    checked(&args.prefixes)?;
    let patch = ListPatch { remove: args.prefixes, ..ListPatch::default() };
    let applied = daemon.ask(daemon.client.patch_list(&args.list, &patch, true, daemon.options()))?;
    report(&applied, &format!("removed {} from {}", applied.counts.removed, args.list), output)
}

/// Sends a patch; a list that is missing is answered in terms of the command line.
pub(super) fn send(list: &str, patch: &ListPatch, atomic: bool, daemon: &Daemon) -> Result<Applied, Failure> {
    let sent = daemon.client.patch_list(list, patch, atomic, daemon.options());
    daemon.look(Code::UnknownList, sent)?.ok_or_else(|| missing(list))
}

/// There is no such list, and nobody asked for it to be made.
pub(super) fn missing(list: &str) -> Failure {
    Failure::Refused {
        exit: Exit::Failed,
        code: Code::UnknownList.label().to_owned(),
        message: format!(
            "there is no list {list} [{}]\n  hint: `weir acl lists` names them; make it with --create (and --action, \
             --order, --scope)",
            Code::UnknownList.label()
        ),
    }
}

/// A patch that makes the list where it has to be made: on `--create`, and for the default list.
pub(super) fn patch_of(
    list: &str,
    create: &CreateArgs,
    daemon: &Daemon,
    output: &Output,
) -> Result<ListPatch, Failure> {
    parse::name(list).map_err(|error| Failure::Usage(format!("--list: {error}")))?;
    if !create.create && list != DENY {
        return Ok(ListPatch::default());
    }
    let lists = daemon.ask(daemon.client.lists())?.value.lists;
    match lists.iter().find(|summary| summary.name == list && !summary.orphaned) {
        Some(found) => {
            agrees(found, create)?;
            Ok(ListPatch::default())
        }
        None => {
            let action = create.action.map_or(Action::Drop, Into::into);
            output.say(&format!("making the list {list}, action {}", action_word(action)));
            Ok(ListPatch {
                order: create.order,
                action: Some(action),
                scope: create.scope.map(Scope::from),
                ..ListPatch::default()
            })
        }
    }
}

/// `--create` never alters a list that exists.
fn agrees(found: &ListSummary, create: &CreateArgs) -> Result<(), Failure> {
    let differs = [
        ("--action", create.action.is_some_and(|wanted| found.action != Some(wanted.into()))),
        ("--order", create.order.is_some_and(|wanted| found.order != Some(wanted))),
        ("--scope", create.scope.is_some_and(|wanted| found.scope != Some(wanted.into()))),
    ];
    match differs.iter().find(|(_, differs)| *differs) {
        None => Ok(()),
        Some((flag, _)) => Err(Failure::Usage(format!(
            "the list {} exists and its {} is another than {flag} says; leave {flag} out, or take another list",
            found.name,
            flag.trim_start_matches('-'),
        ))),
    }
}

/// Whether all are addresses or prefixes: a typo is a matter of usage and needs no daemon.
fn checked(prefixes: &[String]) -> Result<(), Failure> {
    prefixes
        .iter()
        .try_for_each(|text| parse::prefix(text).map(drop).map_err(|error| Failure::Usage(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::acl::ActionArg;
    use crate::model::Origin;

    #[test]
    fn create_does_not_alter_a_list_that_exists() {
        let found = ListSummary {
            name: "deny".into(),
            order: Some(10),
            action: Some(Action::Drop),
            scope: Some(Scope::All),
            origin: Origin::Api,
            entries_v4: 0,
            entries_v6: 0,
            entries_api: 0,
            expiring: 0,
            orphaned: false,
        };
        let create = |action, order| CreateArgs { create: true, action, order, scope: None };
        assert!(agrees(&found, &create(Some(ActionArg::Drop), Some(10))).is_ok());
        let refused = agrees(&found, &create(Some(ActionArg::Pass), None)).unwrap_err().to_string();
        assert!(refused.contains("its action is another"), "{refused}");
        assert!(agrees(&found, &create(None, Some(11))).is_err());
    }

    #[test]
    fn typos_need_no_daemon() {
        assert!(checked(&["10.0.0.0/8".into()]).is_ok());
        assert!(matches!(checked(&["300.1.1.1".into()]), Err(Failure::Usage(_))));
    }
}
