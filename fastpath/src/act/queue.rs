//! Queues of frames that share one bounded piece of memory.

use crate::burst::PortIndex;

const NONE: u32 = u32::MAX;

/// A queue; its frames are in [`Queues`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    first: u32,
    last: u32,
    len: u32,
}

/// The frames of all queues, each with the port it came in by.
#[derive(Debug)]
pub(super) struct Queues<F> {
    nodes: Vec<Node<F>>,
    free: u32,
    len: usize,
}

#[derive(Debug)]
struct Node<F> {
    frame: Option<(F, PortIndex)>,
    next: u32,
}

impl Queue {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE, len: 0 };

    /// Frames in it.
    pub(super) const fn len(self) -> usize {
        self.len as usize
    }
}

impl<F> Queues<F> {
    pub(super) fn with_capacity(frames: usize) -> Self {
        Self { nodes: Vec::with_capacity(frames), free: NONE, len: 0 }
    }

    /// Frames in all queues.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a frame at the end of a queue.
    pub(super) fn push(&mut self, queue: &mut Queue, frame: F, port: PortIndex) {
        let node = Node { frame: Some((frame, port)), next: NONE };
        let place = if self.free == NONE {
            self.nodes.push(node);
            u32::try_from(self.nodes.len() - 1).unwrap_or(NONE)
        } else {
            let place = self.free;
            self.free = self.nodes[place as usize].next;
            self.nodes[place as usize] = node;
            place
        };
        match queue.last {
            NONE => queue.first = place,
            last => self.nodes[last as usize].next = place,
        }
        queue.last = place;
        queue.len += 1;
        self.len += 1;
    }

    /// Takes the first frame of a queue.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<(F, PortIndex)> {
        let node = self.nodes.get_mut(queue.first as usize)?;
        let taken = node.frame.take();
        let place = std::mem::replace(&mut queue.first, node.next);
        node.next = std::mem::replace(&mut self.free, place);
        if queue.first == NONE {
            queue.last = NONE;
        }
        queue.len -= 1;
        self.len -= 1;
        taken
    }

    /// Takes all frames of a queue, in order.
    pub(super) fn drain(&mut self, queue: &mut Queue, mut each: impl FnMut(F, PortIndex)) {
        while let Some((frame, port)) = self.pop(queue) {
            each(frame, port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        /// Against `VecDeque`s: order is kept in each queue, and memory is used again.
        #[test]
        fn queues_that_share_memory_are_queues(
            steps in proptest::collection::vec((0usize..3, any::<bool>()), 0..300)
        ) {
            let (mut queues, mut own) = (Queues::with_capacity(8), [Queue::EMPTY; 3]);
            let mut model: [VecDeque<u32>; 3] = Default::default();
            let mut most = 0;
            for (n, (which, push)) in (0..).zip(steps) {
                if push {
                    queues.push(&mut own[which], n, PortIndex(0));
                    model[which].push_back(n);
                } else {
                    let taken = queues.pop(&mut own[which]).map(|(frame, _)| frame);
                    prop_assert_eq!(taken, model[which].pop_front());
                }
                most = most.max(model.iter().map(VecDeque::len).sum());
                prop_assert_eq!(own[which].len(), model[which].len());
            }
            prop_assert_eq!(queues.len(), model.iter().map(VecDeque::len).sum::<usize>());
            prop_assert_eq!(queues.nodes.len(), most);
        }
    }
}
