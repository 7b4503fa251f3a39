//! The wire as bytes: what it is ([`golden`]), that nothing is lost on it ([`round_trip`]), and
//! that nothing on it can hurt its reader ([`hostile`]).

mod golden;
mod hostile;
mod random;
mod round_trip;
mod samples;
mod strategies;
