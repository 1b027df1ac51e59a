//! What a pass may take, as a ratio to what others take in the same rounds, and whether it does.
//!
//! Invariant: a goal is judged by the median of the ratios of each round; one whose figures are missing is neither
//! met nor not met, and says so.

use super::methods::Method;
use super::rounds::Rounds;
use super::trees::{Link, Tree};
use crate::tasks::bench::figures::Spread;

/// At most this many times what another takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Goal {
    ours: Method,
    against: Against,
    at_most: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Against {
    Method(Method),
    FastestPeer,
}

/// How a goal came out.
#[derive(Debug, PartialEq)]
struct Verdict {
    against: Method,
    ratio: Spread,
    met: bool,
}

/// The goals for this tree over this link. The default has the bare, unverified `rsync -a` for its yardstick.
pub(super) fn of(tree: Tree, link: Link) -> Vec<Goal> {
    let default = match (tree, link) {
        (Tree::Big, Link::Loopback) => Some(0.8),
        (Tree::Small, _) => Some(1.0),
        (Tree::Mix, Link::Loopback) => Some(0.9),
        (Tree::Big, Link::Delayed) => Some(0.55),
        (Tree::Recopy, _) => Some(1.1),
        (Tree::Mix, Link::Delayed) => None,
    };
    let against = |ours, theirs, at_most| Goal { ours, against: Against::Method(theirs), at_most };
    let mut goals = Vec::new();
    goals.extend(default.map(|at_most| against(Method::Default, Method::Rsync, at_most)));
    if tree != Tree::Recopy {
        goals.push(Goal { ours: Method::Quick, against: Against::FastestPeer, at_most: 1.05 });
    }
    if tree == Tree::Recopy {
        // What looks for all that differs must read all.
        goals.push(against(Method::Default, Method::RsyncChecksum, 1.1));
    }
    if tree != Tree::Recopy && link == Link::Loopback {
        goals.push(against(Method::Quick, Method::TarGcmThenFlush, 1.05));
    }
    if matches!(tree, Tree::Big | Tree::Small) && link == Link::Loopback {
        goals.push(against(Method::Quick, Method::Rsync, 1.15));
        goals.push(against(Method::Default, Method::RsyncThenCompare, 1.05));
    }
    goals
}

/// Prints each goal with its verdict, and tells of those that could be judged whether they are met.
pub(super) fn print(goals: &[Goal], rounds: &Rounds) -> Vec<bool> {
    println!();
    let mut all = Vec::new();
    for goal in goals {
        let verdict = judge(goal, rounds);
        println!("- {}", describe(goal, verdict.as_ref()));
        all.extend(verdict.map(|verdict| verdict.met));
    }
    all
}

fn judge(goal: &Goal, rounds: &Rounds) -> Option<Verdict> {
    let against = match goal.against {
        Against::Method(method) => method,
        Against::FastestPeer => rounds.fastest_peer()?,
    };
    let ratio = rounds.ratio(goal.ours, against)?;
    Some(Verdict { against, ratio, met: ratio.median <= goal.at_most })
}

fn describe(goal: &Goal, verdict: Option<&Verdict>) -> String {
    let ours = goal.ours.title();
    let theirs = match goal.against {
        Against::Method(method) => method.title().to_owned(),
        Against::FastestPeer => match verdict {
            Some(verdict) => format!("the fastest peer ({})", verdict.against.title()),
            None => "the fastest peer".to_owned(),
        },
    };
    let at_most = goal.at_most;
    match verdict {
        None => format!("{ours} : {theirs}: goal {at_most:.2}: not measured"),
        Some(Verdict { ratio: Spread { min, median, max }, met, .. }) => {
            let met = if *met { "met" } else { "**NOT met**" };
            format!("{ours} : {theirs}: {median:.2} ({min:.2} to {max:.2}), goal {at_most:.2}: {met}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rounds::of_walls;
    use super::*;

    const BIG: Goal = Goal { ours: Method::Default, against: Against::Method(Method::Rsync), at_most: 0.8 };
    const QUICK: Goal = Goal { ours: Method::Quick, against: Against::FastestPeer, at_most: 1.05 };

    #[test]
    fn a_goal_is_judged_by_the_median_of_the_ratios_of_each_round() {
        let rounds = of_walls(&[
            &[(Method::Rsync, 1.0), (Method::Default, 0.7)],
            &[(Method::Rsync, 2.0), (Method::Default, 1.6)],
            &[(Method::Rsync, 10.0), (Method::Default, 100.0)],
        ]);
        let verdict = judge(&BIG, &rounds).unwrap();
        assert!(verdict.met);
        assert_eq!(verdict.ratio, Spread { min: 0.7, median: 0.8, max: 10.0 });
        assert!(!judge(&Goal { at_most: 0.79, ..BIG }, &rounds).unwrap().met);
    }

    #[test]
    fn the_fastest_peer_is_named() {
        let rounds = of_walls(&[&[(Method::Rsync, 5.0), (Method::TarGcm, 2.0), (Method::Quick, 3.0)]]);
        let verdict = judge(&QUICK, &rounds);
        assert_eq!(
            describe(&QUICK, verdict.as_ref()),
            "minidvodbcopy, `--verify quick` : the fastest peer (tar over ssh, aes128-gcm): 1.50 (1.50 to 1.50), \
             goal 1.05: **NOT met**"
        );
    }

    #[test]
    fn a_goal_without_figures_is_neither_met_nor_not_met() {
        let rounds = of_walls(&[&[(Method::Rsync, 5.0)]]);
        assert_eq!(judge(&BIG, &rounds), None);
        assert_eq!(describe(&BIG, None), "minidvodbcopy : `rsync -a`: goal 0.80: not measured");
        assert!(print(&[BIG, QUICK], &rounds).is_empty());
    }

    #[test]
    fn every_goal_compares_methods_that_take_part() {
        for link in Link::ALL {
            for tree in Tree::ALL {
                let methods = Method::all_for(tree, link);
                for goal in of(tree, link) {
                    assert!(methods.contains(&goal.ours), "{goal:?}");
                    if let Against::Method(method) = goal.against {
                        assert!(methods.contains(&method), "{goal:?}");
                    }
                }
            }
        }
    }
}
