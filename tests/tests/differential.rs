//! Random traffic over random settings: the library, the loaded object and a naive oracle must agree on verdict,
//! reason, bytes and counters of every packet.
//!
//! `WEIR_SEED` replays a run, `WEIR_DIFF_PACKETS` sets its length.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use proxy_common::{Class, Reason, config_flag};
use tests::host::Host;
use tests::object::Object;
use tests::random::{self, Traffic};
use tests::rng::Rng;
use tests::trial::{Trial, hex};
use tests::world::{World, mapped};

/// Packets over each random setting.
const PACKETS_PER_WORLD: u64 = 2_000;
/// Counters are compared after so many packets.
const COUNTERS_EVERY: u64 = 64;

#[test]
fn library_object_and_oracle_agree() {
    let (seed, packets) = (seed(), number("WEIR_DIFF_PACKETS").unwrap_or(200_000));
    let mut object = match Object::load(65_536) {
        Ok(object) => Some(object),
        Err(error) if rustix::process::geteuid().is_root() => panic!("the object can't be loaded: {error:#}"),
        Err(error) => {
            proxy_user::lab::left_out(&format!("the loaded object needs root ({error:#})"));
            None
        }
    };
    println!("WEIR_SEED={seed} WEIR_DIFF_PACKETS={packets}");
    let mut seen = BTreeMap::new();
    for number in 0..packets.div_ceil(PACKETS_PER_WORLD) {
        let mut rng = Rng::new(seed.wrapping_add(number));
        let world = random::world(&mut rng);
        let mut trial = Trial::new(&world, 65_536, object.as_mut());
        go(&mut trial, world, rng, None, &format!("seed {seed}, settings {number}"), &mut seen);
    }
    reaches_everything(packets, &seen, &[Reason::HelperFailed, Reason::FlowTableFull]);
}

#[test]
fn library_and_oracle_agree_while_time_passes() {
    let (seed, packets) = (seed() ^ 0x7173, number("WEIR_DIFF_PACKETS").unwrap_or(200_000));
    println!("WEIR_SEED={} WEIR_DIFF_PACKETS={packets}", seed ^ 0x7173);
    let mut seen = BTreeMap::new();
    for number in 0..packets.div_ceil(PACKETS_PER_WORLD) {
        let mut rng = Rng::new(seed.wrapping_add(number));
        let mut world = random::world(&mut rng);
        let config = &mut world.config;
        (config.hz, config.cache_budget, config.cache_ticks) = (100, 1 + rng.below(20) as u32, 3_000);
        (config.syn_ticks, config.tcp_ticks, config.udp_ticks) = (300, 3_000, 1_000);
        (config.closing_ticks, config.closed_ticks) = (500, 100);
        let capacity = *rng.pick(&[7, 40, 4_000]);
        let mut trial = Trial::new(&world, capacity, None);
        go(&mut trial, world, rng, Some(60), &format!("seed {seed}, settings {number}"), &mut seen);
    }
    reaches_everything(packets, &seen, &[Reason::HelperFailed]);
}

/// Socket look-up asks the lists by another way than packets do.
#[test]
fn may_connect_is_the_lists_word() {
    let seed = seed();
    println!("WEIR_SEED={seed}");
    let (mut yes, mut no) = (0, 0);
    for number in 0..200 {
        let mut rng = Rng::new(seed.wrapping_add(number));
        let world = random::world(&mut rng);
        let host = Host::new(&world, 8, 0);
        for v6 in [false, true] {
            for last in 0..12 {
                let src = random::client(v6, last);
                let default = world.config.flags & config_flag::SERVICE_DEFAULT_DROP == 0;
                let expected =
                    world.winner(|prefix| prefix.contains(&src), true).map_or(default, |(_, drops)| !drops);
                let found = proxy_ebpf::may_connect(&host.tables, &mapped(src), !v6);
                assert_eq!(found, expected, "seed {seed}, settings {number}: {src}");
                if found { yes += 1 } else { no += 1 }
            }
        }
    }
    assert!(yes > 100 && no > 100, "{yes} may, {no} may not");
}

/// Long runs meet every reason but a fault of weir's own: else the traffic proves less than it seems to.
fn reaches_everything(packets: u64, seen: &BTreeMap<&str, u64>, but: &[Reason]) {
    println!("{seen:?}");
    if packets < 100_000 {
        return;
    }
    for reason in Reason::ALL.into_iter().filter(|reason| !but.contains(reason)) {
        assert!(seen.contains_key(reason.label()), "no packet met {}", reason.label());
    }
}

/// Sends traffic; `pace` is the most ticks that pass between two packets.
fn go(
    trial: &mut Trial<'_>,
    mut world: World,
    mut rng: Rng,
    pace: Option<usize>,
    place: &str,
    seen: &mut BTreeMap<&'static str, u64>,
) {
    let mut traffic = Traffic::default();
    let mut sent: Vec<(Vec<u8>, u32)> = Vec::new();
    for number in 1..=PACKETS_PER_WORLD {
        if number % 500 == 0 {
            random::change(&mut world, &mut rng);
            trial.set(&world);
        }
        if let Some(pace) = pace {
            trial.advance(rng.below(pace) as u32);
        }
        let (frame, ingress) = traffic.next(&mut rng);
        sent.push((frame.clone(), ingress));
        let checked = trial.run(&frame, ingress).and_then(|(reason, result)| {
            *seen.entry(reason.label()).or_default() += 1;
            if reason.class() == Class::Steer {
                traffic.steered(&result.frame);
            }
            if number % COUNTERS_EVERY == 0 { trial.compare_counters() } else { Ok(()) }
        });
        if let Err(difference) = checked {
            let hint = shrunk(&world, &sent);
            panic!("{place}, packet {number} (interface {ingress})\n{}\n{difference}\n{hint}", hex(&frame));
        }
    }
    let end = trial.compare_counters().and_then(|()| trial.compare_flows());
    end.unwrap_or_else(|difference| panic!("{place}, at the end: {difference}"));
}

/// The fewest of the sent frames after which library and oracle still differ over these settings.
fn shrunk(world: &World, sent: &[(Vec<u8>, u32)]) -> String {
    let differ = |frames: &[(Vec<u8>, u32)]| {
        let mut trial = Trial::new(world, 65_536, None);
        frames.iter().any(|(frame, ingress)| trial.run(frame, *ingress).is_err())
            || trial.compare_counters().is_err()
    };
    let mut frames = sent.to_vec();
    if !differ(&frames) {
        return "library and oracle agree over the last settings: replay by the seed".to_owned();
    }
    let mut step = frames.len().div_ceil(2);
    while step > 0 {
        let mut at = 0;
        while at < frames.len() {
            let mut fewer = frames.clone();
            fewer.drain(at..(at + step).min(fewer.len()));
            if differ(&fewer) {
                frames = fewer;
            } else {
                at += step;
            }
        }
        step = if step == 1 { 0 } else { step.div_ceil(2) };
    }
    let lines: Vec<String> = frames.iter().map(|(f, i)| format!("  interface {i}: {}", hex(f))).collect();
    format!("enough to show it, over the same settings:\n{}", lines.join("\n"))
}

fn seed() -> u64 {
    number("WEIR_SEED").unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        since.as_nanos() as u64
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
