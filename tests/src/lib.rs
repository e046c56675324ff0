//! Whole-system tests of Fermata.
//!
//! The library is empty on purpose: what this package holds is the tests beside it and the lab (`lab/`, binary
//! `fermata-lab`): real endpoints, real SDK clients and the ground truth of what happened between them.
