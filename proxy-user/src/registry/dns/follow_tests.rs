use std::time::{Duration, Instant};

use super::follow::Follow;
use super::lookup::{Answer, Known};
use super::settings::{Raw, Settings};
use crate::model::BackendAddr;
use crate::registry::source::Endpoint;

struct Play {
    settings: Settings,
    follow: Follow,
    now: Instant,
}

impl Play {
    fn of(settings: &str) -> Self {
        let settings = toml::from_str::<Raw>(settings).unwrap().check(std::path::Path::new("/")).unwrap();
        Self { settings, follow: Follow::default(), now: Instant::now() }
    }

    /// What is told of an answer (ports, or why not), and after how many seconds it is asked again.
    fn answered(&mut self, answer: Answer) -> (Option<Result<Vec<u16>, String>>, u64) {
        let (told, wait) = self.follow.answered(self.now, answer, &self.settings, 0.0);
        let ports = |set: crate::registry::source::Set| set.endpoints.iter().map(|e| e.addr.port).collect();
        (told.map(|told| told.map(ports)), wait.as_secs())
    }
}

fn known(ports: &[u16], ttl: u32) -> Answer {
    let endpoint = |port: &u16| Endpoint {
        addr: BackendAddr { addr: [10, 0, 0, 1].into(), port: *port },
        weight: None,
        enabled: true,
        zone: None,
        labels: Default::default(),
    };
    Answer::Known(Known { endpoints: ports.iter().map(endpoint).collect(), ttl, ..Known::default() })
}

fn missing(ports: &[u16], target: &str) -> Answer {
    let Answer::Known(known) = known(ports, 30) else { unreachable!() };
    Answer::Known(Known { missing: [target.to_owned()].into(), ..known })
}

fn empty() -> Answer {
    Answer::Empty { why: "x: NXDOMAIN".to_owned(), ttl: 20 }
}

fn failed(why: &str) -> Answer {
    Answer::Failed(why.to_owned())
}

#[test]
fn asked_again_when_the_ttl_says_within_bounds() {
    let mut play = Play::of("min_ttl = '2s'\nmax_ttl = '60s'");
    for (ttl, wait) in [(0, 2), (30, 30), (u32::MAX, 60)] {
        assert_eq!(play.answered(known(&[1], ttl)), (Some(Ok(vec![1])), wait));
    }
    let late = play.follow.answered(play.now, known(&[1], 30), &play.settings, 1.0).1;
    assert_eq!(late, Duration::from_secs(33));
}

#[test]
fn nothing_is_believed_after_some_times_in_a_row() {
    let mut play = Play::of("");
    play.answered(known(&[1], 30));
    let waits = |n| (Some(Err(format!("x: NXDOMAIN ({n} of 3 times)"))), 10);
    assert_eq!(play.answered(empty()), waits(1));
    assert_eq!(play.answered(empty()), waits(2));
    assert_eq!(play.answered(empty()), (Some(Ok(vec![])), 20));
    assert_eq!(play.answered(empty()), (Some(Ok(vec![])), 20));
    // A failure or a set between them begins the count anew.
    play.answered(known(&[1], 30));
    play.answered(empty());
    play.answered(empty());
    assert_eq!(play.answered(failed("SERVFAIL")).0, Some(Err("SERVFAIL".to_owned())));
    assert_eq!(play.answered(empty()), waits(1));
    play.answered(known(&[1], 30));
    assert_eq!(play.answered(empty()), waits(1));
}

#[test]
fn failures_are_told_once_and_asked_ever_more_slowly() {
    let mut play = Play::of("");
    let waits: Vec<u64> = (0..7).map(|_| play.answered(failed("timeout")).1).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
    assert_eq!(play.answered(failed("timeout")).0, None);
    assert!(play.answered(failed("SERVFAIL")).0.is_some());
    play.follow.tell_again();
    assert!(play.answered(failed("SERVFAIL")).0.is_some());
    play.answered(known(&[1], 9));
    assert_eq!(play.answered(failed("SERVFAIL")).1, 1);
}

#[test]
fn a_target_that_is_gone_is_believed_after_some_times() {
    let mut play = Play::of("empty_after = 2");
    play.answered(known(&[1, 2], 30));
    assert_eq!(
        play.answered(missing(&[1], "b.")).0,
        Some(Err("the SRV target b. has no address (1 of 2 times)".to_owned()))
    );
    let (told, _) = play.follow.answered(play.now, missing(&[1], "b."), &play.settings, 0.0);
    let set = told.unwrap().unwrap();
    assert_eq!((set.endpoints.len(), set.rejected_count), (1, 1));
    // Another one begins its own count.
    assert!(play.answered(missing(&[1], "c.")).0.unwrap().is_err());
    assert_eq!(play.answered(missing(&[], "c.")).0, Some(Ok(vec![])));
}

#[test]
fn records_that_are_all_refused_are_not_an_empty_set() {
    let mut play = Play::of("");
    let rejected = vec![("0 0 a.".to_owned(), "the port is 0".to_owned())];
    let told = play.answered(Answer::Known(Known { rejected, ttl: 5, ..Known::default() })).0;
    assert!(told.unwrap().unwrap_err().contains("the port is 0"));
}

#[test]
fn sticky_addresses_outlive_the_answers_for_a_while() {
    let mut play = Play::of("sticky = '60s'");
    play.answered(known(&[1, 2], 10));
    play.now += Duration::from_secs(50);
    assert_eq!(play.answered(known(&[2, 3], 10)).0, Some(Ok(vec![1, 2, 3])));
    play.now += Duration::from_secs(11);
    assert_eq!(play.answered(known(&[3], 10)).0, Some(Ok(vec![2, 3])));
    for _ in 0..3 {
        play.answered(empty());
    }
    assert_eq!(play.answered(known(&[4], 10)).0, Some(Ok(vec![4])));
}
