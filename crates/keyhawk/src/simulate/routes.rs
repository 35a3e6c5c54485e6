//! The API that is called: a broker's, with orders, markets, payments and reports.

/// One endpoint. The medians are what answers spread around.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    /// The path with `{id}` where an object's number stands.
    pub(super) template: &'static str,
    /// Whether calls carry `?page=…&page_size=50`.
    pub(super) paged: bool,
    pub(super) latency_us: f64,
    pub(super) request_bytes: f64,
    pub(super) response_bytes: f64,
}

const fn get(template: &'static str, latency_us: f64, response_bytes: f64) -> Route {
    Route {
        method: "GET",
        template,
        paged: false,
        latency_us,
        request_bytes: 420.0,
        response_bytes,
    }
}

const fn list(template: &'static str, latency_us: f64, response_bytes: f64) -> Route {
    Route {
        method: "GET",
        template,
        paged: true,
        latency_us,
        request_bytes: 450.0,
        response_bytes,
    }
}

const fn post(template: &'static str, latency_us: f64, request_bytes: f64) -> Route {
    Route {
        method: "POST",
        template,
        paged: false,
        latency_us,
        request_bytes,
        response_bytes: 380.0,
    }
}

// In each list the most called endpoints stand first: the choice leans to the front.

/// Programs that trade.
pub(super) const TRADING: &[Route] = &[
    get("/v1/markets/{id}/ticker", 6_000.0, 310.0),
    post("/v1/orders", 18_000.0, 620.0),
    get("/v1/orders/{id}", 9_000.0, 540.0),
    get("/v1/account/balance", 8_000.0, 260.0),
    post("/v1/orders/{id}/cancel", 15_000.0, 300.0),
];

/// Servers behind a shop or a site.
pub(super) const BACKEND: &[Route] = &[
    get("/v1/customers/{id}", 12_000.0, 1_400.0),
    post("/v1/payments", 85_000.0, 900.0),
    get("/v1/payments/{id}", 14_000.0, 780.0),
    list("/v1/orders", 32_000.0, 18_000.0),
    get("/v1/orders/{id}", 11_000.0, 1_100.0),
    post("/v1/customers", 40_000.0, 700.0),
    post("/v1/refunds", 90_000.0, 400.0),
];

/// Apps on phones.
pub(super) const APP: &[Route] = &[
    get("/v1/account", 14_000.0, 1_900.0),
    list("/v1/transactions", 38_000.0, 9_500.0),
    get("/v1/account/balance", 10_000.0, 260.0),
    get("/v1/transactions/{id}", 15_000.0, 820.0),
    post("/v1/transfers", 95_000.0, 560.0),
    get("/v1/notifications", 9_000.0, 1_200.0),
];

/// People at desks, and the scripts that they write.
pub(super) const DESK: &[Route] = &[
    list("/v1/invoices", 45_000.0, 22_000.0),
    get("/v1/invoices/{id}", 16_000.0, 2_600.0),
    list("/v1/customers", 52_000.0, 31_000.0),
    get("/v1/reports/{id}", 140_000.0, 64_000.0),
    post("/v1/invoices", 60_000.0, 1_800.0),
    get("/v1/users/{id}", 12_000.0, 900.0),
];

/// Jobs by the clock.
pub(super) const JOB: &[Route] = &[
    list("/v1/events", 30_000.0, 16_000.0),
    get("/v1/exports/{id}", 220_000.0, 480_000.0),
    post("/v1/exports", 70_000.0, 340.0),
    get("/v1/status", 3_000.0, 120.0),
];

/// What strangers try without a key.
pub(super) const PROBES: &[Route] = &[
    get("/v1/status", 2_000.0, 120.0),
    get("/v1/users/{id}", 2_000.0, 140.0),
    get("/.env", 1_500.0, 90.0),
    get("/admin/login", 1_500.0, 90.0),
    get("/v1/account", 2_000.0, 140.0),
];
