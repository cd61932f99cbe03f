//! Address arithmetic: `cidrhost`, `cidrnetmask`, `cidrsubnet`, `cidrsubnets`, for IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bigdecimal::num_bigint::{BigInt, Sign};

use super::{Answer, Arguments, Failure, Function, Parameter};
use crate::hcl::Value;

pub const FUNCTIONS: &[Function] = &[
    Function {
        name: "cidrhost",
        parameters: &[Parameter::Text, Parameter::Number],
        rest: None,
        moves_only: false,
        body: host,
    },
    Function {
        name: "cidrnetmask",
        parameters: &[Parameter::Text],
        rest: None,
        moves_only: false,
        body: |args| {
            let network = Network::of(args.text(0))?;
            Ok(network.family.written(network.mask()).into())
        },
    },
    Function {
        name: "cidrsubnet",
        parameters: &[Parameter::Text, Parameter::Number, Parameter::Number],
        rest: None,
        moves_only: false,
        body: subnet,
    },
    Function {
        name: "cidrsubnets",
        parameters: &[Parameter::Text],
        rest: Some(Parameter::Number),
        moves_only: false,
        body: subnets,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// A number that is all ones in so many of its lowest bits.
    const fn ones(bits: u32) -> u128 {
        if bits == 0 { 0 } else { u128::MAX >> (128 - bits) }
    }

    fn written(self, address: u128) -> String {
        match self {
            // Numbers of this family never have more than 32 bits.
            Self::V4 => Ipv4Addr::from(u32::try_from(address).unwrap_or_default()).to_string(),
            Self::V6 => Ipv6Addr::from(address).to_string(),
        }
    }
}

/// A network. The bits of its base behind the prefix are zero.
#[derive(Debug, Clone, Copy)]
struct Network {
    family: Family,
    base: u128,
    prefix: u32,
}

impl Network {
    fn of(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::at(0, "must be an address and a prefix length, such as \"10.1.0.0/16\"");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let (family, address) = match address.parse().map_err(|_| wrong())? {
            IpAddr::V4(address) => (Family::V4, u128::from(u32::from(address))),
            IpAddr::V6(address) => (Family::V6, u128::from(address)),
        };
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        let prefix: u32 = prefix.parse().map_err(|_| wrong())?;
        if prefix > family.bits() {
            return Err(Failure::at(0, format!("has a prefix longer than {} bits", family.bits())));
        }
        let network = Self { family, base: 0, prefix };
        Ok(Self { base: address & network.mask(), ..network })
    }

    const fn host_bits(self) -> u32 {
        self.family.bits() - self.prefix
    }

    const fn mask(self) -> u128 {
        Family::ones(self.family.bits()) & !Family::ones(self.host_bits())
    }

    const fn last(self) -> u128 {
        self.base | Family::ones(self.host_bits())
    }
}

/// Writes `address/prefix`.
impl From<Network> for Value {
    fn from(network: Network) -> Self {
        format!("{}/{}", network.family.written(network.base), network.prefix).into()
    }
}

/// A whole number of any size, as its sign and what is left without it.
fn whole(args: &Arguments<'_>, index: usize) -> Result<(bool, u128), Failure> {
    let number: BigInt =
        args.number(index).big_whole().ok_or_else(|| Failure::at(index, "must be a whole number"))?;
    let (sign, magnitude) = number.into_parts();
    let magnitude =
        u128::try_from(magnitude).map_err(|_| Failure::at(index, "is larger than any address"))?;
    Ok((sign == Sign::Minus, magnitude))
}

/// By how many bits a prefix is to grow.
fn growth(args: &Arguments<'_>, index: usize, network: Network) -> Result<u32, Failure> {
    let bits = args.whole(index)?;
    let bits = u32::try_from(bits).map_err(|_| Failure::at(index, "must be a number of bits"))?;
    if bits > network.host_bits() {
        let left = network.host_bits();
        return Err(Failure::at(index, format!("is too much: only {left} bits are left behind the prefix")));
    }
    Ok(bits)
}

fn host(args: &Arguments<'_>) -> Answer {
    let network = Network::of(args.text(0))?;
    let (is_negative, number) = whole(args, 1)?;
    // -1 is the last address, as 0 is the first.
    let number = if is_negative { number.saturating_sub(1) } else { number };
    if number > Family::ones(network.host_bits()) {
        let bits = network.host_bits();
        return Err(Failure::at(1, format!("is too large: the network has only {bits} bits for hosts")));
    }
    let address = if is_negative { network.last() - number } else { network.base | number };
    Ok(network.family.written(address).into())
}

fn subnet(args: &Arguments<'_>) -> Answer {
    let network = Network::of(args.text(0))?;
    let bits = growth(args, 1, network)?;
    let (is_negative, number) = whole(args, 2)?;
    if is_negative || number > Family::ones(bits) {
        return Err(Failure::at(2, format!("must be a number of {bits} bits")));
    }
    let prefix = network.prefix + bits;
    // A shift by all 128 bits happens only with the number 0.
    let offset = number.checked_shl(network.family.bits() - prefix).unwrap_or_default();
    Ok(Network { base: network.base | offset, prefix, ..network }.into())
}

fn subnets(args: &Arguments<'_>) -> Answer {
    let network = Network::of(args.text(0))?;
    let mut subnets: Vec<Value> = Vec::new();
    // Where the next subnet can begin; none: the network is full.
    let mut free = Some(network.base);
    for index in 1..args.len() {
        let bits = growth(args, index, network)?;
        if bits == 0 {
            return Err(Failure::at(index, "must be at least 1"));
        }
        let size = Family::ones(network.host_bits() - bits);
        // A subnet begins at a multiple of its size.
        let base = free.and_then(|free| free.checked_add(size)).map(|base| base & !size);
        let Some(base) = base.filter(|base| *base <= network.last()) else {
            return Err(Failure::at(index, "does not fit into what the subnets before it leave"));
        };
        let subnet = Network { base, prefix: network.prefix + bits, ..network };
        free = subnet.last().checked_add(1);
        subnets.push(subnet.into());
    }
    Ok(Value::list(subnets))
}

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn hosts_are_counted_from_both_ends() {
        for (expression, expected) in [
            (r#"cidrhost("10.12.112.0/20", 16)"#, r#""10.12.112.16""#),
            (r#"cidrhost("10.12.112.0/20", 268)"#, r#""10.12.113.12""#),
            (r#"cidrhost("10.12.113.7/20", 0)"#, r#""10.12.112.0""#),
            (r#"cidrhost("10.12.112.0/20", -1)"#, r#""10.12.127.255""#),
            (r#"cidrhost("10.12.112.0/20", -4096)"#, r#""10.12.112.0""#),
            (r#"cidrhost("10.0.0.1/32", 0)"#, r#""10.0.0.1""#),
            (r#"cidrhost("10.0.0.1/32", -1)"#, r#""10.0.0.1""#),
            (r#"cidrhost("0.0.0.0/0", 4294967295)"#, r#""255.255.255.255""#),
            (r#"cidrhost("fd00:fd12:3456:7890:00a2::/72", 34)"#, r#""fd00:fd12:3456:7890::22""#),
            (
                r#"cidrhost("::/0", 340282366920938463463374607431768211455)"#,
                r#""ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff""#,
            ),
            (r#"cidrhost("::/0", -340282366920938463463374607431768211455)"#, r#""::1""#),
            (
                r#"cidrhost("10.12.112.0/20", 4096)"#,
                "error: argument 2 of `cidrhost` is too large: the network has only 12 bits for hosts",
            ),
            (
                r#"cidrhost("10.12.112.0/20", -4097)"#,
                "error: argument 2 of `cidrhost` is too large: the network has only 12 bits for hosts",
            ),
            (
                r#"cidrhost("10.0.0.0/8", 1e100)"#,
                "error: argument 2 of `cidrhost` is larger than any address",
            ),
            (r#"cidrhost("10.0.0.0/8", 1.5)"#, "error: argument 2 of `cidrhost` must be a whole number"),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }

    #[test]
    fn prefixes_have_masks() {
        for (prefix, expected) in [
            ("172.16.0.0/12", "255.240.0.0"),
            ("0.0.0.0/0", "0.0.0.0"),
            ("1.2.3.4/32", "255.255.255.255"),
            ("2001:db8::/48", "ffff:ffff:ffff::"),
            ("::/0", "::"),
        ] {
            assert_eq!(shown(&format!("cidrnetmask(\"{prefix}\")")), format!("\"{expected}\""), "{prefix}");
        }
        for prefix in [
            "10.0.0.0",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "010.0.0.0/8",
            "x/8",
            "",
            "/",
        ] {
            assert_eq!(
                shown(&format!("cidrnetmask(\"{prefix}\")")),
                "error: argument 1 of `cidrnetmask` must be an address and a prefix length, such as \"10.1.0.0/16\"",
                "{prefix}"
            );
        }
        assert_eq!(
            shown(r#"cidrnetmask("10.0.0.0/33")"#),
            "error: argument 1 of `cidrnetmask` has a prefix longer than 32 bits"
        );
    }

    #[test]
    fn networks_are_divided() {
        for (expression, expected) in [
            (r#"cidrsubnet("172.16.0.0/12", 4, 2)"#, r#""172.18.0.0/16""#),
            (r#"cidrsubnet("10.1.2.0/24", 4, 15)"#, r#""10.1.2.240/28""#),
            (r#"cidrsubnet("10.1.2.0/24", 0, 0)"#, r#""10.1.2.0/24""#),
            (r#"cidrsubnet("10.1.2.0/24", 8, 255)"#, r#""10.1.2.255/32""#),
            (r#"cidrsubnet("fd00:fd12:3456:7890::/56", 16, 162)"#, r#""fd00:fd12:3456:7800:a200::/72""#),
            (r#"cidrsubnet("::/0", 128, 1)"#, r#""::1/128""#),
            (r#"cidrsubnet("::/0", 0, 0)"#, r#""::/0""#),
            (
                r#"cidrsubnet("10.1.2.0/24", 9, 0)"#,
                "error: argument 2 of `cidrsubnet` is too much: only 8 bits are left behind the prefix",
            ),
            (
                r#"cidrsubnet("10.1.2.0/24", -1, 0)"#,
                "error: argument 2 of `cidrsubnet` must be a number of bits",
            ),
            (
                r#"cidrsubnet("10.1.2.0/24", 1e15, 0)"#,
                "error: argument 2 of `cidrsubnet` must be a number of bits",
            ),
            (
                r#"cidrsubnet("10.1.2.0/24", 4, 16)"#,
                "error: argument 3 of `cidrsubnet` must be a number of 4 bits",
            ),
            (
                r#"cidrsubnet("10.1.2.0/24", 4, -1)"#,
                "error: argument 3 of `cidrsubnet` must be a number of 4 bits",
            ),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }

    #[test]
    fn subnets_follow_each_other() {
        for (expression, expected) in [
            (
                r#"cidrsubnets("10.1.0.0/16", 4, 4, 8, 4)"#,
                r#"["10.1.0.0/20","10.1.16.0/20","10.1.32.0/24","10.1.48.0/20"]"#,
            ),
            (
                r#"cidrsubnets("fd00:fd12:3456:7890::/56", 16, 16, 16, 32)"#,
                r#"["fd00:fd12:3456:7800::/72","fd00:fd12:3456:7800:100::/72","fd00:fd12:3456:7800:200::/72","fd00:fd12:3456:7800:300::/88"]"#,
            ),
            (r#"cidrsubnets("10.0.0.0/8", [8, 8]...)"#, r#"["10.0.0.0/16","10.1.0.0/16"]"#),
            (r#"cidrsubnets("10.0.0.0/8")"#, "[]"),
            (r#"cidrsubnets("::/0", 1, 1)"#, r#"["::/1","8000::/1"]"#),
            (
                r#"cidrsubnets("::/0", 1, 1, 128)"#,
                "error: argument 4 of `cidrsubnets` does not fit into what the subnets before it leave",
            ),
            (
                r#"cidrsubnets("255.255.255.0/24", 1, 1, 1)"#,
                "error: argument 4 of `cidrsubnets` does not fit into what the subnets before it leave",
            ),
            (r#"cidrsubnets("10.0.0.0/8", 0)"#, "error: argument 2 of `cidrsubnets` must be at least 1"),
            (
                r#"cidrsubnets("10.0.0.0/8", 25)"#,
                "error: argument 2 of `cidrsubnets` is too much: only 24 bits are left behind the prefix",
            ),
        ] {
            assert_eq!(shown(expression), expected, "{expression}");
        }
    }
}
