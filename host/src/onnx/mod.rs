pub mod gradient;
pub mod inspect;
pub mod quantised;
pub mod shuffle;
pub mod validate;
