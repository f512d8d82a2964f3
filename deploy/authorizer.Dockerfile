# The authorizer for API Gateway as a Lambda container image, to be pushed to Amazon ECR:
#   docker build --file deploy/authorizer.Dockerfile --tag anteroom-authorizer .
# An image rather than a zip file, so that its OpenSSL and C library are those that it was built with.
FROM docker.io/library/rust:1-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin anteroom-authorizer

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 \
    && rm --recursive /var/lib/apt/lists/*
COPY --from=build /build/target/release/anteroom-authorizer /usr/local/bin/anteroom-authorizer
# It implements Lambda's runtime interface itself.
ENTRYPOINT ["anteroom-authorizer"]
