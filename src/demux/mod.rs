//! demux
