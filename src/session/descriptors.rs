//! Lets str0m negotiate the dependency descriptor and read it from publishers' headers.

use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

use crate::media::{DEPENDENCY_DESCRIPTOR, DependencyDescriptor};

/// Reads descriptors as bytes. It writes none: media leaves by the egress lane.
#[derive(Debug)]
pub(super) struct Descriptors;

impl Descriptors {
    /// What stands in a map of extensions.
    pub fn extension() -> Extension {
        Extension::with_serializer(DEPENDENCY_DESCRIPTOR, Descriptors)
    }
}

impl ExtensionSerializer for Descriptors {
    fn write_to(&self, _buffer: &mut [u8], _values: &ExtensionValues) -> usize {
        0
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        let descriptor = DependencyDescriptor::new(bytes);
        let found = descriptor.is_some();
        if let Some(descriptor) = descriptor {
            values.user_values.set(descriptor);
        }
        found
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }
}
