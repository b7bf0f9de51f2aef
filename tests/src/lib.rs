//! weir tests
