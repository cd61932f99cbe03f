//! `env`: what a variable of the environment holds. Where there is one to be seen is the host's affair.

use super::{Failure, Function, Parameter};

pub const FUNCTIONS: &[Function] = &[Function {
    name: "env",
    parameters: &[Parameter::Text],
    rest: None,
    moves_only: false,
    body: |args| args.host.env(args.text(0)).map(Into::into).map_err(Failure::from),
}];

#[cfg(test)]
mod tests {
    use crate::hcl::testing::shown;

    #[test]
    fn the_host_knows_the_environment() {
        assert_eq!(shown(r#"env("HOME_TOWN")"#), r#""Saint-Cloud""#);
        assert_eq!(shown(r#"env("NOTHING")"#), r#""""#);
        assert_eq!(shown("env()"), "error: `env` takes 1 argument, not 0");
    }
}
