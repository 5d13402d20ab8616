//! The page, from a server and without one.

mod serve;
mod site;
