//! A model with its SAEs at hook points: tracking, steering, generation.
