//! What a disk is called in a VM. In OUTSCALE's VMs the root volume is `vda`, the others are SCSI disks, `sda` and so on
//! in the order in which they were plugged in; what a template calls one is part of the disk's own name, from which udev
//! rules in OUTSCALE's images make links: a volume linked as `/dev/xvdf` (or `/dev/sdf`) may be `/dev/sda`, and
//! `/dev/xvdf` leads to it.

/// The letters of a name that OAPI takes: `/dev/xvdf`, `/dev/sdf` → `f`; nothing for others.
pub fn letters(device_name: &str) -> Option<&str> {
    let name = device_name.strip_prefix("/dev/").unwrap_or(device_name);
    let letters = name.strip_prefix("xvd").or_else(|| name.strip_prefix("sd"))?;
    let is_plain = !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    is_plain.then_some(letters)
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn both_kinds_of_names_have_letters() {
        assert_eq!(
            (letters("/dev/xvdf"), letters("/dev/sdba"), letters("xvdb")),
            (Some("f"), Some("ba"), Some("b"))
        );
        for other in ["/dev/sda1", "/dev/vdb", "/dev/sd", "", "/dev/xvd/f"] {
            assert_eq!(letters(other), None, "{other}");
        }
    }
}
