//! Where does this backend come from, and why is it not used?
//!
//! **From**: a backend of the configuration or the API has no sources; an endpoint names the registries that have it
//! ([`Candidate::sources`]), or had it last while it is held or leaving. A backend that is both is the configuration's: its
//! weight counts, and no registry removes it.
//!
//! **Not used**: the first line that fits is its [`Standing`]. The operator's word lies on top of all ([`crate::catalog::overlay`]):
//! a drained backend takes no new flows however it stands here.
//!
//! | | of | when | new flows |
//! |---|---|---|---|
//! | `Refused` | endpoints | its address or weight can never be a backend's | never, nor old ones |
//! | `Leaving` | endpoints | every registry that had it has removed it, and the guards let it go; old flows for `drain` | no |
//! | `Disabled` | endpoints | its registry disables it or gives it the weight 0, and the guards let that happen | no |
//! | `Standby` | endpoints | `combine` has others in use: an earlier source, weir's own zone | no |
//! | `Down` | all that are checked | the checks fail, and enough others are up (`panic_below`) | no |
//! | `Unchecked` | all that are checked | new to the service, no verdict yet, and `health.initial = "down"` | no |
//! | `Held` | endpoints | no registry has it any more, or it is disabled now, but the guards let it stay | yes |
//! | `Used` | all | else: its registry has it, or is unknown and had it last | yes |

use jiff::Timestamp;

use crate::catalog::snapshot::Standing;
use crate::model::HealthCheck;

/// What decides on a candidate's standing.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Why it can never be a backend.
    pub refused: Option<String>,
    /// It is on its way out, and forgotten then.
    pub leaving: Option<Timestamp>,
    /// Its registry does not want new flows there.
    pub disabled: bool,
    /// `combine` has others in use.
    pub standby: bool,
    /// What the health checks say of it.
    pub fitness: Fitness,
    /// The checks are not looked at.
    pub panic: bool,
    /// Its removal waits.
    pub held: bool,
}

/// What the health checks say of a candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fitness {
    /// There are no checks.
    #[default]
    Unasked,
    /// Up, or taken for it before the first verdict.
    Up,
    /// Down.
    Down,
    /// No verdict yet, and that is not taken for up.
    Unchecked,
}

impl Fitness {
    /// By the service's checks, if any, and the last verdict, or what is presumed before the first, if anything.
    pub(super) fn of(check: Option<&HealthCheck>, verdict: Option<bool>) -> Self {
        match (check, verdict) {
            (None, _) => Self::Unasked,
            (Some(_), Some(true)) => Self::Up,
            (Some(_), Some(false)) => Self::Down,
            (Some(check), None) if check.initial_up => Self::Up,
            (Some(_), None) => Self::Unchecked,
        }
    }

    /// Whether it may take flows, without panic.
    pub(super) fn takes(self) -> bool {
        matches!(self, Self::Unasked | Self::Up)
    }
}

/// The table above.
pub(super) fn standing(facts: Facts) -> Standing {
    match facts {
        Facts { refused: Some(why), .. } => Standing::Refused { why },
        Facts { leaving: Some(until), .. } => Standing::Leaving { until },
        Facts { disabled: true, .. } => Standing::Disabled,
        Facts { standby: true, .. } => Standing::Standby,
        Facts { fitness: Fitness::Down, panic: false, .. } => Standing::Down,
        Facts { fitness: Fitness::Unchecked, .. } => Standing::Unchecked,
        Facts { held: true, .. } => Standing::Held,
        _ => Standing::Used,
    }
}

/// Whether panic sets in: of those that have a verdict or are taken for up, fewer than the share are up.
pub(super) fn panic(check: Option<&HealthCheck>, fitness: impl Iterator<Item = Fitness>) -> bool {
    let Some(check) = check else { return false };
    let (mut up, mut asked) = (0_usize, 0_usize);
    for fitness in fitness {
        up += usize::from(fitness == Fitness::Up);
        asked += usize::from(matches!(fitness, Fitness::Up | Fitness::Down));
    }
    asked > 0 && up * 100 < asked * usize::from(check.panic_below)
}
