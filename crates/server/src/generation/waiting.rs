//! Generations that wait for rows.

use std::collections::{HashMap, VecDeque};

use crate::clients::ClientId;

/// Groups of generations that wait for rows. The next one is that of the client with the fewest running
/// rows; of clients with equally many, the one that has waited longest.
#[derive(Debug)]
pub(super) struct WaitingGroups<T>(VecDeque<Group<T>>);

#[derive(Debug)]
struct Group<T> {
    client: ClientId,
    members: VecDeque<T>,
}

/// Rows that can be given to waiting generations.
#[derive(Debug, Clone, Copy)]
pub(super) struct FreeRows {
    pub(super) free: usize,
    /// The most that one client may have.
    pub(super) of_client: usize,
}

impl<T> WaitingGroups<T> {
    /// No groups.
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    /// Appends a group of `client`.
    pub(super) fn push(&mut self, client: ClientId, members: impl IntoIterator<Item = T>) {
        self.0.push_back(Group { client, members: members.into_iter().collect() });
    }

    /// The number of generations.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|group| group.members.len()).sum()
    }

    /// True if there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of generations of `client`.
    pub(super) fn len_of(&self, client: ClientId) -> usize {
        let own = self.0.iter().filter(|group| group.client == client);
        own.map(|group| group.members.len()).sum()
    }

    /// All generations.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().flat_map(|group| &mut group.members)
    }

    /// Removes the generations for which `keep` is false.
    pub(super) fn retain_mut(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        for group in &mut self.0 {
            group.members.retain_mut(&mut keep);
        }
        self.0.retain(|group| !group.members.is_empty());
    }

    /// Takes the next group, if there are rows for it. A group is taken as a whole, unless it is larger than
    /// what its client may have; then it is taken in parts.
    ///
    /// `running` has the number of rows of each client that has any.
    pub(super) fn take_next(
        &mut self,
        rows: FreeRows,
        running: &HashMap<ClientId, usize>,
    ) -> Option<Vec<T>> {
        let of = |client| running.get(&client).copied().unwrap_or(0);
        // A client that waits for its own rows does not delay the others.
        let may_enter = |group: &Group<T>| {
            of(group.client) == 0 || of(group.client) + group.members.len() <= rows.of_client
        };
        let candidates = self.0.iter().enumerate().filter(|(_, group)| may_enter(group));
        // The first of equals.
        let (at, group) = candidates.min_by_key(|(_, group)| of(group.client))?;
        let entering = group.members.len().min(rows.of_client);
        // It waits for the rows of others, and so do those behind it: small groups must not pass it for ever.
        if entering > rows.free {
            return None;
        }
        let entering: Vec<T> = self.0[at].members.drain(..entering).collect();
        if self.0[at].members.is_empty() {
            self.0.remove(at);
        }
        Some(entering)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ClientId = ClientId::Key(1);
    const OTHER: ClientId = ClientId::Key(2);

    fn take(
        groups: &mut WaitingGroups<u32>,
        free: usize,
        running: &[(ClientId, usize)],
    ) -> Option<Vec<u32>> {
        let running = running.iter().copied().collect();
        groups.take_next(FreeRows { free, of_client: 6 }, &running)
    }

    #[test]
    fn the_client_with_the_fewest_rows_is_next_and_then_the_one_that_waited_longest() {
        let mut groups = WaitingGroups::new();
        groups.push(ONE, [1]);
        groups.push(ONE, [2]);
        groups.push(OTHER, [3, 4]);

        assert_eq!(take(&mut groups, 4, &[(ONE, 4)]), Some(vec![3, 4]));
        groups.push(OTHER, [5]);
        assert_eq!(take(&mut groups, 2, &[(ONE, 2), (OTHER, 2)]), Some(vec![1]));
        assert_eq!(take(&mut groups, 1, &[(ONE, 3), (OTHER, 2)]), Some(vec![5]));
        assert_eq!(groups.len(), 1);
    }

    #[test]
    fn a_client_that_has_its_share_of_the_rows_waits_and_does_not_delay_another() {
        let mut groups = WaitingGroups::new();
        groups.push(ONE, [1]);
        assert_eq!(take(&mut groups, 2, &[(ONE, 6)]), None);

        groups.push(OTHER, [2]);
        assert_eq!(take(&mut groups, 2, &[(ONE, 6)]), Some(vec![2]));
        assert_eq!(take(&mut groups, 1, &[(ONE, 5), (OTHER, 1)]), Some(vec![1]));
        assert!(groups.is_empty());
    }

    #[test]
    fn a_group_waits_for_rows_and_small_ones_do_not_pass_it() {
        let mut groups = WaitingGroups::new();
        groups.push(ONE, [1, 2, 3]);
        groups.push(OTHER, [4]);

        assert_eq!(take(&mut groups, 2, &[]), None);
        assert_eq!(take(&mut groups, 3, &[]), Some(vec![1, 2, 3]));
    }

    #[test]
    fn a_group_larger_than_the_share_enters_in_parts() {
        let mut groups = WaitingGroups::new();
        groups.push(ONE, 0..8);

        assert_eq!(take(&mut groups, 8, &[]).unwrap().len(), 6);
        assert_eq!((groups.len(), groups.len_of(ONE), groups.len_of(OTHER)), (2, 2, 0));
        assert_eq!(take(&mut groups, 1, &[(ONE, 5)]), None);
        assert_eq!(take(&mut groups, 2, &[(ONE, 4)]), Some(vec![6, 7]));
    }
}
