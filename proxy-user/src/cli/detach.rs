//! `weir detach`: off the interfaces, maps removed. A running daemon does it and ends; where none runs, this process
//! does it itself.

use clap::Args;

use super::Global;
use super::failure::Failure;
use super::output::Output;
use super::reach::Daemon;
use super::run::Places;
use crate::control::types::DetachAnswer;

/// Arguments of `weir detach`.
#[derive(Clone, Debug, Args)]
pub struct DetachArgs {
    /// Where `weir run` kept its things.
    #[command(flatten)]
    pub places: Places,
}

/// Detaches.
///
/// # Errors
///
/// [`Failure::Partly`] when something could not be removed; what the daemon refuses.
pub fn detach(args: &DetachArgs, global: &Global, output: &Output) -> Result<(), Failure> {
    let daemon = Daemon::at(global, &args.places)?;
    let answer = match daemon.ask(daemon.client.detach()) {
        Err(Failure::Unreachable { .. }) => {
            output.say("no daemon runs; removing what it left");
            crate::app::detach(&args.places).map_err(super::run::failure)?
        }
        answer => answer?,
    };
    output.data(&answer, text)?;
    match answer.left.len() {
        0 => Ok(()),
        left => Err(Failure::Partly(format!("{left} things could not be removed"))),
    }
}

fn text(answer: &DetachAnswer) -> String {
    if answer.removed.is_empty() && answer.left.is_empty() {
        return "nothing to remove\n".to_owned();
    }
    let removed = answer.removed.iter().map(|what| format!("removed {what}\n"));
    let left = answer.left.iter().map(|what| format!("LEFT {what}\n"));
    removed.chain(left).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_stands_out() {
        let answer = DetachAnswer { removed: vec!["eth0".into()], left: vec!["/run/weir/bpf: busy".into()] };
        assert_eq!(text(&answer), "removed eth0\nLEFT /run/weir/bpf: busy\n");
        assert_eq!(text(&DetachAnswer { removed: Vec::new(), left: Vec::new() }), "nothing to remove\n");
    }
}
