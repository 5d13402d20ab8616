//! Models and tokenizers with one thing wrong.

mod families;
mod family_weights;
mod hugging_face;
mod hugging_face_tokenizer;
mod layouts;
mod nanochat;
mod native;
