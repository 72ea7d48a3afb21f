/// Whether what an hour has cost stands out from the same hour of former weeks: by so many percent of their middle, and by at least
/// `least`. Where nothing was ever spent at that hour, there is nothing to stand out from.
pub(crate) fn usual_of(former: &[i64], spent: i64, percent: u32, least: i64) -> Option<i64> {
    let mut former = former.to_vec();
    former.sort_unstable();
    let usual = *former.get(former.len() / 2)?;
    let stands_out = i128::from(spent) * 100 >= i128::from(usual) * i128::from(percent);
    (usual > 0 && spent >= least && stands_out).then_some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spend_stands_out_from_the_middle_of_former_weeks() {
        let former = [900, 1_000, 1_100, 50_000];
        assert_eq!(usual_of(&former, 3_300, 300, 0), Some(1_100), "one odd week moves nothing");
        assert_eq!(usual_of(&former, 3_299, 300, 0), None);
        assert_eq!(usual_of(&former, 3_300, 300, 5_000), None, "too little to speak of");
        assert_eq!(usual_of(&[], 1_000_000, 300, 0), None);
        assert_eq!(usual_of(&[0, 0, 0], 1_000_000, 300, 0), None, "the first weeks");
        assert_eq!(usual_of(&[1], i64::MAX, 300, 0), Some(1));
    }
}
