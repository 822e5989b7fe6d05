//! Whatever a payload says, looking for key frames, sizes of pictures, temporal layers and numbers
//! of frames ends, and depends on nothing else.
#![no_main]

use libfuzzer_sys::fuzz_target;
use monoport::media::{
    DependencyDescriptor, FrameStructure, picture_sizes, scalable_in_payload, starts_keyframe,
};
use str0m::format::Codec;

const CODECS: [Codec; 6] =
    [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1, Codec::Opus];

fuzz_target!(|bytes: &[u8]| {
    for codec in CODECS {
        assert_eq!(starts_keyframe(codec, bytes), starts_keyframe(codec, bytes));
        for keyframe in [false, true] {
            let sizes = picture_sizes(codec, bytes, keyframe);
            assert_eq!(sizes, picture_sizes(codec, bytes, keyframe));
            let highest = sizes.map(|sizes| sizes.of(sizes.highest()));
            assert!(highest.flatten().is_none_or(|size| size.width > 0 && size.height > 0));
        }
        assert_eq!(scalable_in_payload(codec, bytes), scalable_in_payload(codec, bytes));
    }
    if let Some(descriptor) = DependencyDescriptor::new(bytes) {
        if let Some(structure) = FrameStructure::read(&descriptor) {
            // Of its own frame, and of another one that begins in the middle.
            let behind = bytes.get(2..).and_then(DependencyDescriptor::new);
            let all = [Some(descriptor.clone()), behind];
            let temporal = all.iter().flatten().filter_map(|frame| structure.scalable(frame));
            temporal.for_each(|temporal| assert!(temporal.temporal < 64));
        }
        let number = descriptor.frame_number();
        let shifted = descriptor.clone().renumbered(number);
        assert_eq!(shifted.frame_number(), number.wrapping_mul(2));
        assert_eq!(shifted.renumbered(number.wrapping_neg()), descriptor);
    }
});
