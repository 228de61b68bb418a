//! What a crash leaves behind.

use super::*;
