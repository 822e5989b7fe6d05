//! DTLS of an `Rtc` that negotiates and is never heard of again.

use std::time::Instant;

use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};

/// Makes DTLS that says nothing.
#[derive(Debug)]
pub(super) struct SilentProvider;

impl DtlsProvider for SilentProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        super::new_certificate()
    }

    fn new_dtls(
        &self,
        _certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(Silent { active: false, made: now }))
    }
}

/// DTLS that nothing comes of: which end begins is negotiated, and nothing begins.
#[derive(Debug)]
struct Silent {
    active: bool,
    made: Instant,
}

impl DtlsInstance for Silent {
    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn handle_packet(&mut self, _packet: &[u8]) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn poll_output<'a>(&mut self, _buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        DtlsOutput::Timeout(self.made + crate::limits::SESSION_IDLE)
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn send_application_data(&mut self, _data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        Ok(())
    }
}
