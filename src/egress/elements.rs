//! The header extensions of one packet, on their way out (RFC 8285).

use crate::media::DependencyDescriptor;

/// The extension elements of one header: audio has a level, video the three others that are not of
/// both.
#[derive(Default)]
pub(super) struct Elements<'a> {
    elements: [(u8, &'a [u8]); 5],
    count: usize,
}

impl<'a> Elements<'a> {
    /// Adds one, where the viewer has an id for it.
    pub fn push(&mut self, id: Option<u8>, data: &'a [u8]) {
        if let Some(id) = id {
            self.elements[self.count] = (id, data);
            self.count += 1;
        }
    }

    /// Adds a descriptor whose frame number has `offset` added, and has all of them written.
    #[cold]
    pub fn push_shifted<T>(
        &self,
        id: u8,
        descriptor: &DependencyDescriptor,
        offset: u16,
        write: impl FnOnce(&[(u8, &[u8])]) -> T,
    ) -> T {
        let mut room = [0; DependencyDescriptor::MAX_BYTES];
        let mut elements = Elements { elements: self.elements, count: self.count };
        elements.push(Some(id), descriptor.shifted(offset, &mut room));
        write(elements.as_slice())
    }

    /// All of them, in their order.
    pub fn as_slice(&self) -> &[(u8, &'a [u8])] {
        &self.elements[..self.count]
    }
}
