//! Weights of registries as weights of the ring.
//!
//! The rule: no weight is 100. More than 10,000 is 10,000. Where a service has a weight that is not whole, all of its
//! weights count a hundredfold. If the largest then exceeds 1,000, all are scaled so that it is 1,000. What is above 0
//! never becomes 0: 0 means drain. A negative weight, or one that is no number, is none: the entry is refused.

/// The scale that all weights of one service share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale(f64);

impl Scale {
    /// The scale for the weights of a service, as its registries give them.
    #[must_use]
    pub fn of(weights: impl IntoIterator<Item = Option<f64>>) -> Self {
        let (mut largest, mut whole) = (0.0_f64, true);
        for weight in weights {
            let raw = raw(weight);
            largest = largest.max(raw);
            whole &= raw.fract() == 0.0;
        }
        let finer = if whole { 1.0 } else { 100.0 };
        let largest = largest * finer;
        Self(if largest > LARGEST { finer * LARGEST / largest } else { finer })
    }

    /// A weight of 0 to 1000.
    #[must_use]
    pub fn apply(self, weight: Option<f64>) -> u16 {
        let raw = raw(weight);
        if raw <= 0.0 {
            return 0;
        }
        let scaled = (raw * self.0).round().clamp(1.0, LARGEST);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 1000")]
        let weight = scaled as u16;
        weight
    }
}

/// What is wrong with a weight that cannot be one.
#[must_use]
pub fn unusable(weight: Option<f64>) -> Option<String> {
    let weight = weight?;
    let wrong = !weight.is_finite() || weight < 0.0;
    wrong.then(|| format!("its weight is {weight}, which is not a number from 0 up"))
}

fn raw(weight: Option<f64>) -> f64 {
    match weight {
        None => 100.0,
        Some(weight) if weight.is_nan() => 0.0,
        Some(weight) => weight.clamp(0.0, 10_000.0),
    }
}

/// Largest weight of the ring.
const LARGEST: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(weights: &[Option<f64>]) -> Vec<u16> {
        let scale = Scale::of(weights.iter().copied());
        weights.iter().map(|weight| scale.apply(*weight)).collect()
    }

    #[test]
    fn small_whole_weights_stay_as_they_are() {
        assert_eq!(scaled(&[None, Some(1.0), Some(1_000.0), Some(0.0)]), [100, 1, 1_000, 0]);
    }

    #[test]
    fn the_largest_becomes_1000_and_none_0() {
        assert_eq!(scaled(&[Some(5_000.0), Some(2_500.0), Some(1.0), Some(0.0)]), [1_000, 500, 1, 0]);
        assert_eq!(scaled(&[Some(1e300), Some(5_000.0)]), [1_000, 500], "10,000 at most");
        assert_eq!(scaled(&[Some(f64::MAX), Some(f64::INFINITY)]), [1_000, 1_000]);
    }

    #[test]
    fn fractions_keep_their_shares() {
        assert_eq!(scaled(&[Some(1.0), Some(0.5), Some(0.001)]), [100, 50, 1]);
        assert_eq!(scaled(&[Some(100.5), Some(10.0)]), [1_000, 100]);
    }

    #[test]
    fn what_is_no_weight_is_refused() {
        for weight in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(unusable(Some(weight)).is_some(), "{weight}");
        }
        assert!(unusable(None).is_none() && unusable(Some(0.0)).is_none());
    }
}
