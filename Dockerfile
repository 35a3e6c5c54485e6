# Keyhawk's image: the binary with all object stores, the shipped rules and the demo's GeoIP databases; no root, no shell needed.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --no-install-recommends --yes libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# Named one by one, so that nothing else is sent to the builder, and a change of the README builds nothing.
COPY Cargo.toml Cargo.lock clippy.toml ./
COPY benches benches
COPY crates crates
COPY sql sql
COPY testdata testdata
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package keyhawk --features s3,gcs,azure \
    && install -D target/release/keyhawk /out/keyhawk

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin keyhawk
COPY --from=build /out/keyhawk /usr/local/bin/keyhawk
COPY sql /etc/keyhawk/sql
COPY testdata/geoip /usr/share/keyhawk/geoip
USER 10001
EXPOSE 9187
# `run` stops cleanly on SIGTERM, which is what Docker sends.
ENTRYPOINT ["keyhawk"]
CMD ["run", "--config", "/etc/keyhawk/keyhawk.toml"]
