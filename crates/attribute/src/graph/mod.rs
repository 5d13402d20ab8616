//! A graph of the features behind a token.

mod build;
mod edges;
mod influence;
mod json;
mod node;

pub use json::GraphAbout;
pub use node::{Graph, GraphEdge, GraphNode, GraphNodeKind};
