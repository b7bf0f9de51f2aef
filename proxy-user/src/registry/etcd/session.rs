//! One session: lists, the watch stream and the driver's wishes, put through [`Follow`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use tonic::{Response, Status};

use super::follow::{Action, Follow, Listed};
use super::generated::{WatchRequest, WatchResponse};
use super::publish;
use super::range;
use super::server::{FRESH, Failure, Server};
use super::settings::Settings;
use crate::registry::source::{Ended, Event, Order, Query, Session, SessionError};

/// How a round ended that did not fail.
enum Round {
    /// With the session.
    Ended(Ended),
    /// Everything is to be listed anew, on the same connection.
    Again,
}

/// A list's query and number, and its answer.
type Answer = (Arc<Query>, u64, Result<Listed, Failure>);

/// Follows and registers what is wanted until the session ends.
pub(super) async fn run(
    settings: &Settings,
    server: Server,
    session: &mut Session,
) -> Result<Ended, SessionError> {
    let connected = Event::Connected { peer: server.peer.clone() };
    if session.events.send(connected).await.is_err() {
        return Ok(Ended::Unwanted);
    }
    let registering = publish::run(settings, server.clone(), session.wanted.clone(), session.events.clone());
    tokio::select! {
        ended = follow(settings, server, session) => ended,
        error = registering => Err(error),
    }
}

async fn follow(
    settings: &Settings,
    mut server: Server,
    session: &mut Session,
) -> Result<Ended, SessionError> {
    loop {
        let begin = Instant::now();
        server.authenticate(settings).await?;
        match round(settings, &mut server, session).await? {
            Round::Ended(ended) => return Ok(ended),
            Round::Again => sleep_until((begin + SHORTEST_ROUND).into()).await,
        }
    }
}

async fn round(
    settings: &Settings,
    server: &mut Server,
    session: &mut Session,
) -> Result<Round, SessionError> {
    // An order to list anew is carried out by this round's begin.
    if *session.order.borrow_and_update() == Order::HandOver {
        return Ok(Round::Ended(Ended::HandedOver(None)));
    }
    let begin = Instant::now();
    let (requests, asked) = mpsc::unbounded_channel();
    let mut responses = watch(server, asked);
    let mut io = Io {
        requests,
        lists: FuturesUnordered::new(),
        waiting: VecDeque::new(),
        events: session.events.clone(),
    };
    let mut follow = Follow::default();
    let wanted = Arc::clone(&session.wanted.borrow_and_update());
    let mut actions = follow.want(&wanted.queries);
    loop {
        if actions.iter().any(|action| matches!(action, Action::List { .. })) {
            server.authenticate(settings).await?;
        }
        if io.carry_out(actions, server).await.is_err() {
            return Ok(Round::Ended(Ended::Unwanted));
        }
        let now = Instant::now();
        let owed = follow.owed_since().map(|since| since + settings.timeout);
        if owed.is_some_and(|until| until <= now) {
            return Err(server.lost(format!("a watch was not answered within {:?}", settings.timeout)));
        }
        let wake = [owed, follow.next_due()].into_iter().flatten().min().unwrap_or(now + IDLE);
        actions = tokio::select! {
            changed = session.wanted.changed() => {
                if changed.is_err() {
                    return Ok(Round::Ended(Ended::Unwanted));
                }
                let wanted = Arc::clone(&session.wanted.borrow_and_update());
                follow.want(&wanted.queries)
            }
            changed = session.order.changed() => {
                let order = *session.order.borrow_and_update();
                match order {
                    _ if changed.is_err() => return Ok(Round::Ended(Ended::Unwanted)),
                    Order::HandOver => return Ok(Round::Ended(Ended::HandedOver(None))),
                    Order::Resync(_) => return Ok(Round::Again),
                    Order::Run => Vec::new(),
                }
            }
            Some((query, number, answer)) = io.lists.next() => {
                let answer = match answer {
                    Ok(listed) => Ok(listed),
                    Err(Failure::Query(why) | Failure::TooLong(why)) => Err(why),
                    Err(Failure::Session(error)) => return Err(error),
                };
                follow.listed(&query, number, answer, Instant::now())
            }
            response = responses.next() => match response {
                // A stream keeps the token that it began with, which may have ended.
                Some(Ok(response))
                    if response.created && response.canceled && settings.user.is_some() && begin.elapsed() > FRESH =>
                {
                    return Ok(Round::Again);
                }
                Some(Ok(response)) => match follow.response(&response, Instant::now()) {
                    Ok(actions) => actions,
                    Err(wiped) => {
                        tracing::warn!(peer = server.peer, "etcd: {wiped}; everything is listed anew");
                        return Ok(Round::Again);
                    }
                },
                Some(Err(status)) => return Err(server.failure(&status).of_session(server)),
                None => return Err(server.lost("it ended the watch stream".to_owned())),
            },
            () = sleep_until(wake.into()) => follow.due(Instant::now()),
        };
    }
}

/// The watch stream. The server answers its begin with the first watch only, so that is not waited for.
fn watch(
    server: &Server,
    asked: mpsc::UnboundedReceiver<WatchRequest>,
) -> BoxStream<'static, Result<WatchResponse, Status>> {
    let requests = stream::unfold(asked, |mut asked| async { Some((asked.recv().await?, asked)) });
    let mut client = server.watch();
    stream::once(async move { client.watch(requests).await.map(Response::into_inner) }).try_flatten().boxed()
}

/// Where a round's actions go.
struct Io {
    requests: mpsc::UnboundedSender<WatchRequest>,
    lists: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Lists that wait until others have ended.
    waiting: VecDeque<BoxFuture<'static, Answer>>,
    events: mpsc::Sender<Event>,
}

impl Io {
    /// Fails if nobody listens any more.
    async fn carry_out(
        &mut self,
        actions: Vec<Action>,
        server: &Server,
    ) -> Result<(), mpsc::error::SendError<Event>> {
        for action in actions {
            match action {
                Action::List { query, layout, number } => {
                    let list = range::list(server.clone(), layout);
                    self.waiting.push_back(async move { (query, number, list.await) }.boxed());
                }
                // If the stream has ended, that is told where its answers are read.
                Action::Send(request) => drop(self.requests.send(request)),
                Action::Tell(event) => self.events.send(event).await?,
            }
        }
        while self.lists.len() < MAX_LISTS {
            let Some(list) = self.waiting.pop_front() else { break };
            self.lists.push(list);
        }
        Ok(())
    }
}

/// Lists at once.
const MAX_LISTS: usize = 8;
/// Time between two lists of everything, at least.
const SHORTEST_ROUND: Duration = Duration::from_secs(1);
/// Something else wakes it before.
const IDLE: Duration = Duration::from_secs(3_600);
