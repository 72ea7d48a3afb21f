use crate::{Hash, Span};

/// How many hashes a full tile holds, and how many records a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// A tile of `tlog-tiles`: 256 hashes of one level, or at the right edge fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// 0: leaves; above: roots of full tiles of the level below.
    pub level: u8,
    /// Which tile of its level, from 0.
    pub index: u64,
    /// How many hashes, 1 to 256.
    pub width: u16,
}

impl Tile {
    /// All tiles that a tree of `size` leaves has at `level`, left to right.
    pub fn of_level(level: u8, size: u64) -> impl Iterator<Item = Self> {
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        (0..hashes.div_ceil(TILE_WIDTH)).map(move |index| {
            let left = (hashes - index * TILE_WIDTH).min(TILE_WIDTH);
            Self { level, index, width: left as u16 }
        })
    }

    /// The hashes in it.
    pub fn span(self) -> Span {
        Span { level: self.level, first: self.index * TILE_WIDTH, count: self.width }
    }

    /// Its bytes.
    pub fn encode(hashes: &[Hash]) -> Vec<u8> {
        hashes.iter().flat_map(|hash| hash.0).collect()
    }

    /// The hashes in its bytes, where those are whole hashes.
    pub fn decode(bytes: &[u8]) -> Option<Vec<Hash>> {
        if !bytes.len().is_multiple_of(Hash::BYTES) {
            return None;
        }
        bytes.chunks_exact(Hash::BYTES).map(Hash::from_slice).collect()
    }
}

/// Where a tile or a bundle of records lies below its log, and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath {
    /// The level of a tile; `None`: a bundle of records.
    pub level: Option<u8>,
    /// Which of its level.
    pub index: u64,
    /// How many it holds, 1 to 256; only full ones go without `.p/WIDTH`.
    pub width: u16,
}

impl TilePath {
    /// The path of a tile.
    pub fn of(tile: Tile) -> Self {
        Self { level: Some(tile.level), index: tile.index, width: tile.width }
    }

    /// The path of a bundle.
    pub fn bundle(index: u64, width: u16) -> Self {
        Self { level: None, index, width }
    }

    /// As text: `tile/0/x001/234`, `tile/entries/007.p/12`.
    pub fn render(self) -> String {
        let mut path = match self.level {
            Some(level) => format!("tile/{level}/"),
            None => "tile/entries/".to_owned(),
        };
        let mut groups = vec![format!("{:03}", self.index % 1_000)];
        let mut left = self.index / 1_000;
        while left > 0 {
            groups.push(format!("x{:03}", left % 1_000));
            left /= 1_000;
        }
        groups.reverse();
        path += &groups.join("/");
        if u64::from(self.width) < TILE_WIDTH {
            path += &format!(".p/{}", self.width);
        }
        path
    }

    /// Reads what [`TilePath::render`] writes, and nothing else.
    pub fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let level = if kind == "entries" { None } else { Some(kind.parse().ok().filter(|level| *level < 8)?) };
        let (groups, width) = match rest.split_once(".p/") {
            Some((groups, width)) => (groups, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut index = 0u64;
        for group in groups.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
            index = index.checked_mul(1_000)?.checked_add(digits)?;
        }
        let read = Self { level, index, width };
        (read.width > 0 && read.render() == path).then_some(read)
    }
}
