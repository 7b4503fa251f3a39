//! What an act is.

/// The built-in profiles.
pub const PROFILES: [Profile; 3] = [Profile::Default, Profile::Networked, Profile::Strict];

const HELPERS: &str = include_str!("helpers.py");

/// A built-in profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Default,
    Networked,
    Strict,
}

impl Profile {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Networked => "networked",
            Self::Strict => "strict",
        }
    }
}

/// Outcomes, any of which is right.
pub type Outcomes = &'static [&'static str];

/// Something to try, and what may come of it.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    /// What is tried.
    pub name: &'static str,
    /// What kind of escape it would be, with an instance of it where there is a public one.
    pub class: &'static str,
    code: &'static str,
    control: &'static str,
    default: Outcomes,
    networked: Outcomes,
    strict: Outcomes,
}

/// An act with the same outcomes in every profile. Without a control it is its own.
pub const fn act(
    name: &'static str,
    class: &'static str,
    code: &'static str,
    control: &'static str,
    outcomes: Outcomes,
) -> Act {
    Act { name, class, code, control, default: outcomes, networked: outcomes, strict: outcomes }
}

impl Act {
    /// With other outcomes in `strict`.
    pub const fn strict(self, outcomes: Outcomes) -> Self {
        Self { strict: outcomes, ..self }
    }

    /// With other outcomes in `networked`.
    pub const fn networked(self, outcomes: Outcomes) -> Self {
        Self { networked: outcomes, ..self }
    }

    /// Its code with what it needs.
    pub fn whole(&self) -> String {
        format!("{HELPERS}\n{}", self.code)
    }

    /// What is to succeed outside.
    pub fn control_outside(&self) -> String {
        let control = if self.control.is_empty() { self.code } else { self.control };
        format!("{HELPERS}\n{control}")
    }

    /// The outcomes that are right in a profile.
    pub const fn allowed(&self, profile: Profile) -> Outcomes {
        match profile {
            Profile::Default => self.default,
            Profile::Networked => self.networked,
            Profile::Strict => self.strict,
        }
    }
}
