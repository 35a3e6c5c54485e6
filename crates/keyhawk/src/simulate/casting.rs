//! The habits of each kind of key, and the cast: the first keys of a kind play what the demo needs.
//!
//! | key | part |
//! |---|---|
//! | first trader, office, partner, backend, phone | the victims of the attacks |
//! | second backend | the loudest key |
//! | third and fourth backend | a deploy doubles the rate, on the third and on the last day |
//! | fourth job of every twenty | a worker with an old secret is refused all day |
//! | third VPN user | now and then chooses an exit far from home: innocent, and a false alarm |

use std::net::IpAddr;

use super::habits::{AT_WORK, AWAKE, EVEN, HOUR_MS, Haunts, OFFICE_HOURS, Rhythm, SITE, Surge};
use super::networks::NetworkKind;
use super::population::Maker;
use super::routes::{self, Route};

/// How far from home a phone's gateway may stand: carriers hand traffic to the next big city.
const GATEWAY_REACH_KM: f64 = 400.0;

const TENANTS: [&str; 24] = [
    "alder-bank",
    "birch-logistics",
    "cedar-health",
    "dogwood-travel",
    "elm-insurance",
    "fir-foods",
    "ginkgo-games",
    "hazel-homes",
    "ivy-learning",
    "juniper-energy",
    "kapok-textiles",
    "larch-media",
    "maple-motors",
    "nutmeg-trading",
    "oak-capital",
    "poplar-print",
    "quince-labs",
    "rowan-rail",
    "spruce-stores",
    "teak-furniture",
    "umbrella-pine",
    "viburnum-care",
    "willow-water",
    "yew-security",
];

const SERVER_AGENTS: [&str; 6] = [
    "okhttp/4.12.0",
    "python-requests/2.32.3",
    "Go-http-client/2.0",
    "axios/1.7.9",
    "keyhawk-sample-sdk-java/3.4.1",
    "GuzzleHttp/7",
];

const APP_AGENTS: [&str; 4] = [
    "SampleBank/8.14.2 (iPhone; iOS 19.3)",
    "SampleBank/8.14.0 (iPhone; iOS 18.6)",
    "SampleBank/8.14.1 (Android 16; Pixel 9)",
    "SampleBank/8.12.3 (Android 15; SM-S921B)",
];

const DESK_AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/145.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/19.2 Safari/605",
    "PostmanRuntime/7.43.0",
    "curl/8.12.1",
];

/// Where the first office's keys are at home.
const FIRST_OFFICE: &str = "Frankfurt am Main";
/// Where the first partner is at home.
const FIRST_PARTNER: &str = "Warsaw";
/// Where the first phone is at home.
const FIRST_PHONE: &str = "Cologne";

/// What a kind decides of a key.
pub(super) struct Habits {
    /// Index of the city whose time it keeps.
    pub(super) home: usize,
    pub(super) tenant: &'static str,
    pub(super) consumer: &'static str,
    pub(super) rhythm: Rhythm,
    pub(super) moodiness: f64,
    pub(super) surge: Option<Surge>,
    pub(super) haunts: Haunts,
    pub(super) routes: &'static [Route],
    pub(super) user_agent: &'static str,
    pub(super) refused: f64,
}

impl Maker<'_> {
    pub(super) fn cron(&mut self, nth: usize) -> Habits {
        let minutes = *self.dice.pick(&[5, 5, 10, 15, 15, 30, 60]);
        let (home, addresses) = self.servers(1);
        Habits {
            home,
            tenant: self.tenant(),
            consumer: self.one_of(&[
                "nightly-sync",
                "export-job",
                "billing-poller",
                "health-check",
            ]),
            rhythm: Rhythm::Timer {
                period_ms: minutes * 60_000,
                offset_ms: self.dice.below(minutes as u64 * 60_000) as i64,
                calls: 1 + self.dice.below(3),
            },
            moodiness: 0.0,
            surge: None,
            haunts: Haunts::Machines(addresses),
            routes: routes::JOB,
            user_agent: self.one_of(&SERVER_AGENTS),
            // One in twenty jobs has a worker that nobody gave the new secret.
            refused: if nth % 20 == 3 { 0.3 } else { 0.001 },
        }
    }

    pub(super) fn web_backend(&mut self, nth: usize) -> Habits {
        let machines = 2 + self.dice.below(5);
        let (home, addresses) = self.servers(machines);
        let (per_hour, surge) = match nth {
            1 => (480.0, None),
            2 => (
                300.0,
                Some(Surge::Deploy {
                    day: 2,
                    at_ms: 13 * HOUR_MS,
                }),
            ),
            3 => (
                300.0,
                Some(Surge::Deploy {
                    day: 4,
                    at_ms: 8 * HOUR_MS,
                }),
            ),
            _ => {
                let per_hour = self.dice.around(20.0, 0.9);
                let at_ms = (9 + self.dice.below(9) as i64) * HOUR_MS;
                (
                    per_hour,
                    self.dice.chance(0.3).then_some(Surge::Campaign { at_ms }),
                )
            }
        };
        Habits {
            home,
            tenant: self.tenant(),
            consumer: self.one_of(&["checkout-web", "storefront", "portal", "booking-web"]),
            rhythm: Rhythm::Flow {
                per_hour,
                day: SITE,
            },
            moodiness: 0.2,
            surge,
            haunts: Haunts::Machines(addresses),
            routes: routes::BACKEND,
            user_agent: self.one_of(&SERVER_AGENTS),
            refused: 0.002,
        }
    }

    pub(super) fn mobile(&mut self, nth: usize) -> Habits {
        let home = if nth == 0 {
            self.networks.city(FIRST_PHONE)
        } else {
            self.any_city()
        };
        let carriers = self.networks.of(NetworkKind::Mobile, home);
        let asn = self.dice.pick(&carriers).asn;
        let cities = self.networks.around(home, GATEWAY_REACH_KM);
        let mut gateways = Vec::new();
        for city in cities.into_iter().take(3) {
            for network in self.networks.of(NetworkKind::Mobile, city) {
                if network.asn == asn {
                    gateways.push(
                        (0..6)
                            .map(|_| network.address(self.dice.bits() >> 8))
                            .collect(),
                    );
                }
            }
        }
        Habits {
            home,
            tenant: self.tenant(),
            consumer: "app",
            rhythm: Rhythm::Sessions {
                // The first phone is a busy one: abuse of it has something to hide behind.
                per_hour: if nth == 0 {
                    1.2
                } else {
                    self.dice.around(0.25, 0.6)
                },
                day: AWAKE,
                calls: 12.0,
                pause_ms: 7_000.0,
            },
            moodiness: 0.2,
            surge: None,
            haunts: Haunts::Carrier {
                gateways,
                wifi: self.address_in(NetworkKind::Residential, home),
            },
            routes: routes::APP,
            user_agent: self.one_of(&APP_AGENTS),
            refused: 0.004,
        }
    }

    pub(super) fn office(&mut self, nth: usize) -> Habits {
        // Four keys share an address and a tenant; the first four sit in the first office.
        let group = nth / 4;
        let offices = self.networks.of_kind(NetworkKind::Office);
        let first_city = self.networks.city(FIRST_OFFICE);
        let first = offices
            .iter()
            .position(|office| office.city == first_city)
            .unwrap_or(0);
        let office = offices[(first + group) % offices.len()];
        Habits {
            home: office.city,
            tenant: TENANTS[group % TENANTS.len()],
            consumer: self.one_of(&["back-office", "finance-desk", "support-desk", "analyst"]),
            rhythm: Rhythm::Sessions {
                // The first desk is the busiest, so that it is in use whenever it is attacked.
                per_hour: if nth == 0 {
                    4.0
                } else {
                    self.dice.around(0.9, 0.4)
                },
                day: AT_WORK,
                calls: 8.0,
                pause_ms: 11_000.0,
            },
            moodiness: 0.25,
            surge: None,
            haunts: Haunts::Desk {
                office: office.address((group / offices.len()) as u64 + 2),
                home: self.address_in(NetworkKind::Residential, office.city),
            },
            routes: routes::DESK,
            user_agent: self.one_of(&DESK_AGENTS),
            refused: 0.006,
        }
    }

    pub(super) fn ci_runner(&mut self) -> Habits {
        let (home, addresses) = self.servers(120);
        Habits {
            home,
            tenant: self.tenant(),
            consumer: self.one_of(&["ci", "build-farm", "release-pipeline"]),
            rhythm: Rhythm::Sessions {
                per_hour: self.dice.around(0.22, 0.5),
                day: AT_WORK,
                calls: 45.0,
                pause_ms: 3_500.0,
            },
            moodiness: 0.3,
            surge: None,
            haunts: Haunts::Pool(addresses),
            routes: routes::JOB,
            user_agent: self.one_of(&[
                "Go-http-client/2.0",
                "curl/8.12.1",
                "python-requests/2.32.3",
            ]),
            refused: 0.003,
        }
    }

    pub(super) fn vpn_user(&mut self, nth: usize) -> Habits {
        // Two of three never leave their VPN, wherever its exit is. The third turns it on and off all
        // day, with the exit near home that such programs choose by themselves; but the first of
        // these now and then chooses a far one.
        let exits = self.networks.of_kind(NetworkKind::Vpn);
        let toggles = nth % 3 == 2;
        let goes_far = nth == 2;
        let (home, exit) = loop {
            let (home, exit) = (self.any_city(), *self.dice.pick(&exits));
            let cities = &self.networks.cities;
            let distance_km = cities[home].distance_km(&cities[exit.city]);
            let near = distance_km < GATEWAY_REACH_KM;
            if !toggles
                || (if goes_far {
                    distance_km > 2_000.0
                } else {
                    near
                })
            {
                break (home, exit);
            }
        };
        Habits {
            home,
            tenant: self.tenant(),
            consumer: self.one_of(&["analyst", "remote-desk", "contractor"]),
            rhythm: Rhythm::Sessions {
                per_hour: self.dice.around(0.35, 0.4),
                day: AWAKE,
                calls: 10.0,
                pause_ms: 9_000.0,
            },
            moodiness: 0.2,
            surge: None,
            haunts: Haunts::Vpn {
                exits: (0..5)
                    .map(|_| exit.address(self.dice.bits() >> 8))
                    .collect(),
                home: self.address_in(NetworkKind::Residential, home),
                share: match (toggles, goes_far) {
                    (_, true) => 0.05,
                    (true, false) => 0.5,
                    _ => 1.0,
                },
            },
            routes: routes::DESK,
            user_agent: self.one_of(&DESK_AGENTS),
            refused: 0.004,
        }
    }

    pub(super) fn partner(&mut self, nth: usize) -> Habits {
        let home = if nth == 0 {
            self.networks.city(FIRST_PARTNER)
        } else {
            self.any_city()
        };
        Habits {
            home,
            tenant: self.tenant(),
            consumer: self.one_of(&["partner-feed", "reseller", "audit-link"]),
            rhythm: Rhythm::Flow {
                per_hour: self.dice.around(1.2, 0.4),
                day: OFFICE_HOURS,
            },
            moodiness: 0.1,
            surge: None,
            haunts: Haunts::Machines(vec![self.address_in(NetworkKind::Residential, home)]),
            routes: routes::DESK,
            user_agent: self.one_of(&SERVER_AGENTS),
            refused: 0.004,
        }
    }

    pub(super) fn trading(&mut self) -> Habits {
        let (home, addresses) = self.servers(2);
        Habits {
            home,
            tenant: self.one_of(&["oak-capital", "nutmeg-trading", "alder-bank"]),
            consumer: "market-maker",
            rhythm: Rhythm::Flow {
                per_hour: self.dice.around(110.0, 0.15),
                day: EVEN,
            },
            moodiness: 0.08,
            surge: None,
            haunts: Haunts::Machines(addresses),
            routes: routes::TRADING,
            user_agent: self.one_of(&["Go-http-client/2.0", "keyhawk-sample-sdk-cpp/1.9.0"]),
            refused: 0.001,
        }
    }

    pub(super) fn traveller(&mut self) -> Habits {
        let home = self.any_city();
        let away = loop {
            let city = self.any_city();
            let (from, to) = (&self.networks.cities[home], &self.networks.cities[city]);
            if from.country != to.country && from.distance_km(to) < 8000.0 {
                break city;
            }
        };
        let distance_km = self.networks.cities[home].distance_km(&self.networks.cities[away]);
        // 800 km/h from gate to gate, and two hours and a half of airports without the app.
        let flight_ms = (distance_km / 800.0 * HOUR_MS as f64) as i64 + 9_000_000;
        let mut addresses = |city| {
            vec![
                self.address_in(NetworkKind::Mobile, city),
                self.address_in(NetworkKind::Residential, city),
            ]
        };
        Habits {
            home,
            haunts: Haunts::Planes {
                home: addresses(home),
                away: addresses(away),
                flight_ms,
            },
            tenant: self.tenant(),
            consumer: "app",
            rhythm: Rhythm::Sessions {
                per_hour: 0.7,
                day: AWAKE,
                calls: 9.0,
                pause_ms: 8_000.0,
            },
            moodiness: 0.2,
            surge: None,
            routes: routes::APP,
            user_agent: self.one_of(&APP_AGENTS),
            refused: 0.004,
        }
    }

    /// So many addresses of one hosting network, and its city.
    fn servers(&mut self, count: u64) -> (usize, Vec<IpAddr>) {
        let hosting = self.networks.of_kind(NetworkKind::Hosting);
        let network = *self.dice.pick(&hosting);
        let first = self.dice.below(200);
        (
            network.city,
            (first..first + count)
                .map(|host| network.address(host))
                .collect(),
        )
    }

    fn address_in(&mut self, kind: NetworkKind, city: usize) -> IpAddr {
        let networks = self.networks.of(kind, city);
        self.dice.pick(&networks).address(self.dice.bits() >> 8)
    }

    fn any_city(&mut self) -> usize {
        self.dice.below(self.networks.cities.len() as u64) as usize
    }

    fn tenant(&mut self) -> &'static str {
        self.one_of(&TENANTS)
    }

    fn one_of(&mut self, choices: &[&'static str]) -> &'static str {
        self.dice.pick::<&'static str>(choices)
    }
}
