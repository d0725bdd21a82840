pub mod budget;
pub mod capsule;
