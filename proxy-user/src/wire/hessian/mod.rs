//! The Hessian that Bolt's codec 1 means: the dialect of sofa-hessian 3, not that of the final Hessian 2 specification.
//!
//! ```text
//! null N  true T  false F
//! int     80..bf  c0..cf b  d0..d7 bb  'I' i32
//! long    d8..ef  f0..ff b  38..3f bb  77 i32  'L' i64
//! double  67 = 0  68 = 1  69 i8  6a i16  6b f32  'D' f64           date 'd' i64, milliseconds
//! string  00..1f  's' u16 chunk ... 'S' u16 last; lengths in UTF-16 units, bytes in CESU-8
//! bytes   20..2f  'b' u16 chunk ... 'B' u16 last
//! list    'V' [type] [length] values 'z'  |  76 int(type) int(length) values
//!         type = 't' u16 text  |  75 int(earlier type);  length = 6e u8  |  'l' i32
//! map     'M' [type] (key value)* 'z'
//! object  'O' int(length) name int(fields) field*, the definition; then 'o' int(definition) values
//! ref     4a u8  |  4b u16  |  'R' i32, counted over lists, maps and objects as they begin
//! ```

mod read;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use read::{HessianError, fuzz, read};
pub use value::{Class, Document, Node, Value};
pub use write::Writer;
