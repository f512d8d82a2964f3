//! The RS256 key of the REST channel: how it diverges from that of OpenID Connect, and how both rotate.

use super::*;

#[test]
fn the_rest_channel_signs_with_the_rs256_key_until_one_of_them_rotates_alone() {
    let kid = |ring: &KeyRing, of: KeyUse| ring.public_jwk(of).kid().to_owned();
    let [rsa, rest] = [KeyUse::Oidc(SigningAlg::Rs256), KeyUse::Rest];
    assert_eq!(kid(&RING, rsa), kid(&RING, rest));
    assert_eq!(kids(&RING).len(), 6, "a key with two uses is published once");
    let at = BORN + KEY_ROTATION_PERIOD;
    let together = RING.rotate(&KeyUse::ALL, Rotation::Patient, at, LIFE).unwrap();
    assert_eq!(kid(&together, rsa), kid(&together, rest));
    for (alone, other) in [(rsa, rest), (rest, rsa)] {
        let ring = RING.rotate(&[alone], Rotation::Patient, at, LIFE).unwrap();
        assert_ne!(kid(&ring, alone), kid(&RING, alone));
        assert_eq!(kid(&ring, other), kid(&RING, other), "the other signs on");
        let states = |state| ring.published().into_iter().filter(move |key| key.state == state);
        assert_eq!(states(KeyState::Retired).count(), 0, "the key still has a use");
        let ring = ring.complete_next(at).unwrap().unwrap();
        let set: HashSet<String> = kids(&ring).into_iter().collect();
        assert_eq!((kids(&ring).len(), set.len()), (8, 8), "two RS256 keys sign, each has a next one of its own");
        let sealed = ring.seal(&master(1), &OsEntropy).unwrap();
        let opened = KeyRing::unseal(&sealed, &master(1)).unwrap();
        assert_eq!(opened.published(), ring.published());
        // A key that lost its last use retires then.
        let later = at + KEY_ROTATION_PERIOD;
        let ring = opened.rotate(&[other], Rotation::Patient, later, LIFE).unwrap();
        let token = RING.sign(rest, TokenType::Jwt, b"{}").unwrap();
        assert!(ring.verify(&token).is_ok());
        let pruned = ring.prune(later + LIFE + KEY_RETIREMENT_MARGIN + SECOND).unwrap();
        assert_eq!(pruned.verify(&token), Err(VerifyError::UnknownKey));
    }
}

#[test]
fn a_compromised_key_is_dropped_in_both_of_its_uses() {
    for of in [KeyUse::Oidc(SigningAlg::Rs256), KeyUse::Rest] {
        let ring = RING.rotate(&[of], Rotation::Compromised, BORN, LIFE).unwrap();
        let token = RING.sign(KeyUse::Rest, TokenType::Jwt, b"{}").unwrap();
        assert_eq!(ring.verify(&token), Err(VerifyError::UnknownKey));
        assert_ne!(ring.public_jwk(KeyUse::Rest), RING.public_jwk(KeyUse::Rest));
        assert_ne!(ring.public_jwk(SigningAlg::Rs256), RING.public_jwk(SigningAlg::Rs256));
    }
}
