//! Retained Messages on their way to a new subscription: a cursor that moves as fast as the client reads, so that
//! 100,000 of them cost no memory.

use culex_codec::QoS;

use crate::engine::keys::RetainedVersion;
use crate::engine::route::Cursor;

/// What a new subscription still has to get.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    pub(crate) qos: QoS,
    pub(crate) up_to: RetainedVersion,
    pub(crate) cursor: Cursor,
}

impl Feed {
    pub(crate) const fn new(qos: QoS, up_to: RetainedVersion) -> Self {
        Self { qos, up_to, cursor: Cursor::Start }
    }
}
