//! `culex bridge test`: everything that people set up wrongly is named as what it is.

mod command;
mod identity;
mod setup;
mod table;
