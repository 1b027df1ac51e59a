//! The ways to copy that are compared, and which of them take part where.

use xtask::setup::Tool;

use super::trees::{Link, Tree};

/// A way to copy, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Method {
    Rsync,
    Predecessor,
    RsyncGcm,
    Fpsync,
    Rclone,
    Tar,
    TarGcm,
    Quick,
    Default,
    RsyncThenCompare,
    RsyncThenFlush,
    TarGcmThenFlush,
    RsyncChecksum,
    Cp,
    Channel,
}

/// What a method is measured for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// `rsync -a` over ssh as anybody would type it.
    Yardstick,
    /// What others would use.
    Peer,
    Ours,
    /// The yardstick, or the fastest peer, with what a pass does besides: read everything, or wait for the disk.
    Companion,
    /// What no copy over ssh can be faster than.
    Limit,
}

impl Method {
    const ALL: [Method; 15] = [
        Method::Rsync,
        Method::Predecessor,
        Method::RsyncGcm,
        Method::Fpsync,
        Method::Rclone,
        Method::Tar,
        Method::TarGcm,
        Method::Quick,
        Method::Default,
        Method::RsyncThenCompare,
        Method::RsyncThenFlush,
        Method::TarGcmThenFlush,
        Method::RsyncChecksum,
        Method::Cp,
        Method::Channel,
    ];

    /// What `target add` is told; none where it is not minidvodbcopy that copies.
    pub(super) fn target_options(self) -> Option<&'static [&'static str]> {
        match self {
            Method::Quick => Some(&["--verify", "quick"]),
            Method::Default => Some(&[]),
            _ => None,
        }
    }

    /// Those that take part with this tree over this link: a second copy is nothing for what sends all again in
    /// any case, only in a second one can rsync find sums that are equal, and a local copy knows no link.
    pub(super) fn all_for(tree: Tree, link: Link) -> Vec<Method> {
        let takes_part = |method: &Method| match (tree, method) {
            (Tree::Recopy, Method::Tar | Method::TarGcm | Method::RsyncGcm) => false,
            (_, Method::RsyncChecksum) => tree == Tree::Recopy,
            (Tree::Recopy, _) => !matches!(method.role(), Role::Companion | Role::Limit),
            (_, Method::RsyncThenCompare | Method::RsyncThenFlush | Method::TarGcmThenFlush | Method::Cp) => {
                link == Link::Loopback
            }
            _ => true,
        };
        Method::ALL.into_iter().filter(takes_part).collect()
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Method::Rsync => "`rsync -a`",
            Method::Predecessor => "`rsync -rvuaq`, as the predecessor",
            Method::RsyncGcm => "`rsync -a`, aes128-gcm",
            Method::Fpsync => "fpsync, 4 jobs",
            Method::Rclone => "rclone, sftp",
            Method::Tar => "tar over ssh",
            Method::TarGcm => "tar over ssh, aes128-gcm",
            Method::Quick => "minidvodbcopy, `--verify quick`",
            Method::Default => "minidvodbcopy",
            Method::RsyncThenCompare => "`rsync -a`, then `rsync -anc`",
            Method::RsyncThenFlush => "`rsync -a`, then `sync -f` there",
            Method::TarGcmThenFlush => "tar over ssh, aes128-gcm, then `sync -f` there",
            Method::RsyncChecksum => "`rsync -a --checksum`",
            Method::Cp => "limit: `cp -a`, no ssh",
            Method::Channel => "limit: as many zeros through ssh",
        }
    }

    pub(super) fn role(self) -> Role {
        match self {
            Method::Rsync => Role::Yardstick,
            Method::Predecessor
            | Method::RsyncGcm
            | Method::Fpsync
            | Method::Rclone
            | Method::Tar
            | Method::TarGcm => Role::Peer,
            Method::Quick | Method::Default => Role::Ours,
            Method::RsyncThenCompare
            | Method::RsyncThenFlush
            | Method::TarGcmThenFlush
            | Method::RsyncChecksum => Role::Companion,
            Method::Cp | Method::Channel => Role::Limit,
        }
    }

    /// The program that may be missing.
    pub(super) fn tool(self) -> Option<Tool> {
        match self {
            Method::Fpsync => Some(Tool::Fpsync),
            Method::Rclone => Some(Tool::Rclone),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_copy_has_the_yardstick_every_peer_and_both_of_ours() {
        for tree in [Tree::Big, Tree::Small, Tree::Mix] {
            for link in Link::ALL {
                let methods = Method::all_for(tree, link);
                let wanted = Method::ALL.into_iter().filter(|method| {
                    matches!(method.role(), Role::Yardstick | Role::Peer | Role::Ours)
                        || *method == Method::Channel
                });
                for method in wanted {
                    assert!(methods.contains(&method), "{method:?} with {tree:?} over {link:?}");
                }
            }
        }
        assert_eq!(
            Method::all_for(Tree::Recopy, Link::Loopback),
            [
                Method::Rsync,
                Method::Predecessor,
                Method::Fpsync,
                Method::Rclone,
                Method::Quick,
                Method::Default,
                Method::RsyncChecksum
            ]
        );
    }
}
