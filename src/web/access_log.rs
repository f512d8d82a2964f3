//! The access log middleware: measures every request, logs it, and renders its problem as an answer.

use std::future::{self, Ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{Error, HttpMessage};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::App;
use super::private::access::OperatorName;
use super::respond::Problem;
use super::visitor_address::VisitorAddress;
use crate::telemetry::RouteMetrics;

const REQUEST_ID: HeaderName = HeaderName::from_static(crate::http::REQUEST_ID);

/// The header that carries the request's ID, which the log has as well.
pub fn request_id_header(id: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::try_from(id).ok().map(|value| (REQUEST_ID, value))
}

/// The level at which a route is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// INFO for each request: logins, changes.
    Info,
    /// DEBUG for each request: calls that thousands of waiting visitors make every second.
    Debug,
}

/// The access log of one route.
pub struct AccessLog {
    route: &'static str,
    level: LogLevel,
    metrics: RouteMetrics,
}

impl AccessLog {
    /// The access log of the route of this name.
    pub const fn new(route: &'static str, level: LogLevel, metrics: RouteMetrics) -> Self {
        Self { route, level, metrics }
    }
}

impl<S> Transform<S, ServiceRequest> for AccessLog
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = AccessLogService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let route_log = Rc::new(RouteLog { route: self.route, level: self.level, metrics: self.metrics.clone() });
        future::ready(Ok(AccessLogService { service, route_log }))
    }
}

/// A route with its access log.
pub struct AccessLogService<S> {
    service: S,
    route_log: Rc<RouteLog>,
}

/// The route and its level.
pub struct RouteLog {
    route: &'static str,
    level: LogLevel,
    metrics: RouteMetrics,
}

impl<S> Service<ServiceRequest> for AccessLogService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = AccessLogFuture<S::Future>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let started = Instant::now();
        AccessLogFuture { handled: self.service.call(request), route_log: Rc::clone(&self.route_log), started }
    }
}

pin_project! {
    /// A pending answer. A named type, because a box would cost an allocation per request.
    pub struct AccessLogFuture<F> {
        #[pin]
        handled: F,
        route_log: Rc<RouteLog>,
        started: Instant,
    }
}

impl<F: Future<Output = Result<ServiceResponse, Error>>> Future for AccessLogFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.handled.poll(context))?;
        Poll::Ready(Ok(this.route_log.finish(answer, this.started.elapsed())))
    }
}

impl RouteLog {
    fn finish(&self, mut answer: ServiceResponse, took: Duration) -> ServiceResponse {
        self.metrics.observe(answer.status().as_u16(), took);
        let failed = answer.response().error().is_some();
        let logged = match self.level {
            LogLevel::Info => tracing::enabled!(target: "anteroom::access", tracing::Level::INFO),
            LogLevel::Debug => tracing::enabled!(target: "anteroom::access", tracing::Level::DEBUG),
        };
        if !failed && !logged {
            return answer;
        }
        let Some(app) = answer.request().app_data::<Data<App>>().cloned() else { return answer };
        let id = app.next_request_id();
        let problem = answer.response().error().and_then(|error| error.as_error::<Problem>());
        if let Some(sent) = problem.map(|problem| problem.answer(&app, answer.request(), &id)) {
            answer = answer.into_response(sent);
        }
        if let Some((name, value)) = request_id_header(&id) {
            answer.headers_mut().insert(name, value);
        }
        if logged {
            self.log(&app, &answer, &id, took);
        }
        answer
    }

    /// One line per request, without query, headers or body: they hold codes, tokens and tickets.
    fn log(&self, app: &App, answer: &ServiceResponse, id: &str, took: Duration) {
        let request = answer.request();
        let (method, status) = (request.method().as_str(), answer.status().as_u16());
        let client = VisitorAddress::of(&app.site, request).ip().map(tracing::field::display);
        let extensions = request.extensions();
        let operator = extensions.get::<OperatorName>().map(|OperatorName(name)| name.as_str());
        let ms = milliseconds(took);
        match self.level {
            LogLevel::Info => {
                tracing::info!(target: "anteroom::access", request_id = id, method, route = self.route, status, ms, client, operator, "answered");
            }
            LogLevel::Debug => {
                tracing::debug!(target: "anteroom::access", request_id = id, method, route = self.route, status, ms, client, operator, "answered");
            }
        }
    }
}

/// Rounded to the microsecond.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_to_the_microsecond() {
        for (nanoseconds, expected) in
            [(2_051_701, "2.052"), (0, "0"), (499, "0"), (100_000, "0.1"), (3_600_000_000_001, "3600000")]
        {
            assert_eq!(milliseconds(Duration::from_nanos(nanoseconds)).to_string(), expected);
        }
    }
}
