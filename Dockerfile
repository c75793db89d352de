# The binary is built in one image and run in another, as a user without rights, on a volume.
FROM rust:1.95-slim-trixie AS build
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package identityd

FROM debian:trixie-slim
# Postgres is for installations without a database of their own.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --home-dir /var/lib/identityd --shell /usr/sbin/nologin identityd \
    && install --directory --owner identityd --group identityd --mode 0700 /var/lib/identityd
COPY --from=build /source/target/release/identityd /usr/bin/identityd
USER identityd
ENV IDENTITYD_LISTEN=0.0.0.0:8080 \
    IDENTITYD_DATA_DIR=/var/lib/identityd \
    IDENTITYD_LOG_FORMAT=json
VOLUME /var/lib/identityd
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/identityd"]
CMD ["serve"]
