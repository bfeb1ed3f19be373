//! Guards `/refresh`: of many uses of a token one gives a successor, and a token that was replaced gives nothing for long.

mod backups;
mod guesses;
mod races;
mod shape;
