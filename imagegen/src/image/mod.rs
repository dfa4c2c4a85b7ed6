//! The products: store images, boot disks and root disks.

pub mod boot_disk;
mod boot_parts;
pub mod root_disk;
mod smallest_disk;
pub mod store_image;
pub use boot_parts::BootPartsError;
