//! Who gets a seat: the decision alone, without time and without waiting.
//!
//! Guarantees: no more seats are taken than there are; a lane with fewer than its reserved seats gets one at once; of a
//! lane's users who wait, the one with the fewest seats gets the next, and of equals the one whose turn is longest
//! ago; a user's own requests go in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::lane::Lane;

/// A request that waits.
pub type Ticket = u64;

/// Waiting requests of one lane, of all users together: Kubernetes' 128 queues of 50.
const MOST_WAITING: usize = 6400;

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It has a seat.
    Seated,
    /// It waits until [`Seats::leave`] or [`Seats::give_up`] names its ticket.
    Waits,
    /// Too many of its user wait already.
    Refused,
}

/// A waiting request that has got a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    pub ticket: Ticket,
    pub lane: Lane,
    pub user: Arc<str>,
}

#[derive(Debug)]
pub struct Seats {
    seats: usize,
    waiting_per_user: usize,
    rows: BTreeMap<Lane, Row>,
    turns: u64,
}

/// One lane.
#[derive(Debug)]
struct Row {
    reserved: usize,
    taken: usize,
    waiting: usize,
    users: BTreeMap<Arc<str>, Place>,
    /// Users who wait, by the seats that they have and their last turn.
    order: BTreeSet<(usize, u64, Arc<str>)>,
}

/// One user who has seats or waits.
#[derive(Debug, Default)]
struct Place {
    taken: usize,
    last_turn: u64,
    waiting: VecDeque<Ticket>,
}

impl Seats {
    pub fn new(seats: usize, waiting_per_user: usize) -> Seats {
        let row = |lane: Lane| Row {
            reserved: lane.reserved(seats),
            taken: 0,
            waiting: 0,
            users: BTreeMap::new(),
            order: BTreeSet::new(),
        };
        Seats {
            seats,
            waiting_per_user,
            rows: Lane::ALL.into_iter().map(|lane| (lane, row(lane))).collect(),
            turns: 0,
        }
    }

    /// A request of `user` comes; `ticket` names it if it has to wait.
    pub fn arrive(&mut self, lane: Lane, user: &Arc<str>, ticket: Ticket) -> Arrival {
        let has_room = self.has_room(lane);
        let most = self.waiting_per_user;
        self.turns += 1;
        let turn = self.turns;
        let Some(row) = self.rows.get_mut(&lane) else {
            return Arrival::Refused;
        };
        if has_room && row.waiting == 0 {
            row.change(user, |place| {
                place.taken += 1;
                place.last_turn = turn;
            });
            row.taken += 1;
            return Arrival::Seated;
        }
        let own = row.users.get(user).map_or(0, |place| place.waiting.len());
        if own >= most || row.waiting >= MOST_WAITING {
            return Arrival::Refused;
        }
        row.waiting += 1;
        row.change(user, |place| place.waiting.push_back(ticket));
        Arrival::Waits
    }

    /// A request ends. Those that get seats thereby are called.
    pub fn leave(&mut self, lane: Lane, user: &Arc<str>) -> Vec<Called> {
        if let Some(row) = self.rows.get_mut(&lane) {
            row.taken = row.taken.saturating_sub(1);
            row.change(user, |place| place.taken = place.taken.saturating_sub(1));
        }
        self.call()
    }

    /// A request waits no more. False if it has been called, and so has to leave.
    pub fn give_up(&mut self, lane: Lane, user: &Arc<str>, ticket: Ticket) -> bool {
        let Some(row) = self.rows.get_mut(&lane) else {
            return false;
        };
        let waits = row
            .users
            .get(user)
            .is_some_and(|place| place.waiting.contains(&ticket));
        if waits {
            row.waiting -= 1;
            row.change(user, |place| place.waiting.retain(|own| *own != ticket));
        }
        waits
    }

    fn call(&mut self) -> Vec<Called> {
        let mut called = Vec::new();
        while let Some(lane) = self.next_lane() {
            self.turns += 1;
            let turn = self.turns;
            let Some(row) = self.rows.get_mut(&lane) else {
                break;
            };
            let Some((_, _, user)) = row.order.first().cloned() else {
                break;
            };
            let mut first = None;
            row.change(&user, |place| {
                first = place.waiting.pop_front();
                place.taken += 1;
                place.last_turn = turn;
            });
            row.taken += 1;
            row.waiting -= 1;
            called.extend(first.map(|ticket| Called { ticket, lane, user }));
        }
        called
    }

    /// The lane that gets the next seat: of those that may have one, that which has the smallest part of its reserved
    /// seats.
    fn next_lane(&self) -> Option<Lane> {
        let waiting = self.rows.iter().filter(|(_, row)| row.waiting > 0);
        waiting
            .filter(|(lane, _)| self.has_room(**lane))
            .min_by_key(|(_, row)| row.taken * self.seats / row.reserved)
            .map(|(lane, _)| *lane)
    }

    /// Whether the lane may take a seat: one of its own, or one that is reserved for nobody.
    fn has_room(&self, lane: Lane) -> bool {
        let Some(row) = self.rows.get(&lane) else {
            return false;
        };
        let spoken_for: usize = self.rows.values().map(|row| row.taken.max(row.reserved)).sum();
        row.taken < row.reserved || spoken_for < self.seats
    }
}

impl Row {
    /// Changes what a user has, and keeps the order of those who wait.
    fn change(&mut self, user: &Arc<str>, change: impl FnOnce(&mut Place)) {
        let place = self.users.entry(user.clone()).or_default();
        self.order.remove(&(place.taken, place.last_turn, user.clone()));
        change(place);
        if !place.waiting.is_empty() {
            self.order.insert((place.taken, place.last_turn, user.clone()));
        }
        if place.taken == 0 && place.waiting.is_empty() {
            self.users.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    fn user(name: &str) -> Arc<str> {
        name.into()
    }

    /// Fills every seat that `lane` can get with requests of `name`, and returns how many.
    fn flood(seats: &mut Seats, lane: Lane, name: &str) -> usize {
        let mut count = 0;
        while seats.arrive(lane, &user(name), 1000 + count as u64) == Arrival::Seated {
            count += 1;
        }
        assert!(seats.give_up(lane, &user(name), 1000 + count as u64));
        count
    }

    #[test]
    fn a_flood_leaves_every_other_lane_its_seats() {
        let mut seats = Seats::new(100, 10);
        let flooded = flood(&mut seats, Lane::GlobalDefault, "flood");
        let others = Lane::ALL.iter().filter(|lane| **lane != Lane::GlobalDefault);
        let reserved: usize = others.clone().map(|lane| lane.reserved(100)).sum();
        assert_eq!(flooded, 100 - reserved);
        for lane in others {
            for number in 0..lane.reserved(100) {
                assert_eq!(
                    seats.arrive(*lane, &user("x"), 0),
                    Arrival::Seated,
                    "{lane:?} {number}"
                );
            }
            assert_eq!(seats.arrive(*lane, &user("x"), 0), Arrival::Waits);
        }
    }

    #[test]
    fn the_next_seat_of_a_lane_goes_to_the_user_with_the_fewest() {
        let mut seats = Seats::new(5, 3);
        let lane = Lane::WorkloadLow;
        assert_eq!(flood(&mut seats, lane, "flood"), 1);
        for ticket in 1..=3 {
            assert_eq!(seats.arrive(lane, &user("flood"), ticket), Arrival::Waits);
        }
        assert_eq!(
            seats.arrive(lane, &user("flood"), 4),
            Arrival::Refused,
            "a fourth of the same user"
        );
        assert_eq!(seats.arrive(lane, &user("modest"), 5), Arrival::Waits);
        let called = |called: Vec<Called>| called.iter().map(|one| one.ticket).collect::<Vec<_>>();
        assert_eq!(
            called(seats.leave(lane, &user("flood"))),
            [5],
            "who had a turn waits for another"
        );
        assert_eq!(called(seats.leave(lane, &user("modest"))), [1]);
        assert_eq!(called(seats.leave(lane, &user("flood"))), [2]);
        assert!(seats.give_up(lane, &user("flood"), 3));
        assert!(!seats.give_up(lane, &user("flood"), 2), "it has a seat");
        assert!(called(seats.leave(lane, &user("flood"))).is_empty());
        assert!(
            seats.rows[&lane].users.is_empty(),
            "nobody is remembered who has nothing"
        );
    }

    #[test]
    fn a_lane_takes_what_others_lend_and_gives_it_back() {
        let mut seats = Seats::new(100, 1000);
        let lent = flood(&mut seats, Lane::WorkloadLow, "batch");
        assert!(lent > Lane::WorkloadLow.reserved(100));
        // More than the administrator's own seats: the others come as the flood's requests end.
        let mut waiting = 0;
        for ticket in 0..30 {
            waiting += usize::from(seats.arrive(Lane::Exempt, &user("admin"), ticket) == Arrival::Waits);
        }
        assert_eq!(waiting, 30 - Lane::Exempt.reserved(100));
        assert_eq!(
            seats.arrive(Lane::WorkloadLow, &user("batch"), 99),
            Arrival::Waits
        );
        let called = seats.leave(Lane::WorkloadLow, &user("batch"));
        assert_eq!(called.len(), 1);
        assert_eq!(
            called[0].lane,
            Lane::Exempt,
            "the lane with the smaller part goes first"
        );
    }

    #[test]
    fn seats_are_never_taken_twice_nor_lost_and_nobody_who_may_sit_stands() {
        let seed = 0x5ea75;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut seats = Seats::new(12, 4);
        let mut sitting: Vec<(Lane, Arc<str>)> = Vec::new();
        let mut standing: Vec<(Lane, Arc<str>, Ticket)> = Vec::new();
        for ticket in 0..20_000 {
            let called = match rng.random_range(0..10) {
                0..5 => {
                    let lane = Lane::ALL[rng.random_range(0..Lane::ALL.len())];
                    let user = user(["a", "b", "c"][rng.random_range(0..3)]);
                    match seats.arrive(lane, &user, ticket) {
                        Arrival::Seated => sitting.push((lane, user)),
                        Arrival::Waits => standing.push((lane, user, ticket)),
                        Arrival::Refused => {
                            let own = standing.iter().filter(|(l, u, _)| (l, u) == (&lane, &user));
                            assert_eq!(own.count(), 4, "seed {seed}, step {ticket}");
                        }
                    }
                    Vec::new()
                }
                5..9 if !sitting.is_empty() => {
                    let (lane, user) = sitting.swap_remove(rng.random_range(0..sitting.len()));
                    seats.leave(lane, &user)
                }
                _ if !standing.is_empty() => {
                    let (lane, user, ticket) = standing.swap_remove(rng.random_range(0..standing.len()));
                    assert!(seats.give_up(lane, &user, ticket), "seed {seed}");
                    Vec::new()
                }
                _ => Vec::new(),
            };
            for one in called {
                let index = standing.iter().position(|(_, _, waiting)| *waiting == one.ticket);
                let (lane, user, _) = standing.swap_remove(index.expect("it waited"));
                assert_eq!((lane, &user), (one.lane, &one.user), "seed {seed}");
                sitting.push((lane, user));
            }
            assert!(sitting.len() <= 12, "seed {seed}, step {ticket}");
            let taken: usize = seats.rows.values().map(|row| row.taken).sum();
            let waiting: usize = seats.rows.values().map(|row| row.waiting).sum();
            assert_eq!(
                (taken, waiting),
                (sitting.len(), standing.len()),
                "seed {seed}, step {ticket}"
            );
            assert_eq!(seats.next_lane(), None, "seed {seed}, step {ticket}");
        }
    }
}
