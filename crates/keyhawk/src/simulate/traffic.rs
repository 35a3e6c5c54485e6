//! What the keys do in a span of time: calls, retries and the gateway's answers.
//!
//! ```text
//!  rhythm ──▶ a run begins ──▶ its calls, from one address ──▶ answer ──▶ event
//!                                        ▲                        │
//!                                        └── retry after a pause ─┘  429, 502, 503
//! ```
//!
//! A key's events come in time order; [`super::merge`] puts those of all keys together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::sync::Arc;

use super::dice::Dice;
use super::event::{Auth, Caller, Credential, SimulatedEvent};
use super::habits::{HOUR_MS, Rhythm};
use super::networks::{NetworkKind, Networks};
use super::population::{Key, raw_key};
use super::routes;

/// How far the search for the next call moves at once, taking the rate as even: ten minutes.
const STEP_MS: f64 = 600_000.0;
/// The share of hours in which something unusual and innocent happens to a key.
const UNUSUAL_HOURS: f64 = 0.015;
/// By how much such an hour lifts the mood in the mean, in deviations of usual hours: for a backend
/// that is a rate of 1.6 times the usual one, of 3 times once in ten.
const UNUSUAL_MOOD: f64 = 4.0;
/// A client gives up after so many tries.
const TRIES_MAX: u8 = 3;

/// What distinguishes an intruder's calls from the key's own.
#[derive(Clone, Debug)]
pub(super) struct Intrusion {
    /// The attack's index in the scenario.
    pub(super) attack: usize,
    /// The intruder's addresses; none means the key's own haunts.
    pub(super) addresses: Vec<IpAddr>,
    /// Whether the intruder lacks the secret, so that every call is refused.
    pub(super) without_secret: bool,
    /// The intruder's program; none means the key's own.
    pub(super) user_agent: Option<&'static str>,
}

/// The span in which somebody calls, and where it lies in the scenario.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// The scenario's first instant.
    pub(super) scenario_start_ms: i64,
    pub(super) start_ms: i64,
    /// Exclusive.
    pub(super) end_ms: i64,
}

/// One call before it is answered, ordered by time.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Call {
    at_ms: i64,
    number: u64,
    address: IpAddr,
    route: usize,
    tries: u8,
}

/// The events of one key, or of an intruder who uses it, in time order.
#[derive(Debug)]
pub(super) struct KeyTraffic {
    key: Arc<Key>,
    rhythm: Rhythm,
    intrusion: Option<Intrusion>,
    span: Span,
    partition: u32,
    dice: Dice,
    /// The logarithm of this hour's rate against the usual one, and the hour that it is of.
    mood: (f64, i64),
    next_run_ms: i64,
    pending: BinaryHeap<Reverse<Call>>,
    calls: u64,
    last_gateway: usize,
}

impl KeyTraffic {
    /// The key's own calls.
    pub(super) fn new(key: Arc<Key>, span: Span, partition: u32, dice: Dice) -> Self {
        let rhythm = key.rhythm.clone();
        Self::with(key, rhythm, None, span, partition, dice)
    }

    /// Calls under the key by somebody else, with a rhythm of its own.
    pub(super) fn intruder(
        key: Arc<Key>,
        rhythm: Rhythm,
        intrusion: Intrusion,
        span: Span,
        partition: u32,
        dice: Dice,
    ) -> Self {
        Self::with(key, rhythm, Some(intrusion), span, partition, dice)
    }

    fn with(
        key: Arc<Key>,
        rhythm: Rhythm,
        intrusion: Option<Intrusion>,
        span: Span,
        partition: u32,
        dice: Dice,
    ) -> Self {
        let mut traffic = Self {
            key,
            rhythm,
            intrusion,
            span,
            partition,
            dice,
            mood: (0.0, span.start_ms.div_euclid(HOUR_MS)),
            next_run_ms: 0,
            pending: BinaryHeap::new(),
            calls: 0,
            last_gateway: 0,
        };
        traffic.next_run_ms = traffic.run_after(span.start_ms);
        traffic
    }

    fn local_ms(&self, at_ms: i64) -> i64 {
        at_ms + self.key.ahead_of_utc_ms
    }

    /// When the next run of calls begins; `i64::MAX` if not before the span ends.
    fn run_after(&mut self, from_ms: i64) -> i64 {
        let (per_hour, day) = match &self.rhythm {
            Rhythm::Timer {
                period_ms,
                offset_ms,
                ..
            } => {
                let rounds = (from_ms - offset_ms).div_euclid(*period_ms) + 1;
                let at_ms = rounds * period_ms + offset_ms;
                return if at_ms < self.span.end_ms {
                    at_ms
                } else {
                    i64::MAX
                };
            }
            Rhythm::Flow { per_hour, day } | Rhythm::Sessions { per_hour, day, .. } => {
                (*per_hour, day.clone())
            }
        };
        let mut at_ms = from_ms as f64;
        while at_ms < self.span.end_ms as f64 {
            let now_ms = at_ms as i64;
            self.age_mood(now_ms);
            let surge = match &self.key.surge {
                Some(surge) => surge.factor(now_ms - self.span.scenario_start_ms),
                None => 1.0,
            };
            let rate = per_hour * day.at(self.local_ms(now_ms)) * surge * libm::exp(self.mood.0);
            // A waiting time forgets how long one has waited, so cutting it into steps with a rate
            // each changes nothing but to follow the rate.
            let gap_ms = if rate > 0.0 {
                self.dice.waiting(HOUR_MS as f64 / rate)
            } else {
                f64::INFINITY
            };
            if gap_ms <= STEP_MS {
                at_ms += gap_ms.max(1.0);
                return if at_ms < self.span.end_ms as f64 {
                    at_ms as i64
                } else {
                    i64::MAX
                };
            }
            at_ms += STEP_MS;
        }
        i64::MAX
    }

    /// A new mood each hour that leans on the one before; and now and then an hour is quite another
    /// one: a sale, a mention, a cache that was lost.
    fn age_mood(&mut self, now_ms: i64) {
        let hour = now_ms.div_euclid(HOUR_MS);
        if hour == self.mood.1 {
            return;
        }
        let mut change = self.dice.normal();
        if self.dice.chance(UNUSUAL_HOURS) {
            change += self.dice.waiting(UNUSUAL_MOOD);
        }
        // 0.8 and 0.6: the squares sum to one, which keeps the deviation what it is.
        self.mood = (0.8 * self.mood.0 + 0.6 * self.key.moodiness * change, hour);
    }

    /// Lays out the calls of the run that begins now, and finds the next run.
    fn begin_run(&mut self) {
        let at_ms = self.next_run_ms;
        let (calls, pause_ms) = match self.rhythm {
            Rhythm::Timer { calls, .. } => (calls, 400.0),
            Rhythm::Flow { .. } => (1, 0.0),
            Rhythm::Sessions {
                calls, pause_ms, ..
            } => (1 + self.dice.waiting(calls - 1.0) as u64, pause_ms),
        };
        if let Some(address) = self.address(at_ms) {
            let mut call_ms = at_ms as f64;
            for _ in 0..calls {
                let from_end = self.key.routes.len() as u64;
                let route = self.dice.below(from_end).min(self.dice.below(from_end)) as usize;
                self.push(call_ms as i64, address, route, 1);
                if pause_ms > 0.0 {
                    call_ms += 40.0 + self.dice.waiting(pause_ms);
                }
            }
        }
        self.next_run_ms = self.run_after(at_ms);
    }

    fn address(&mut self, at_ms: i64) -> Option<IpAddr> {
        if let Some(intrusion) = &self.intrusion
            && !intrusion.addresses.is_empty()
        {
            return Some(*self.dice.pick(&intrusion.addresses));
        }
        let (local_ms, since_start_ms) =
            (self.local_ms(at_ms), at_ms - self.span.scenario_start_ms);
        let haunts = &self.key.haunts;
        haunts.address(
            local_ms,
            since_start_ms,
            &mut self.last_gateway,
            &mut self.dice,
        )
    }

    fn push(&mut self, at_ms: i64, address: IpAddr, route: usize, tries: u8) {
        if at_ms < self.span.end_ms {
            self.calls += 1;
            self.pending.push(Reverse(Call {
                at_ms,
                number: self.calls,
                address,
                route,
                tries,
            }));
        }
    }

    /// The gateway's answer, and the retry that it may call for.
    fn answer(&mut self, call: &Call) -> SimulatedEvent {
        let dice = &mut self.dice;
        let route = &self.key.routes[call.route];
        let (without_secret, attack, agent) = match &self.intrusion {
            Some(intrusion) => (
                intrusion.without_secret,
                Some(intrusion.attack),
                intrusion.user_agent,
            ),
            None => (false, None, None),
        };
        let mut caller = Caller::Key(Arc::clone(&self.key));
        let (auth, status) = if without_secret {
            // Stuffing: wrong secrets under a known id, or the right key badly signed.
            if dice.chance(0.5) {
                let guess = Credential(raw_key(dice).into_boxed_str());
                caller = Caller::Pretender(Arc::clone(&self.key), guess);
                (Auth::BadKey, 401)
            } else {
                (Auth::BadSignature, 401)
            }
        } else if dice.chance(self.key.refused) {
            match dice.below(4) {
                0 => (Auth::Forbidden, 403),
                1 => (Auth::Expired, 401),
                _ => (Auth::BadSignature, 401),
            }
        } else {
            let luck = dice.unit();
            let status = match route.method {
                _ if luck < 0.001 => 503,
                _ if luck < 0.002 => 502,
                _ if luck < 0.006 => 429,
                "GET" if luck < 0.021 => 404,
                "POST" if luck < 0.012 => 422,
                "POST" => 201,
                _ => 200,
            };
            (Auth::Ok, status)
        };
        let succeeded = status < 300;
        // A refusal and an error come quickly and are short.
        let (latency, size) = if succeeded {
            (route.latency_us, route.response_bytes)
        } else {
            (2_500.0, 160.0)
        };
        let event = SimulatedEvent {
            event_time_ms: call.at_ms,
            arrival_ms: call.at_ms,
            partition: self.partition,
            attack,
            client_ip: call.address,
            auth,
            status,
            caller,
            route,
            object: 1_000 + dice.below(9_000_000),
            user_agent: agent.unwrap_or(self.key.user_agent),
            event_id: dice.bits(),
            request_id: dice.bits(),
            request_bytes: dice.around(route.request_bytes, 0.15) as u64,
            response_bytes: dice.around(size, if succeeded { 0.6 } else { 0.1 }) as u64,
            latency_us: dice.around(latency, 0.45) as u64,
        };
        if matches!(status, 429 | 502 | 503) && call.tries < TRIES_MAX {
            let pause_ms = 300.0 + self.dice.waiting(2_000.0) * f64::from(call.tries);
            self.push(
                call.at_ms + pause_ms as i64,
                call.address,
                call.route,
                call.tries + 1,
            );
        }
        event
    }
}

impl Iterator for KeyTraffic {
    type Item = SimulatedEvent;

    fn next(&mut self) -> Option<SimulatedEvent> {
        loop {
            let first_ms = self.pending.peek().map_or(i64::MAX, |call| call.0.at_ms);
            if self.next_run_ms < i64::MAX && self.next_run_ms <= first_ms {
                self.begin_run();
                continue;
            }
            let Reverse(call) = self.pending.pop()?;
            return Some(self.answer(&call));
        }
    }
}

/// The programs of those who have no key.
const AGENTS: [&str; 4] = [
    "Mozilla/5.0",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "zgrab/0.x",
];

/// Calls without a key: scanners that try their luck, and monitors of the public status page.
#[derive(Debug)]
pub(super) struct Strangers {
    addresses: Vec<IpAddr>,
    at_ms: i64,
    end_ms: i64,
    partitions: u32,
    dice: Dice,
}

impl Strangers {
    /// Those of a span, from hosting and Tor networks all over the world.
    pub(super) fn new(networks: &Networks, span: Span, partitions: u32, mut dice: Dice) -> Self {
        let mut from = networks.of_kind(NetworkKind::Hosting);
        from.extend(networks.of_kind(NetworkKind::Tor));
        let addresses = from
            .iter()
            .map(|network| network.address(dice.bits() >> 8))
            .collect();
        let mut strangers = Self {
            addresses,
            at_ms: span.start_ms,
            end_ms: span.end_ms,
            partitions,
            dice,
        };
        strangers.wait();
        strangers
    }

    fn wait(&mut self) {
        self.at_ms += 1 + self.dice.waiting(HOUR_MS as f64 / 25.0) as i64;
    }
}

impl Iterator for Strangers {
    type Item = SimulatedEvent;

    fn next(&mut self) -> Option<SimulatedEvent> {
        if self.at_ms >= self.end_ms {
            return None;
        }
        let dice = &mut self.dice;
        let route = dice.pick(routes::PROBES);
        let event = SimulatedEvent {
            event_time_ms: self.at_ms,
            arrival_ms: self.at_ms,
            // Nothing to key them by: they lie anywhere.
            partition: dice.below(u64::from(self.partitions)) as u32,
            attack: None,
            client_ip: *dice.pick(&self.addresses),
            auth: Auth::None,
            status: if route.template == "/v1/status" {
                200
            } else {
                401
            },
            caller: Caller::Stranger,
            route,
            object: 1 + dice.below(1_000),
            user_agent: dice.pick::<&str>(&AGENTS),
            event_id: dice.bits(),
            request_id: dice.bits(),
            request_bytes: dice.around(route.request_bytes, 0.15) as u64,
            response_bytes: dice.around(route.response_bytes, 0.1) as u64,
            latency_us: dice.around(route.latency_us, 0.3) as u64,
        };
        self.wait();
        Some(event)
    }
}
