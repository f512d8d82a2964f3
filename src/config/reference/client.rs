//! The keys of `[[client]]`.

use super::{Setting, seconds, setting};
use crate::policy;

pub(super) fn settings() -> Vec<Setting> {
    [client(), behaviour()].concat()
}

fn client() -> Vec<Setting> {
    let id = format!("1 to {} printable ASCII characters", policy::MAX_CLIENT_ID_LENGTH);
    vec![
        setting("client[].client_id", id, "", "The client ID. Each once."),
        setting("client[].event", "event ID", "", "Where the client's visitors wait: one of the events of this file."),
        setting("client[].client_name", "text", "none", "What visitors call the site; shown while they wait."),
        setting("client[].client_secret", "secret", "must be set; a public client has none", "The client's secret."),
        setting(
            "client[].token_endpoint_auth_method",
            "`\"any\"`, `\"client_secret_basic\"`, `\"client_secret_post\"`, `\"none\"`",
            "`\"any\"`",
            "How the client proves who it is: with its secret in the header or in the body (`any`: as it likes), or not at all (`none`: a public client, which must use PKCE).",
        ),
        setting(
            "client[].application_type",
            "`\"web\"`, `\"native\"`",
            "`\"web\"`",
            "`native`: an app. Ports of its loopback redirect URIs are free, and schemes of its own are allowed.",
        ),
        setting(
            "client[].redirect_uris",
            "list of URLs",
            "",
            "Where answers may go; at least one. They match as exact strings: https, or http on loopback; no wildcards.",
        ),
        setting(
            "client[].post_logout_redirect_uris",
            "list of URLs",
            "none",
            "Where a browser may go after logout. The same rules.",
        ),
    ]
}

fn behaviour() -> Vec<Setting> {
    let page = "URL (https, or http on loopback)";
    vec![
        setting(
            "client[].initiate_login_uri",
            page,
            "none",
            "Where the site starts a login: a visitor who waited longer than `login_timeout` is sent here, and let in at once.",
        ),
        setting("client[].client_uri", page, "none", "The site's home page; stands in for `initiate_login_uri`."),
        seconds(
            "client[].login_timeout",
            policy::DEFAULT_LOGIN_TIMEOUT,
            policy::FLOW_LIFETIME,
            "How old a login request may be when it is answered: less than the site itself allows.",
        ),
        setting(
            "client[].id_token_signed_response_alg",
            "`\"RS256\"`, `\"ES256\"`, `\"EdDSA\"`",
            "`\"RS256\"`",
            "How ID tokens are signed.",
        ),
        setting(
            "client[].access_token_signing_alg",
            "`\"RS256\"`, `\"ES256\"`, `\"EdDSA\"`",
            "`\"ES256\"`",
            "How access tokens are signed. API Gateway's own JWT authorizer knows RS256 only.",
        ),
        setting(
            "client[].require_pkce",
            "`true`, `false`",
            "`false`",
            "Whether each login must have a `code_challenge`. A public client must always.",
        ),
        setting(
            "client[].queue_claims",
            "`\"always\"`, `\"requested\"`",
            "`\"always\"`",
            "When the client is told `queue_position`, `token_use` and `event_id`: in every ID token, or only by the scope `queue` or the `claims` parameter.",
        ),
        setting(
            "client[].acr_values",
            "list of texts",
            "none",
            "`acr` values that are echoed when a request asks for them.",
        ),
        setting(
            "client[].claims",
            "table of claims",
            "none",
            "More claims, each text with `{sub}`, `{position}`, `{event_id}`, or a number, true or false. `email` and `email_verified` are released by the scope `email`, all others by `profile`.",
        ),
    ]
}
