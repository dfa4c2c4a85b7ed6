//! A variable as UEFI knows it: name, vendor, attributes, data.

use std::fmt;
use std::str::FromStr;

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, Unaligned};

use super::text::EfiText;
use crate::guid::Guid;
use crate::text::TextError;

/// The vendor of the variables that the UEFI specification defines (section 3.3, "Globally Defined Variables").
pub const GLOBAL_VARIABLE: Guid = Guid::from_u128(0x8be4_df61_93ca_11d2_aa0d_00e0_9803_2b8c);

/// Vendors that OVMF, shim and systemd use, with the names that edk2 gives them.
const VENDORS: [(Guid, &str); 15] = [
    (GLOBAL_VARIABLE, "EfiGlobalVariable"),
    (Guid::from_u128(0xd719_b2cb_3d3a_4596_a3bc_dad0_0e67_656f), "EfiImageSecurityDatabase"),
    (Guid::from_u128(0xf0a3_0bc7_af08_4556_99c4_0010_09c9_3a44), "EfiSecureBootEnableDisable"),
    (Guid::from_u128(0xc076_ec0c_7028_4399_a072_71ee_5c44_8b9f), "EfiCustomModeEnable"),
    (Guid::from_u128(0x9073_e4e0_60ec_4b6e_9903_4c22_3c26_0f3c), "EfiVendorKeysNv"),
    (Guid::from_u128(0xd9be_e56e_75dc_49d9_b4d7_b534_210f_637a), "EfiCertDb"),
    (Guid::from_u128(0x4c19_049f_4137_4dd3_9c10_8b97_a83f_fdfa), "EfiMemoryTypeInformation"),
    (Guid::from_u128(0x04b3_7fe8_f6ae_480b_bdd5_37d9_8c5e_89aa), "EdkiiVarErrorFlag"),
    (Guid::from_u128(0xeb70_4011_1402_11d3_8e77_00a0_c969_723b), "MtcVendor"),
    (Guid::from_u128(0x5932_4945_ec44_4c0d_b1cd_9db1_39df_070c), "EfiIScsiInitiatorName"),
    (Guid::from_u128(0x4b47_d616_a8d6_4552_9d44_ccad_2e0f_4cf9), "IScsiConfig"),
    (Guid::from_u128(0x5b44_6ed1_e30b_4faa_871a_3654_eca3_6080), "EfiIp4Config2"),
    (Guid::from_u128(0x937f_e521_95ae_4d1a_8929_48bc_d90a_d31a), "EfiIp6Config"),
    (Guid::from_u128(0x605d_ab50_e046_4300_abb6_3dd8_10dd_8b23), "Shim"),
    (Guid::from_u128(0x4a67_b082_0a4c_41cf_b6c7_440b_29bb_8c4f), "LoaderInfo"),
];

/// The name by which people know a vendor, if there is one.
pub fn vendor_name(vendor: Guid) -> Option<&'static str> {
    VENDORS.iter().find(|(guid, _)| *guid == vendor).map(|(_, name)| *name)
}

/// The vendor that [`vendor_name`] calls `name`.
pub fn vendor_by_name(name: &str) -> Option<Guid> {
    VENDORS.iter().find(|(_, known)| *known == name).map(|(guid, _)| *guid)
}

/// A variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Its name, never empty.
    pub name: EfiText,
    /// The namespace of the name.
    pub vendor: Guid,
    /// Who may see and change it.
    pub attributes: Attributes,
    /// Its value.
    pub data: Vec<u8>,
    /// What later changes are checked against; all zero for most variables.
    pub authentication: Authentication,
}

/// What the authenticated format keeps beside a variable, to judge signed changes (UEFI 2.10, section 8.2.2).
/// Kept as it is found, and never made from a clock. Its fields lie in this order in an `AUTHENTICATED_VARIABLE_HEADER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub struct Authentication {
    /// The count of the last change; only the deprecated count-based authentication uses it.
    pub monotonic_count: U64,
    /// The time of the last signed change, an `EFI_TIME`.
    pub time_stamp: [u8; 16],
    /// The key's place in the firmware's key database; only the deprecated authentication uses it.
    pub pub_key_index: U32,
}

/// The attribute bits of a variable (UEFI 2.10, section 8.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(pub u32);

impl Attributes {
    /// The variable outlives a reset.
    pub const NON_VOLATILE: Self = Self(0x01);
    /// Boot loaders see it.
    pub const BOOTSERVICE_ACCESS: Self = Self(0x02);
    /// The operating system sees it.
    pub const RUNTIME_ACCESS: Self = Self(0x04);
    /// Changes must be signed, and later than the last one.
    pub const TIME_BASED_AUTHENTICATED_WRITE_ACCESS: Self = Self(0x20);
    /// Asks for appending in a call; never stored.
    pub const APPEND_WRITE: Self = Self(0x40);
    /// What boot entries have.
    pub const NV_BS_RT: Self = Self(0x07);

    const NAMES: [(&str, u32); 7] =
        [("NV", 0x01), ("BS", 0x02), ("RT", 0x04), ("HR", 0x08), ("AW", 0x10), ("AT", 0x20), ("AP", 0x40)];

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Attributes {
    /// Writes `NV,BS,RT`, as the UEFI shell abbreviates them; unknown bits follow as one number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.into_iter().filter(|(_, bit)| self.0 & bit != 0);
        let mut parts: Vec<String> = known.map(|(name, _)| name.to_owned()).collect();
        let unknown = Self::NAMES.into_iter().fold(self.0, |rest, (_, bit)| rest & !bit);
        if unknown != 0 {
            parts.push(format!("{unknown:#x}"));
        }
        f.pad(&parts.join(","))
    }
}

impl FromStr for Attributes {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let expected = "a set of attributes: write `NV,BS,RT` (also HR, AW, AT, AP) or a number such as 0x7";
        let error = || TextError::new(text, expected);
        let mut bits = 0;
        for part in text.split(',') {
            let name = Self::NAMES.into_iter().find(|(name, _)| part.eq_ignore_ascii_case(name));
            bits |= match (name, part.strip_prefix("0x")) {
                (Some((_, bit)), _) => bit,
                // `from_str_radix` and `parse` would take a leading plus sign.
                _ if part.contains('+') => return Err(error()),
                (None, Some(digits)) => u32::from_str_radix(digits, 16).map_err(|_| error())?,
                (None, None) => part.parse().map_err(|_| error())?,
            };
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_as_text() {
        assert_eq!(Attributes(0x27).to_string(), "NV,BS,RT,AT");
        assert_eq!(Attributes(0x8000_0001).to_string(), "NV,0x80000000");
        for bits in [0x07, 0x27, 0x8000_0001] {
            assert_eq!(Attributes(bits).to_string().parse(), Ok(Attributes(bits)));
        }
        assert_eq!("7".parse(), Ok(Attributes(7)));
        for text in ["", "NV,", "XX", "+7", "0x+7", "0x100000000", "NV BS"] {
            assert!(text.parse::<Attributes>().is_err(), "{text}");
        }
    }

    #[test]
    fn vendors_have_one_name_each() {
        for (guid, name) in VENDORS {
            assert_eq!(vendor_name(guid), Some(name));
            assert_eq!(vendor_by_name(name), Some(guid));
        }
    }
}
