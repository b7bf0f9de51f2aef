//! The client against real files and inotify.

use std::os::unix::fs::symlink;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::registry::source::Wanted;

struct Run {
    dir: tempfile::TempDir,
    wanted: watch::Sender<Arc<Wanted>>,
    order: watch::Sender<Order>,
    events: mpsc::Receiver<Event>,
    task: JoinHandle<Result<Ended, SessionError>>,
}

impl Run {
    async fn of(files: &[(&str, &str)], services: &[&str]) -> Self {
        Self::polled(files, services, Duration::from_secs(3600)).await
    }

    async fn polled(files: &[(&str, &str)], services: &[&str], poll: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let (wanted, wants) = watch::channel(Arc::new(wants(services)));
        let (order, orders) = watch::channel(Order::Run);
        let (tell, events) = mpsc::channel(4);
        let mut client = client(&Settings { dir: dir.path().to_owned(), poll }, None);
        let task = tokio::spawn(async move {
            let mut session = Session { wanted: wants, order: orders, events: tell };
            client.session(&mut session).await
        });
        let mut run = Self { dir, wanted, order, events, task };
        assert!(matches!(run.event().await, Event::Connected { .. }));
        run
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(20), self.events.recv()).await.expect("an event").unwrap()
    }

    /// The next event: ports of the set, or why it is gone.
    async fn next(&mut self) -> Result<Vec<u16>, String> {
        match self.event().await {
            Event::Reset { set, .. } => Ok(set.endpoints.iter().map(|e| e.addr.port).collect()),
            Event::Gone { why, .. } => Err(why),
            other => panic!("{other:?}"),
        }
    }

    /// The first set with these ports; what was seen on the way is given back.
    async fn until(&mut self, ports: &[u16]) -> Vec<Result<Vec<u16>, String>> {
        let mut seen = Vec::new();
        loop {
            match self.next().await {
                Ok(now) if now == ports => return seen,
                other => seen.push(other),
            }
        }
    }

    async fn quiet(&mut self) {
        let event = tokio::time::timeout(Duration::from_millis(700), self.events.recv()).await;
        assert!(event.is_err(), "{event:?}");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn rename_into_place(&self, name: &str, text: &str) {
        let other = self.path(&format!("{name}.new"));
        std::fs::write(&other, text).unwrap();
        std::fs::rename(other, self.path(name)).unwrap();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn wants(services: &[&str]) -> Wanted {
    let query = |s: &&str| Arc::new(Query { service: (*s).to_owned(), options: BTreeMap::new() });
    Wanted { queries: services.iter().map(query).collect(), ..Wanted::default() }
}

#[tokio::test]
async fn written_renamed_removed_and_made_again() {
    let mut run = Run::of(&[("a", "10.0.0.1:1\n")], &["a"]).await;
    assert_eq!(run.next().await, Ok(vec![1]));
    run.rename_into_place("a", "10.0.0.1:1\n10.0.0.1:2\n");
    assert_eq!(run.next().await, Ok(vec![1, 2]));
    run.write("a", "10.0.0.1:3\n");
    run.until(&[3]).await;
    run.quiet().await;
    std::fs::remove_file(run.path("a")).unwrap();
    assert!(run.next().await.unwrap_err().contains("No such file"));
    run.write("a", "# none\n");
    run.until(&[]).await;
    run.write("b", "10.0.0.1:9\n");
    run.quiet().await;
}

#[tokio::test]
async fn half_written_keeps_the_last_set() {
    let mut run = Run::of(&[("a.json", "[\"10.0.0.1:1\"]")], &["a.json"]).await;
    assert_eq!(run.next().await, Ok(vec![1]));
    run.rename_into_place("a.json", "[\"10.0.0.1:1\", \"10.0");
    assert!(run.next().await.unwrap_err().contains("not JSON"));
    run.rename_into_place("a.json", "[\"10.0.0.1:1\", \"10.0.0.1:2\"]");
    assert_eq!(run.next().await, Ok(vec![1, 2]));
    // A writer that takes its time, in place.
    let mut file = std::fs::File::create(run.path("a.json")).unwrap();
    for part in ["[\"10.0.0.1:1\"", ", \"10.0.0.1:2\"", ", \"10.0.0.1:3\"]"] {
        std::io::Write::write_all(&mut file, part.as_bytes()).unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(run.until(&[1, 2, 3]).await.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_file_cut_to_nothing_is_never_empty() {
    let mut run = Run::of(&[("a", "10.0.0.1:1\n")], &["a"]).await;
    assert_eq!(run.next().await, Ok(vec![1]));
    run.write("a", "");
    assert!(run.next().await.unwrap_err().contains("has a comment line"));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    run.quiet().await;
    run.write("a", "# none\n");
    assert_eq!(run.next().await, Ok(vec![]));
}

#[tokio::test]
async fn a_config_map_is_swapped_by_its_link() {
    let dir = |run: &Run, name: &str, text: &str| {
        std::fs::create_dir(run.path(name)).unwrap();
        run.write(&format!("{name}/a"), text);
        let _ = std::fs::remove_file(run.path("..data_tmp"));
        symlink(name, run.path("..data_tmp")).unwrap();
        std::fs::rename(run.path("..data_tmp"), run.path("..data")).unwrap();
    };
    let mut run = Run::of(&[], &["a"]).await;
    assert!(run.next().await.is_err());
    dir(&run, "..2026_1", "10.0.0.1:1\n");
    symlink("..data/a", run.path("a")).unwrap();
    run.until(&[1]).await;
    dir(&run, "..2026_2", "10.0.0.1:2\n");
    run.until(&[2]).await;
    std::fs::remove_dir_all(run.path("..2026_1")).unwrap();
    dir(&run, "..2026_3", "10.0.0.1:3\n");
    run.until(&[3]).await;
}

#[tokio::test]
async fn directories_that_come_later_are_swapped_and_come_back() {
    let mut run = Run::of(&[], &["cur/a"]).await;
    assert!(run.next().await.is_err());
    for at in 1..=3u16 {
        std::fs::create_dir(run.path(&format!("v{at}"))).unwrap();
        run.write(&format!("v{at}/a"), &format!("10.0.0.1:{at}\n"));
        symlink(format!("v{at}"), run.path("next")).unwrap();
        std::fs::rename(run.path("next"), run.path("cur")).unwrap();
        run.until(&[at]).await;
    }
    run.rename_into_place("v3/a", "10.0.0.1:4\n");
    run.until(&[4]).await;
}

#[tokio::test]
async fn without_events_the_clock_reads() {
    let mut run = Run::polled(&[("a", "10.0.0.1:1\n")], &["a"], Duration::from_secs(1)).await;
    run.until(&[1]).await;
    run.until(&[1]).await;
    // In a directory that is not watched: the link's target.
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("x"), "10.0.0.1:2\n").unwrap();
    std::fs::remove_file(run.path("a")).unwrap();
    symlink(other.path().join("x"), run.path("a")).unwrap();
    run.until(&[2]).await;
    std::fs::write(other.path().join("x"), "10.0.0.1:3\n").unwrap();
    run.until(&[3]).await;
}

#[tokio::test]
async fn orders_and_wishes() {
    let mut run = Run::of(&[("a", "10.0.0.1:1\n"), ("b", "10.0.0.1:2\n")], &["a"]).await;
    assert_eq!(run.next().await, Ok(vec![1]));
    run.wanted.send_replace(Arc::new(wants(&["b"])));
    assert_eq!(run.next().await, Ok(vec![2]));
    run.write("a", "10.0.0.1:7\n");
    run.quiet().await;
    run.order.send_replace(Order::Resync(1));
    assert_eq!(run.next().await, Ok(vec![2]));
    run.order.send_replace(Order::HandOver);
    assert!(matches!((&mut run.task).await, Ok(Ok(Ended::HandedOver(None)))));
}
