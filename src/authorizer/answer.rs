//! The answer to API Gateway (`docs/integrators.md`, *In API Gateway*; API Gateway developer guide, simple responses).

use serde_json::{Value, json};

use super::call::Form;
use super::check::Visitor;

/// The principal of a denied request.
pub(super) const DENIED: &str = "denied";

/// Allows the request if there is a visitor.
pub(super) fn answer(form: &Form, visitor: Option<&Visitor>) -> Value {
    match form {
        Form::Policy(resource) => json!({
            "principalId": visitor.map_or(DENIED, |visitor| &visitor.sub),
            "policyDocument": {
                "Version": "2012-10-17",
                "Statement": [{
                    "Action": "execute-api:Invoke",
                    "Effect": if visitor.is_some() { "Allow" } else { "Deny" },
                    "Resource": resource,
                }],
            },
        }),
        Form::Simple => json!({
            "isAuthorized": visitor.is_some(),
            "context": visitor.map_or_else(|| json!({}), |visitor| json!({
                "sub": visitor.sub,
                "event_id": visitor.event_id,
                "queue_position": visitor.position,
                "exp": visitor.expires,
            })),
        }),
    }
}
