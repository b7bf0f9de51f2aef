//! Marks the map types as plain data for userspace. The only unsafe code of this crate.

/// Declares types as plain old data: no padding, any bit pattern valid.
macro_rules! plain {
    ($($type:ty = $size:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$type>() == $size);
        // SAFETY: `repr(C)` or `repr(transparent)` over integers and byte arrays; the sum of the fields is asserted
        // above to be the size, so there is no padding, and every bit pattern is a value.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    )*};
}

plain! {
    crate::Addr = 16,
    crate::AclClass = 8,
    crate::BackendValue = 48,
    crate::BudgetValue = 8,
    crate::CacheLine = 64,
    crate::ConfigValue = 104,
    crate::Count = 16,
    crate::DestinationValue = 4,
    crate::FlowKey = 40,
    crate::FlowValue = 80,
    crate::ListName = 64,
    crate::RingBlock = 64,
    crate::SchemaValue = 16,
    crate::ServiceKey = 24,
    crate::ServiceValue = 24,
    crate::SnatValue = 24,
    crate::TrafficCount = 40,
}
