//! Every container of tensors, with the numbers and the types that can be wrong in it.

mod bare;
mod dtypes;
mod not_finite;
mod replaced;
mod writers;
