//! The dependency descriptor as a test's client writes and reads it.

use monoport::media::{DEPENDENCY_DESCRIPTOR, DependencyDescriptor};
use str0m::rtp::{Extension, ExtensionSerializer, ExtensionValues};

/// Longer than the one-byte form can hold: a key frame's descriptor brings the structure.
const STRUCTURE_BYTES: usize = 40;

#[derive(Debug)]
struct Descriptors;

/// What a client's map of extensions has.
pub fn extension() -> Extension {
    Extension::with_serializer(DEPENDENCY_DESCRIPTOR, Descriptors)
}

/// A descriptor of frame `number`.
pub fn descriptor(keyframe: bool, number: u16) -> DependencyDescriptor {
    let [high, low] = number.to_be_bytes();
    let mut bytes = vec![0xC1, high, low];
    if keyframe {
        bytes.resize(STRUCTURE_BYTES, 0x5A);
    }
    DependencyDescriptor::new(&bytes).expect("a header can hold it")
}

impl ExtensionSerializer for Descriptors {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let Some(descriptor) = values.user_values.get::<DependencyDescriptor>() else { return 0 };
        let bytes = descriptor.bytes();
        buffer[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values
            .user_values
            .set(DependencyDescriptor::new(bytes).expect("the server sends real ones"));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<DependencyDescriptor>().is_some_and(|d| d.bytes().len() > 16)
    }
}
