//! The products: store images, boot disks and root disks.

pub mod boot_disk;
pub mod root_disk;
pub mod store_image;
