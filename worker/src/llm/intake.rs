//! Which files a model takes as they are.

/// What a model takes beside words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intake {
    /// Images that it takes; none takes none.
    pub images: Option<ImageIntake>,
    /// Whether it takes PDFs.
    pub documents: bool,
}

/// Images that a provider takes. It refuses the whole call for one that it does not take, and
/// a chat with such an image would be refused for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageIntake {
    /// How many bytes an image may have.
    pub bytes_max: usize,
    /// How many pixels a side of it may have.
    pub side_max: u32,
    /// How many images a call may have.
    pub count_max: usize,
    /// A call with more images than this…
    pub many: usize,
    /// …takes only those whose sides have at most so many pixels.
    pub side_max_of_many: u32,
    /// Whether it takes images that move.
    pub animated: bool,
}

impl Intake {
    /// Nothing but words.
    pub const WORDS: Self = Self { images: None, documents: false };
}

impl ImageIntake {
    /// Images without a bound but the call's own.
    pub(super) const ANY: Self = Self {
        bytes_max: usize::MAX,
        side_max: u32::MAX,
        count_max: usize::MAX,
        many: usize::MAX,
        side_max_of_many: u32::MAX,
        animated: true,
    };
}
