//! The `openidconnect` crate, used as its documentation shows.

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, TokenResponse, UserInfoError,
};

use reqwest::StatusCode;

use crate::support::program::{Anteroom, SECRET, http};
use crate::support::visitor::Visitor;

/// No server listens here: the test reads the answer from the redirect address.
const REDIRECT: &str = "http://127.0.0.1:9/callback";

#[tokio::test]
async fn the_openidconnect_crate_logs_a_visitor_in() {
    let anteroom = Anteroom::for_client(REDIRECT).await;
    let http = http();
    let issuer = IssuerUrl::new(anteroom.issuer.clone()).unwrap();
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await.unwrap();
    let secret = ClientSecret::new(SECRET.to_owned());
    let client = CoreClient::from_provider_metadata(metadata, ClientId::new("Sample".to_owned()), Some(secret))
        .set_redirect_uri(RedirectUrl::new(REDIRECT.to_owned()).unwrap());

    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = CoreAuthenticationFlow::AuthorizationCode;
    let (url, state, nonce) = client
        .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
        .add_scope(Scope::new("profile".to_owned()))
        .set_pkce_challenge(challenge)
        .url();
    let mut visitor = Visitor::stopping_before(REDIRECT);
    let page = visitor.open(url.as_str()).await;
    assert_eq!(page.position(), Some(1));
    anteroom.serve(1).await;
    let answer = visitor.refresh(&page).await.query();
    assert_eq!((&answer["state"], &answer["iss"]), (state.secret(), &anteroom.issuer));

    let redeem = |verifier| {
        let exchange = client.exchange_code(AuthorizationCode::new(answer["code"].clone())).unwrap();
        exchange.set_pkce_verifier(verifier)
    };
    let tokens = redeem(verifier).request_async(&http).await.unwrap();
    let claims = tokens.id_token().unwrap().claims(&client.id_token_verifier(), &nonce).unwrap();
    let subject = claims.subject().clone();
    assert_eq!(anteroom.position_of(&subject).await, 1);

    let request = client.user_info(tokens.access_token().clone(), Some(subject)).unwrap();
    let person: CoreUserInfoClaims = request.request_async(&http).await.unwrap();
    assert_eq!(person.preferred_username().unwrap().as_str(), "visitor-1");

    // The code is spent; a second use revokes the tokens of the first.
    let again = redeem(PkceCodeVerifier::new("x".repeat(43))).request_async(&http).await.unwrap_err();
    let RequestTokenError::ServerResponse(refusal) = again else { panic!("{again:?}") };
    assert_eq!(*refusal.error(), CoreErrorResponseType::InvalidGrant);
    let request = client.user_info(tokens.access_token().clone(), None).unwrap();
    let revoked: Result<CoreUserInfoClaims, _> = request.request_async(&http).await;
    assert!(matches!(revoked, Err(UserInfoError::Response(StatusCode::UNAUTHORIZED, ..))), "{revoked:?}");
}
