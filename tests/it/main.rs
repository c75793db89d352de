//! Behaviour of identityd, by feature.
