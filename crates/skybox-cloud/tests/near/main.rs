//! How far away resources are: real sockets, and a real Postgres.

mod cases;
mod postgres;
