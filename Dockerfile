# The program in a small image:
#
#     docker build --tag nanoscope .
#     docker run --rm -it nanoscope generate
#     docker run --rm -p 8765:8765 --env NANOSCOPE_API_KEY=sesame nanoscope serve --host 0.0.0.0

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin nanoscope

FROM debian:bookworm-slim
COPY --from=build /src/target/release/nanoscope /usr/local/bin/nanoscope
COPY --from=build /src/LICENSE-MIT /src/LICENSE-APACHE /usr/share/doc/nanoscope/
RUN useradd --uid 10001 --create-home nanoscope
USER 10001
WORKDIR /home/nanoscope
EXPOSE 8765
ENTRYPOINT ["nanoscope"]
