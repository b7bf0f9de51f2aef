//! Everything that reads bytes from outside, on bytes that were recorded and then damaged: no panic, and no input costs
//! more than its size allows. A short run is a test; `cargo xtask fuzz TARGET --seconds N` makes a long one, and
//! `WEIR_FUZZ_SEED` replays one. A test binary of its own: it counts every allocation.

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod meter;
#[cfg(test)]
mod mutate;
#[cfg(test)]
mod targets;

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, resume_unwind};
    use std::time::{Duration, Instant};

    use crate::meter::peak;
    use crate::mutate::mutate;
    use crate::targets::{TARGETS, Target};

    #[test]
    fn fuzz() {
        let setting = |name: &str| std::env::var(name).ok();
        let seed = setting("WEIR_FUZZ_SEED").map_or_else(|| fastrand::u64(..), |text| text.parse().unwrap());
        let only = setting("WEIR_FUZZ_TARGET");
        let wanted = |target: &&Target| only.as_ref().is_none_or(|only| *only == target.name);
        let targets: Vec<_> = TARGETS.iter().filter(wanted).collect();
        let names = TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        assert!(!targets.is_empty(), "there is no target {only:?}; there are {names}");
        let time =
            setting("WEIR_FUZZ_SECONDS").map_or(SHORT, |text| Duration::from_secs(text.parse().unwrap()));
        for target in targets {
            run(target, seed, time);
        }
    }

    fn run(target: &Target, seed: u64, time: Duration) {
        println!("fuzz {}: WEIR_FUZZ_SEED={seed}", target.name);
        let mut rng = fastrand::Rng::with_seed(seed);
        let corpus = (target.corpus)();
        assert!(!corpus.is_empty());
        let end = Instant::now() + time;
        let (mut inputs, mut dearest) = (0_u64, 0.0_f64);
        let whole = corpus.iter().cloned();
        let damaged = std::iter::repeat_with(|| mutate(&mut rng, &corpus));
        for input in whole.chain(damaged) {
            if inputs > corpus.len() as u64 && Instant::now() > end {
                break;
            }
            inputs += 1;
            let cost = match catch_unwind(|| peak(|| (target.entry)(&input))) {
                Ok(cost) => cost,
                Err(panic) => {
                    eprintln!("fuzz {}: input {inputs} of seed {seed}: {}", target.name, hex(&input));
                    resume_unwind(panic);
                }
            };
            let most = target.factor * input.len() + target.free;
            assert!(
                cost <= most,
                "fuzz {}: input {inputs} of seed {seed} costs {cost} bytes, more than {most}: {}",
                target.name,
                hex(&input)
            );
            dearest = dearest.max(cost.saturating_sub(target.free) as f64 / input.len().max(1) as f64);
        }
        println!("fuzz {}: {inputs} inputs, none costs more than {dearest:.1} times its size", target.name);
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Of each target, in a run of the tests.
    const SHORT: Duration = Duration::from_millis(500);
}
