//! Where requests wait for their seats, and calls that last are counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gantry_telemetry::metrics::Registry;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use super::Config;
use super::lane::{Flow, flow_of};
use super::metrics::{Metrics, Refusal};
use super::seats::{Arrival, Called, Seats, Ticket};
use crate::authentication::User;

/// One server's limits.
#[derive(Debug)]
pub struct Gate {
    config: Config,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seats: Seats,
    /// Wakes requests that wait.
    bells: HashMap<Ticket, oneshot::Sender<()>>,
    next_ticket: Ticket,
    /// Calls that last, by user.
    lasting: HashMap<Arc<str>, usize>,
}

impl Gate {
    pub fn new(config: Config, registry: &Registry) -> Arc<Gate> {
        Arc::new(Gate {
            metrics: Metrics::new(registry, config.seats),
            state: Mutex::new(State {
                seats: Seats::new(config.seats, config.waiting),
                bells: HashMap::new(),
                next_ticket: 0,
                lasting: HashMap::new(),
            }),
            config,
        })
    }

    /// Waits for a seat, for as long as the limits allow.
    pub async fn enter(self: &Arc<Self>, user: &User) -> Result<Seat, Refusal> {
        let flow = flow_of(user);
        let began = Instant::now();
        let mut result = self.wait(flow, user.name.as_str().into()).await;
        let waited = began.elapsed();
        self.metrics.waited(flow, waited, result.is_ok());
        match &mut result {
            Ok(seat) => seat.waited = waited,
            Err(why) => self.metrics.refused(flow, *why),
        }
        result
    }

    async fn wait(self: &Arc<Self>, flow: Flow, user: Arc<str>) -> Result<Seat, Refusal> {
        let (ticket, bell) = {
            let mut state = self.lock();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            match state.seats.arrive(flow.lane, &user, ticket) {
                Arrival::Refused => return Err(Refusal::QueueFull),
                Arrival::Seated => {
                    drop(state);
                    return Ok(Seat::new(self, flow, user));
                }
                Arrival::Waits => {
                    let (sender, bell) = oneshot::channel();
                    state.bells.insert(ticket, sender);
                    (ticket, bell)
                }
            }
        };
        // From here on the place in the queue is given up however the wait ends, also when the client goes away.
        self.metrics.queued(flow);
        let mut waiting = Waiting {
            gate: self,
            flow,
            user: Some(user),
            ticket,
        };
        match timeout(self.config.patience, bell).await {
            Ok(Ok(())) => waiting.sit().ok_or(Refusal::TimeOut),
            _ => Err(Refusal::TimeOut),
        }
    }

    /// Counts a call that lasts, until what is returned is dropped.
    pub fn stay(self: &Arc<Self>, user: &User) -> Result<Stay, Refusal> {
        let name: Arc<str> = user.name.as_str().into();
        {
            let mut state = self.lock();
            let open = state.lasting.entry(name.clone()).or_default();
            if *open < self.config.lasting_calls {
                *open += 1;
                return Ok(Stay {
                    gate: self.clone(),
                    user: name,
                });
            }
        }
        self.metrics.refused(flow_of(user), Refusal::LastingCalls);
        Err(Refusal::LastingCalls)
    }

    fn leave(&self, flow: Flow, user: &Arc<str>) {
        let mut state = self.lock();
        for Called { ticket, .. } in state.seats.leave(flow.lane, user) {
            // Who is not there any more to hear it gives the seat back, and nobody else may: see `Waiting`.
            if let Some(bell) = state.bells.remove(&ticket) {
                let _ = bell.send(());
            }
        }
    }

    /// How long a request may keep its seat.
    pub fn request_limit(&self) -> Duration {
        self.config.request
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue.
struct Waiting<'a> {
    gate: &'a Arc<Gate>,
    flow: Flow,
    /// Gone once the request has its seat.
    user: Option<Arc<str>>,
    ticket: Ticket,
}

impl Waiting<'_> {
    fn sit(&mut self) -> Option<Seat> {
        let user = self.user.take()?;
        Some(Seat::new(self.gate, self.flow, user))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.metrics.left_queue(self.flow);
        let Some(user) = self.user.take() else { return };
        let was_called = {
            let mut state = self.gate.lock();
            state.bells.remove(&self.ticket);
            !state.seats.give_up(self.flow.lane, &user, self.ticket)
        };
        if was_called {
            self.gate.leave(self.flow, &user);
        }
    }
}

/// A request's seat, until it is dropped.
#[derive(Debug)]
pub struct Seat {
    gate: Arc<Gate>,
    flow: Flow,
    user: Arc<str>,
    /// How long the request waited for it.
    pub waited: Duration,
}

impl Seat {
    fn new(gate: &Arc<Gate>, flow: Flow, user: Arc<str>) -> Seat {
        gate.metrics.seated(flow);
        Seat {
            gate: gate.clone(),
            flow,
            user,
            waited: Duration::ZERO,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.metrics.left(self.flow);
        self.gate.leave(self.flow, &self.user);
    }
}

/// A call that lasts, until it is dropped.
#[derive(Debug)]
pub struct Stay {
    gate: Arc<Gate>,
    user: Arc<str>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        if let Some(open) = state.lasting.get_mut(&self.user) {
            *open -= 1;
            if *open == 0 {
                state.lasting.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn gate(registry: &Registry) -> Arc<Gate> {
        let config = Config {
            seats: super::super::LEAST_SEATS,
            lasting_calls: 2,
            waiting: 1,
            patience: Duration::from_secs(15),
            request: Duration::from_secs(60),
        };
        Gate::new(config, registry)
    }

    fn user(name: &str) -> User {
        User {
            name: name.into(),
            groups: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_seat_but_not_for_ever_and_not_in_a_crowd() {
        let registry = Registry::new();
        let gate = gate(&registry);
        let jane = user("jane");
        let seat = gate.enter(&jane).await.unwrap();
        let mut second = Box::pin(gate.enter(&jane));
        assert!((&mut second).now_or_never().is_none(), "it waits");
        assert_eq!(gate.enter(&jane).await.unwrap_err(), Refusal::QueueFull);
        drop(seat);
        let seat = second.await.unwrap();
        assert_eq!(gate.enter(&jane).await.unwrap_err(), Refusal::TimeOut);
        // A client that goes away while it waits leaves nothing behind, called or not.
        let mut gone = Box::pin(gate.enter(&jane));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        let mut called = Box::pin(gate.enter(&jane));
        assert!((&mut called).now_or_never().is_none());
        drop(seat);
        drop(called);
        drop(gate.enter(&jane).await.unwrap());
        let text = gantry_telemetry::metrics::encode(&registry);
        for line in [
            r#"apiserver_flowcontrol_rejected_requests_total{priority_level="global-default",flow_schema="global-default",reason="queue-full"} 1"#,
            r#"apiserver_flowcontrol_rejected_requests_total{priority_level="global-default",flow_schema="global-default",reason="time-out"} 1"#,
            r#"apiserver_flowcontrol_current_inqueue_requests{priority_level="global-default",flow_schema="global-default"} 0"#,
            r#"apiserver_flowcontrol_current_executing_requests{priority_level="global-default",flow_schema="global-default"} 0"#,
            r#"apiserver_flowcontrol_dispatched_requests_total{priority_level="global-default",flow_schema="global-default"} 3"#,
            r#"apiserver_flowcontrol_nominal_limit_seats{priority_level="exempt"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(gate.lock().bells.is_empty());
    }

    #[tokio::test]
    async fn a_seat_whose_waiter_has_just_gone_is_given_back_once() {
        let gate = gate(&Registry::new());
        let jane = user("jane");
        let seat = gate.enter(&jane).await.unwrap();
        let flow = flow_of(&jane);
        // The waiter's end of the bell goes first, and it is called before the rest of it goes.
        let ticket = Ticket::MAX;
        {
            let mut state = gate.lock();
            assert_eq!(
                state.seats.arrive(flow.lane, &"jane".into(), ticket),
                Arrival::Waits
            );
            state.bells.insert(ticket, oneshot::channel().0);
        }
        gate.metrics.queued(flow);
        let waiting = Waiting {
            gate: &gate,
            flow,
            user: Some("jane".into()),
            ticket,
        };
        drop(seat);
        drop(waiting);
        let _seat = gate.enter(&jane).await.unwrap();
        assert!(
            Box::pin(gate.enter(&jane)).now_or_never().is_none(),
            "there is one seat"
        );
    }

    #[tokio::test]
    async fn calls_that_last_are_counted_for_each_user() {
        let gate = gate(&Registry::new());
        let (jane, john) = (user("jane"), user("john"));
        let first = gate.stay(&jane).unwrap();
        let _second = gate.stay(&jane).unwrap();
        assert_eq!(gate.stay(&jane).unwrap_err(), Refusal::LastingCalls);
        drop(gate.stay(&john).unwrap());
        drop(first);
        drop(gate.stay(&jane).unwrap());
        assert_eq!(
            gate.lock().lasting.len(),
            1,
            "nobody is remembered who has nothing"
        );
    }
}
