//! What the kernel's numbers mean: from aya's nested errors to an errno, from an errno to words.

use std::error::Error;
use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::xdp::XdpError;

/// The errno at the bottom of an error of aya, if there is one.
pub(super) fn errno_of(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if let Some(code) = own_errno(error) {
            return Some(code);
        }
        layer = error.source();
    }
    None
}

/// Transparent variants skip their inner error in the chain of sources, so it is looked for here.
fn own_errno(error: &(dyn Error + 'static)) -> Option<i32> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.raw_os_error();
    }
    match error.downcast_ref::<MapError>() {
        Some(MapError::IoError(error)) => return error.raw_os_error(),
        Some(MapError::PinError { error, .. }) => return errno_of(error),
        _ => {}
    }
    match error.downcast_ref::<ProgramError>() {
        Some(ProgramError::IOError(error)) => error.raw_os_error(),
        Some(ProgramError::MapError(error)) => errno_of(error),
        Some(ProgramError::XdpError(XdpError::NetlinkError(error)) | ProgramError::NetlinkError(error)) => {
            error.raw_os_error()
        }
        _ => None,
    }
}

/// An errno in words, with its number.
pub(super) fn words(code: Option<i32>) -> String {
    code.map_or_else(
        || "no reason given by the kernel".to_owned(),
        |code| io::Error::from_raw_os_error(code).to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_errno_below_transparent_errors() {
        let no_memory = || io::Error::from_raw_os_error(libc::ENOMEM);
        assert_eq!(errno_of(&MapError::IoError(no_memory())), Some(libc::ENOMEM));
        let create = MapError::CreateError { name: "x".into(), io_error: no_memory() };
        assert_eq!(errno_of(&create), Some(libc::ENOMEM));
        assert_eq!(errno_of(&ProgramError::MapError(create)), Some(libc::ENOMEM));
        assert_eq!(errno_of(&MapError::KeyNotFound), None);
    }
}
