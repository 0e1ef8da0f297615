//! Logs of the sizes at which tiles fill, held against trees and tiles of others.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tlog_tiles::tile::{Tile, TileHashReader, TileReader};
use tlog_tiles::tlog::{self as tiled};
use wheelseal::log::Prover;
use wheelseal::tlog::policy::Policy;
use wheelseal::tlog::tile::TileId;

use super::*;

/// What `tlog_tiles` reads of the folder.
struct Folder<'a> {
    root: &'a Path,
}

impl TileReader for Folder<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tiled::Error> {
        let read = |tile: &Tile| {
            let size = (tile.level_index() * 256 + u64::from(tile.width())) << (8 * tile.level());
            let id = TileId::new(tile.level().into(), tile.level_index(), size).unwrap();
            std::fs::read(self.root.join("log").join(id.path())).unwrap()
        };
        Ok(tiles.iter().map(read).collect())
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Grows a log through these sizes, each append by another process. At each, everybody agrees.
async fn grow_through(sizes: &[u64]) {
    let scene = Scene::new();
    let policy = Policy::parse(format!("log {}\nquorum none\n", scene.signer.key).as_bytes()).unwrap();
    let mut head = scene.log().await.create(ORIGIN, None).await.unwrap();
    let mut tree: MemoryBackedTree<Sha256, Vec<u8>> = MemoryBackedTree::new();
    let mut passed: Vec<(u64, tiled::Hash)> = Vec::new();
    for size in sizes {
        let log = scene.log().await;
        head = log.append(&head, files(head.size()..*size)).await.unwrap();
        (tree.len()..*size).for_each(|number| tree.push(text(number).into_bytes()));
        assert_eq!(
            (head.size(), head.root().as_bytes().as_slice()),
            (*size, tree.root().as_bytes().as_slice())
        );
        let checkpoint = scene.publish(&log).await.unwrap();
        assert_eq!(scene.audit().await.unwrap().1.files, *size);

        let root = tiled::Hash(*head.root().as_bytes());
        let reader = Folder { root: scene.root() };
        let theirs = TileHashReader::new(*size, root, &reader);
        let mut prover: Prover = log.reader().prover(&checkpoint);
        for index in [0, size / 2, *size - 1] {
            let proof = tiled::prove_record(*size, index, &theirs).unwrap();
            tiled::check_record(&proof, *size, root, index, tiled::record_hash(text(index).as_bytes()))
                .unwrap();
            let (leaf, ours) = prover.leaf(index).await.unwrap();
            assert_eq!(leaf, Leaf::File(file(index)));
            ours.verify(text(index).as_bytes(), &policy).unwrap();
            let lines: Vec<_> = proof.iter().map(ToString::to_string).collect();
            let ours = ours.to_string();
            assert_eq!(ours.lines().skip(2).take(lines.len()).collect::<Vec<_>>(), lines);
            assert!(ours.contains(&format!("index {index}\n")), "{ours}");
        }
        for (old, old_root) in &passed {
            let ours = log.consistency(*old, *size).await.unwrap();
            let proof: Vec<_> = ours.iter().map(|hash| tiled::Hash(*hash.as_bytes())).collect();
            tiled::check_tree(&proof, *size, root, *old, *old_root).unwrap();
        }
        passed.push((*size, root));
    }
}

#[tokio::test]
async fn a_log_that_grows_leaf_by_leaf_over_a_tile_is_as_others_see_it() {
    grow_through(&[1, 2, 3, 254, 255, 256, 257, 258, 511, 512, 513]).await;
}

#[tokio::test]
async fn a_log_that_grows_over_a_level_of_tiles_is_as_others_see_it() {
    grow_through(&[65_534, 65_535, 65_536, 65_537, 66_000]).await;
}

#[tokio::test]
async fn an_append_of_many_blocks_is_the_same_log() {
    // 16 MB of entries: four blocks.
    grow_through(&[3, 80_000]).await;
}

#[tokio::test]
async fn an_empty_log_is_signed_and_audited() {
    let scene = Scene::new();
    let log = scene.log().await;
    let head = log.create(ORIGIN, None).await.unwrap();
    let checkpoint = scene.publish(&log).await.unwrap();
    assert_eq!(checkpoint.claimed().to_string(), format!("{ORIGIN}\n0\n{}\n", head.root()));
    assert_eq!(scene.audit().await.unwrap(), (0, Audit::default()));
    assert_eq!(log.append(&head, Entries::default()).await.unwrap(), head);
    assert_eq!(logged(&log, &head).await, [0; 0]);
}
