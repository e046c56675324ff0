//! What is learnt of an endpoint: how its responses end, what its errors look like, when it begins
//! to answer. Plain numbers, to export from one data plane and to ship to another in the endpoint's
//! entry, where they are what learning goes on from.
//!
//! Everything here is of the endpoint, over all its clients: centres of lengths that recur, in steps
//! of [`LENGTH_STEP`] bytes and from the third occurrence on, and counts. No client, no time of day,
//! no order (docs/privacy.md).

use serde::{Deserialize, Serialize};

/// Exported lengths are multiples of this, bytes.
pub const LENGTH_STEP: u32 = 4;
/// A length that has occurred less often is not exported.
pub const COUNT_MIN: u16 = 3;
/// Clusters of one kind, and steps of sizes and times.
pub const CLUSTERS_MAX: usize = 16;
/// Steps of sizes of ordinary replies.
pub const SIZES_MAX: usize = 128;
/// What is imported weighs at most as much as so many occurrences, so that an endpoint that has
/// changed since is soon believed.
pub const WEIGHT_MAX: u16 = 64;

/// What is learnt of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Learnt {
    /// Over HTTP/1.1.
    #[serde(skip_serializing_if = "is_default")]
    pub http1: LearntHttp1,
    /// Over HTTP/2.
    #[serde(skip_serializing_if = "is_default")]
    pub http2: LearntHttp2,
}

/// What is learnt over HTTP/1.1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LearntHttp1 {
    /// Complete replies, and those of them after which the connection stayed open.
    pub complete: u16,
    /// Likewise.
    pub left_open: u16,
    /// Bytes of errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Cluster>,
    /// Bytes of ordinary plain replies, in steps of a twentieth: where a step begins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ordinary: Vec<Cluster>,
    /// Lengths of the second record of streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub preludes: Vec<Cluster>,
    /// Bytes of errors where any size can be an ordinary answer: of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_errors: Vec<Cluster>,
    /// Milliseconds from request to first byte of streams, less the round trip: powers of the root
    /// of two.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_byte: Vec<Cluster>,
}

/// What is learnt over HTTP/2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LearntHttp2 {
    /// Responses in one piece that ended with a frame of their own.
    pub plain_marked: u16,
    /// Those that did without.
    pub plain_unmarked: u16,
    /// The same of streams.
    pub stream_marked: u16,
    /// Likewise.
    pub stream_unmarked: u16,
    /// Requests.
    pub requests: u16,
    /// Those that were answered with a WINDOW_UPDATE.
    pub granted: u16,
    /// Frames like one that no response followed.
    pub refused: u16,
    /// HEADERS of a response in one piece in a record of their own, bytes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Cluster>,
    /// The same of streams.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stream_headers: Vec<Cluster>,
    /// DATA of errors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Cluster>,
    /// DATA of ordinary plain answers that came nearly as soon as errors do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quick: Vec<Cluster>,
    /// DATA of plain answers that came at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompt: Vec<Cluster>,
}

/// A value that recurs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// Bytes, or milliseconds.
    pub value: u32,
    /// How often, of late.
    pub count: u16,
}

impl LearntHttp2 {
    fn counts_mut(&mut self) -> [&mut u16; 7] {
        [
            &mut self.plain_marked,
            &mut self.plain_unmarked,
            &mut self.stream_marked,
            &mut self.stream_unmarked,
            &mut self.requests,
            &mut self.granted,
            &mut self.refused,
        ]
    }
}

impl Learnt {
    /// Adds what was learnt at another server of the endpoint.
    pub fn merge(&mut self, other: &Self) {
        let (own, more) = (&mut self.http1, &other.http1);
        own.complete = own.complete.saturating_add(more.complete);
        own.left_open = own.left_open.saturating_add(more.left_open);
        join(&mut own.errors, &more.errors, CLUSTERS_MAX);
        join(&mut own.ordinary, &more.ordinary, SIZES_MAX);
        join(&mut own.preludes, &more.preludes, CLUSTERS_MAX);
        join(&mut own.tool_errors, &more.tool_errors, CLUSTERS_MAX);
        join(&mut own.first_byte, &more.first_byte, SIZES_MAX);
        let (own, more) = (&mut self.http2, &other.http2);
        for (own, more) in own.counts_mut().into_iter().zip(more.clone().counts_mut()) {
            *own = own.saturating_add(*more);
        }
        join(&mut own.headers, &more.headers, CLUSTERS_MAX);
        join(&mut own.stream_headers, &more.stream_headers, CLUSTERS_MAX);
        join(&mut own.errors, &more.errors, CLUSTERS_MAX);
        join(&mut own.quick, &more.quick, CLUSTERS_MAX);
        join(&mut own.prompt, &more.prompt, CLUSTERS_MAX);
    }

    /// Nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        is_default(self)
    }

    /// No list is longer than what can be taken over.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let LearntHttp1 { errors, ordinary, preludes, tool_errors, first_byte, .. } = &self.http1;
        let LearntHttp2 { headers, stream_headers, errors: data, quick, prompt, .. } = &self.http2;
        [errors, preludes, tool_errors, headers, stream_headers, data, quick, prompt]
            .iter()
            .all(|list| list.len() <= CLUSTERS_MAX)
            && [ordinary, first_byte].iter().all(|list| list.len() <= SIZES_MAX)
    }
}

/// A length as it is exported.
#[must_use]
pub const fn stepped(bytes: u32) -> u32 {
    bytes.saturating_add(LENGTH_STEP / 2) / LENGTH_STEP * LENGTH_STEP
}

/// Counts that weigh no more than [`WEIGHT_MAX`], in their proportion.
#[must_use]
pub fn weighed<const N: usize>(counts: [u16; N]) -> [u16; N] {
    let most = counts.iter().copied().max().unwrap_or(0).max(WEIGHT_MAX);
    counts.map(|count| {
        let weight = u32::from(count) * u32::from(WEIGHT_MAX) / u32::from(most);
        u16::try_from(weight).unwrap_or(WEIGHT_MAX)
    })
}

fn join(own: &mut Vec<Cluster>, more: &[Cluster], most: usize) {
    for cluster in more {
        match own.iter_mut().find(|known| known.value == cluster.value) {
            Some(known) => known.count = known.count.saturating_add(cluster.count),
            None => own.push(*cluster),
        }
    }
    own.sort_unstable_by_key(|cluster| std::cmp::Reverse((cluster.count, cluster.value)));
    own.truncate(most);
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_one_endpoint_add_up() {
        let of = |value, count| Cluster { value, count };
        let mut learnt = Learnt::default();
        learnt.http1.errors = vec![of(700, 3)];
        let mut other = Learnt::default();
        other.http1.errors = vec![of(852, 9), of(700, 4)];
        other.http2.plain_marked = 5;
        learnt.merge(&other);
        assert_eq!(learnt.http1.errors, [of(852, 9), of(700, 7)]);
        assert_eq!(learnt.http2.plain_marked, 5);
        assert!(learnt.is_usable() && !learnt.is_empty());
    }

    #[test]
    fn lengths_leave_in_steps_and_counts_weigh_little() {
        assert_eq!([699, 700, 701, 702].map(stepped), [700, 700, 700, 704]);
        assert_eq!(weighed([640, 64]), [64, 6]);
        assert_eq!(weighed([3, 2]), [3, 2]);
    }
}
