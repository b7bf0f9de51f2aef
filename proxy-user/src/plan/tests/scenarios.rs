//! Single situations with their outcome.
