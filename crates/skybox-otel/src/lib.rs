//! Spans of a Skybox program to an OpenTelemetry collector.
