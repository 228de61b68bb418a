//! Whatever is changed is found.

use super::*;
