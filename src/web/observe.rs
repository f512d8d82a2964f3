//! Around every request: its latency in the metrics, a line in the log, its problem made an answer.

use std::future::{self, Ready};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{Error, HttpMessage};
use pin_project_lite::pin_project;

use super::App;
use super::private::access::OperatorName;
use super::respond::Problem;
use super::visitor_address::VisitorAddress;
use crate::telemetry::RouteMetrics;

const REQUEST_ID: HeaderName = HeaderName::from_static(crate::http::REQUEST_ID);

/// The header that names a request, as it is named in the log.
pub fn request_id_header(id: &str) -> Option<(HeaderName, HeaderValue)> {
    HeaderValue::try_from(id).ok().map(|value| (REQUEST_ID, value))
}

/// How loudly a route is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loudness {
    /// Each request at INFO: logins, changes.
    Info,
    /// Each request at DEBUG: what thousands of waiting visitors ask every second.
    Debug,
}

/// The middleware of one route.
pub struct Observe {
    route: &'static str,
    loudness: Loudness,
    metrics: RouteMetrics,
}

impl Observe {
    /// Watches the route of this name.
    pub const fn new(route: &'static str, loudness: Loudness, metrics: RouteMetrics) -> Self {
        Self { route, loudness, metrics }
    }
}

impl<S> Transform<S, ServiceRequest> for Observe
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Transform = Observed<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let watch = Rc::new(Watch { route: self.route, loudness: self.loudness, metrics: self.metrics.clone() });
        future::ready(Ok(Observed { service, watch }))
    }
}

/// A watched route.
pub struct Observed<S> {
    service: S,
    watch: Rc<Watch>,
}

/// What is watched, and how.
pub struct Watch {
    route: &'static str,
    loudness: Loudness,
    metrics: RouteMetrics,
}

impl<S> Service<ServiceRequest> for Observed<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Answering<S::Future>;

    forward_ready!(service);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let started = Instant::now();
        Answering { handled: self.service.call(request), watch: Rc::clone(&self.watch), started }
    }
}

pin_project! {
    /// A request that is being answered. A type of its own, as a box would cost each request an allocation.
    pub struct Answering<F> {
        #[pin]
        handled: F,
        watch: Rc<Watch>,
        started: Instant,
    }
}

impl<F: Future<Output = Result<ServiceResponse, Error>>> Future for Answering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.handled.poll(context))?;
        Poll::Ready(Ok(this.watch.finish(answer, this.started.elapsed())))
    }
}

impl Watch {
    fn finish(&self, mut answer: ServiceResponse, took: Duration) -> ServiceResponse {
        self.metrics.observe(answer.status().as_u16(), took);
        let failed = answer.response().error().is_some();
        let logged = match self.loudness {
            Loudness::Info => tracing::enabled!(target: "anteroom::access", tracing::Level::INFO),
            Loudness::Debug => tracing::enabled!(target: "anteroom::access", tracing::Level::DEBUG),
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

    /// One line a request. No query, no header, no body: they hold codes, tokens and tickets.
    fn log(&self, app: &App, answer: &ServiceResponse, id: &str, took: Duration) {
        let request = answer.request();
        let (method, status) = (request.method().as_str(), answer.status().as_u16());
        let client = VisitorAddress::of(&app.site, request).ip().map(tracing::field::display);
        let extensions = request.extensions();
        let operator = extensions.get::<OperatorName>().map(|OperatorName(name)| name.as_str());
        let ms = milliseconds(took);
        match self.loudness {
            Loudness::Info => {
                tracing::info!(target: "anteroom::access", request_id = id, method, route = self.route, status, ms, client, operator, "answered");
            }
            Loudness::Debug => {
                tracing::debug!(target: "anteroom::access", request_id = id, method, route = self.route, status, ms, client, operator, "answered");
            }
        }
    }
}

/// To the microsecond: what is finer is noise, and long to read.
fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_to_the_microsecond() {
        for (nanoseconds, told) in
            [(2_051_701, "2.052"), (0, "0"), (499, "0"), (100_000, "0.1"), (3_600_000_000_001, "3600000")]
        {
            assert_eq!(milliseconds(Duration::from_nanos(nanoseconds)).to_string(), told);
        }
    }
}
