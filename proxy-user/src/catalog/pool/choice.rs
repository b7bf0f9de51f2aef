//! Which of several sources' endpoints are in use.

use crate::model::Combine;

/// An endpoint that may be chosen: neither leaving nor disabled nor drained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eligible<'a> {
    /// Place of the first source that has it.
    pub place: usize,
    pub zone: Option<&'a str>,
    /// Whether health lets it take flows.
    pub fit: bool,
}

/// What is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    All,
    /// Endpoints of the source in this place.
    Source(usize),
    /// Endpoints of weir's own zone.
    OwnZone,
}

/// Chooses. The first source, or the own zone, is in use while one endpoint of it can take flows. If health leaves none
/// anywhere, it is the first source with any endpoint, or all zones: what then happens is the panic threshold's matter.
pub(super) fn choose<'a>(
    combine: Combine,
    own_zone: Option<&str>,
    eligible: impl Iterator<Item = Eligible<'a>> + Clone,
) -> Choice {
    match (combine, own_zone) {
        (Combine::Union, _) | (Combine::Zone, None) => Choice::All,
        (Combine::Fallback, _) => {
            let fit = eligible.clone().filter(|endpoint| endpoint.fit).map(|endpoint| endpoint.place).min();
            let any = fit.or_else(|| eligible.map(|endpoint| endpoint.place).min());
            any.map_or(Choice::All, Choice::Source)
        }
        (Combine::Zone, Some(own)) => {
            let mut eligible = eligible;
            match eligible.any(|endpoint| endpoint.fit && endpoint.zone == Some(own)) {
                true => Choice::OwnZone,
                false => Choice::All,
            }
        }
    }
}

impl Choice {
    /// Whether an endpoint is in use.
    pub(super) fn has(self, place: usize, zone: Option<&str>, own_zone: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Source(chosen) => place == chosen,
            Self::OwnZone => zone == own_zone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(place: usize, zone: &'static str, fit: bool) -> Eligible<'static> {
        Eligible { place, zone: Some(zone), fit }
    }

    #[test]
    fn a_source_stands_by_until_no_endpoint_before_it_is_fit() {
        let choice = |eligible: &[Eligible<'_>]| choose(Combine::Fallback, None, eligible.iter().copied());
        assert_eq!(choice(&[of(0, "", true), of(1, "", true)]), Choice::Source(0));
        assert_eq!(choice(&[of(0, "", false), of(1, "", true)]), Choice::Source(1));
        assert_eq!(choice(&[of(0, "", false), of(1, "", false)]), Choice::Source(0));
        assert_eq!(choice(&[of(1, "", false)]), Choice::Source(1));
        assert_eq!(choice(&[]), Choice::All);
    }

    #[test]
    fn the_own_zone_is_left_when_nothing_in_it_is_fit() {
        let choice = |eligible: &[Eligible<'_>]| choose(Combine::Zone, Some("a"), eligible.iter().copied());
        assert_eq!(choice(&[of(0, "a", true), of(0, "b", true)]), Choice::OwnZone);
        assert_eq!(choice(&[of(0, "a", false), of(0, "b", true)]), Choice::All);
        assert!(Choice::OwnZone.has(0, Some("a"), Some("a")) && !Choice::OwnZone.has(0, None, Some("a")));
    }
}
