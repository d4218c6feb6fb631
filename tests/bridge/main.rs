//! Bridges, and the stand-in for AWS IoT Core that they are tried against.

mod command;
